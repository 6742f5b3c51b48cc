"""Laws that move, with a nonlinear drift, by networks."""

import torch

from benchmarks.fokker_planck.problems import moving_ring, moving_well
from benchmarks.fokker_planck.trials import Trial, judged
from benchmarks.results import Row, skipped
from benchmarks.runner import Context

TITLE = "Networks for nonlinear laws that move: errors of log p at 10,000 points of the true law"
RING = (
    Trial("Score", {"paths": 200_000, "snapshots": 6, "steps": 5000}, limit=2.0),
    Trial("Flow", {"paths": 20_000, "steps": 800, "rounds": 1}),
    Trial("Residual", {"family": "mixture"}),
)
WELL = (
    Trial("Score", {"paths": 100_000, "snapshots": 10, "steps": 3000}, limit=3.0),
    Trial("Flow", {"paths": 20_000, "steps": 800, "rounds": 1}),
    Trial("Residual", {"family": "mixture"}, limit=3.0),
)


def run(context: Context) -> list[Row]:
    """The ring at t = .5, and a rotated double well at t = 1."""
    if not (context.full or context.quick):
        return [skipped("moving laws", "they take half an hour: run with --full")]
    torch.set_num_threads(context.threads)
    store = "fokker_planck_transients"
    if context.quick:
        return judged(moving_ring, "ring, 4-D, moving", "log_l2", RING[:1], context, store)
    return [
        *judged(moving_ring, "ring, 4-D, moving", "log_l2", RING, context, store),
        *judged(moving_well, "rotated double well, 2-D", "log_l2", WELL, context, store),
    ]
