"""What a grid says of its error against the error that it has, on drawn problems."""

import warnings

import numpy as np

import pdekit as pk
from benchmarks.fokker_planck.laws import around, distance, drawn
from benchmarks.results import Row, at_least, at_most
from benchmarks.runner import Context
from pdekit.errors import NumericalError

TITLE = "The grid's estimate of its error, drawn linear problems"
COVERED, MEDIAN = 0.95, 10.0
FLAT = 1001


def run(context: Context) -> list[Row]:
    """One state, with the cells that the grid chooses by itself and with a few; two states, with a few."""
    many = context.seeds or 100
    return [
        *_rows("one state, by default", 1, None, many),
        *_rows("one state, 64 cells", 1, 64, many),
        *_rows("two states, 80 cells", 2, 80, max(1, many // 2)),
    ]


def _rows(name: str, dim: int, cells: int | None, many: int) -> list[Row]:
    ratios, errors, refused = [], [], 0
    for seed in range(many):
        sde, start, t, exact = drawn(seed, dim)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a large error is what is asked for
            try:
                solution = pk.FokkerPlanckProblem(sde, start).solve(t, pk.Grid(cells, weights="blended"))
            except NumericalError:  # told that cells are too wide: no density, and no estimate to judge
                refused += 1
                continue
        x = around(exact, FLAT if dim == 1 else 101)
        errors.append(distance(solution.pdf(t, x), exact.log_prob(x).exp()))
        ratios.append(float(solution.error_estimate[0]) / errors[-1])
    detail = f"{many} problems, {refused} refused, errors {min(errors):.1e} to {max(errors):.1e}"
    detail += f", least ratio {min(ratios):.2g}"
    return [
        at_least(
            f"{name}: share of errors that are covered", float(np.mean(np.array(ratios) >= 1)), COVERED, detail=detail
        ),
        at_most(f"{name}: median of estimate over error", float(np.median(ratios)), MEDIAN),
    ]
