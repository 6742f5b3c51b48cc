"""The information bounds themselves, and the closed form that they must reproduce."""

import numpy as np

from benchmarks.fitting import bounds
from benchmarks.fitting.truth import cir, double_well, ornstein_uhlenbeck
from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Information bounds"

# (dt, n), expected drift error and relative error of sigma in per cent, half the last digit of the first
_DOUBLE_WELL = (((0.5, 5000), 4.38, 1.31, 0.005), ((0.01, 100_000), 5.1, 0.23, 0.05))


def run(context: Context) -> list[Row]:
    """Bounds of the double well against published values, of OU against the closed form; CIR's for information."""
    rows = []
    for (dt, n), drift, sigma, digit in _DOUBLE_WELL:
        bound = bounds.bound(double_well(), dt, n)
        detail = ", ".join(f"se({name}) {value:.5f}" for name, value in bound.stderr.items())
        rows += [
            _near(f"double well dt {dt:g}: drift error", 100 * bound.drift_error, drift, digit, detail),
            _near(f"double well dt {dt:g}: sigma", 100 * bound.relative("sigma"), sigma, 0.005),
        ]
    process = ornstein_uhlenbeck()
    for dt in (0.1, 0.5):
        exact = bounds.ou_information(process.theta[0], process.theta[2], dt)
        numeric = bounds.bound(process, dt, 1).information
        error = np.abs(numeric - exact).max() / np.abs(exact).max()
        rows.append(at_most(f"OU dt {dt:g}: information against the closed form", float(error), 5e-4))
    for name, error in bounds.bound(cir(), 0.1, 5000).stderr.items():
        rows.append(Row(f"CIR(3, .3, .2) dt .1, n 5000: standard error of {name}", error))
    return rows


def _near(metric: str, value: float, target: float, digit: float, detail: str = "") -> Row:
    return Row(metric, value, "%", f"{target:g}", bool(abs(value - target) <= digit * (1 + 1e-9)), detail)
