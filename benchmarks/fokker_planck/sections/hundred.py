"""A hundred dimensions on a GPU: separated modes, and a quartic law; without a GPU a small run of the same code."""

import torch

from benchmarks.fokker_planck.problems import mixture, quartic
from benchmarks.fokker_planck.trials import Trial, judged
from benchmarks.results import Row, skipped
from benchmarks.runner import Context

TITLE = "Networks in a hundred dimensions: errors of log p at 10,000 points of the true law"
# Three components at most: each has 5,000 numbers.
MODES = {"paths": 400_000, "snapshots": 10, "hidden": [512, 512, 512], "components": 3, "steps": 10_000}
QUARTIC = {"paths": 400_000, "snapshots": 10, "hidden": [512, 512, 512], "components": 1, "steps": 20_000}
SMALL = {"paths": 10_000, "snapshots": 3, "hidden": [64, 64], "components": 3, "steps": 200, "check": False}


def run(context: Context) -> list[Row]:
    """On a GPU both, otherwise the modes alone in thirty dimensions with few paths and steps."""
    torch.set_num_threads(context.threads)
    store = "fokker_planck_hundred"
    if not torch.cuda.is_available():
        dim = 12 if context.quick else 30
        name = f"three modes, {dim}-D, a small run without a GPU"
        rows = judged(lambda: mixture(dim), name, "rms", (Trial("Score", SMALL),), context, store)
        return [*rows, skipped("quartic, 100-D, stationary", "torch sees no GPU")]
    there = {"device": "cuda"}
    return [
        *judged(lambda: mixture(100), "three modes, 100-D", "rms", (Trial("Score", MODES | there),), context, store),
        *judged(lambda: quartic(100), "quartic, 100-D", "rms", (Trial("Score", QUARTIC | there),), context, store),
    ]
