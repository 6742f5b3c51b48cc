"""Stationary laws in four and six dimensions, by networks that are given the drift alone."""

import torch

from benchmarks.fokker_planck.problems import still_ring, unimodal, wells
from benchmarks.fokker_planck.trials import Trial, judged
from benchmarks.results import Row, skipped
from benchmarks.runner import Context

TITLE = "Networks for stationary laws: errors at 10,000 points of the true law"
PERCENT, MINUTES = 5.0, 20.0
RING = Trial("Score", {"paths": 40_000, "snapshots": 10, "steps": 4000}, PERCENT, MINUTES, mass=True)
UNIMODAL = Trial(
    "Score",
    {"paths": 120_000, "snapshots": 10, "steps": 6000, "components": 16, "targets": "implicit"},
    PERCENT,
    MINUTES,
    mass=True,
)
WELLS = Trial("Score", {"paths": 40_000, "snapshots": 10, "steps": 3000}, PERCENT, MINUTES, mass=True)


def run(context: Context) -> list[Row]:
    """The ring, the six-dimensional law with one mode, and the one with eight."""
    if not (context.full or context.quick):
        return [skipped("stationary laws", "they take most of an hour: run with --full")]
    torch.set_num_threads(context.threads)
    told = "FPNN is reported with"
    cases = (
        (still_ring, f"ring, 4-D ({told} 11.4 %)", RING),
        (unimodal, f"one mode, 6-D ({told} 13.9 %)", UNIMODAL),
        (wells, f"eight modes, 6-D ({told} 12.7 % on another law with many modes)", WELLS),
    )
    rows = []
    for make, name, trial in cases[:1] if context.quick else cases:
        rows += judged(make, name, "mape", (trial,), context, "fokker_planck_equilibria")
    return rows
