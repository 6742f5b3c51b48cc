"""Networks in ten dimensions: separated modes under a linear drift, and a quartic law whose potential is withheld."""

import torch

from benchmarks.fokker_planck.problems import mixture, quartic
from benchmarks.fokker_planck.trials import Trial, judged
from benchmarks.results import Row
from benchmarks.runner import Context

TITLE = "Networks in many dimensions: errors of log p at 10,000 points of the true law"
MINUTES = 10.0
SMALL = Trial("Score", {"paths": 10_000, "snapshots": 5, "hidden": [64, 64], "steps": 400}, limit=0.1, minutes=2.0)
MODES = (
    Trial("Score", {"paths": 100_000, "steps": 1500}, limit=0.1, minutes=MINUTES),
    Trial("Score", {"paths": 20_000, "steps": 1000, "network": "hollow"}),
    Trial("Flow", {"paths": 20_000, "steps": 800, "rounds": 1}),
    Trial("Residual", {"family": "mixture"}, limit=0.01, minutes=MINUTES),
    Trial("Residual", {"family": "flow"}),
)
QUARTIC = (
    Trial("Score", {"paths": 50_000, "snapshots": 10, "components": 1, "steps": 3000}, limit=0.1, minutes=MINUTES),
)


def run(context: Context) -> list[Row]:
    """Four dimensions in any run, ten in a full one."""
    torch.set_num_threads(context.threads)
    store = "fokker_planck_networks"
    rows = judged(lambda: mixture(4), "three modes, 4-D", "rms", (SMALL,), context, store)
    if context.full:
        rows += judged(lambda: mixture(10), "three modes, 10-D", "rms", MODES, context, store)
        rows += judged(lambda: quartic(10), "quartic, 10-D, stationary", "rms", QUARTIC, context, store)
    return rows
