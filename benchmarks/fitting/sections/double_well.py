"""How near the fit comes to the information bound: root mean square errors over many seeds."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.criteria import rms
from benchmarks.fitting import bounds, samples, subject
from benchmarks.fitting.truth import double_well, drift_error
from benchmarks.results import Row, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Double well: errors against the information bound"
LIMIT = 1.1
_CASES = ((0.5, 5000, 200), (0.01, 100_000, 50))  # dt, n, seeds


def run(context: Context) -> list[Row]:
    """RMS drift and sigma errors, as multiples of the bound."""
    process, rows = double_well(), []
    for dt, n, seeds in _CASES:
        count = context.count(seeds)
        samples.prepare(process, dt, n, count, context.cache)
        tasks = [{"dt": dt, "n": n, "seed": seed} for seed in range(count)]
        outcomes = run_tasks(context, f"double_well_dt{dt:g}", partial(fit_seed, cache=context.cache), tasks)
        rows += _summarise(dt, n, outcomes)
    return rows


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One fit from automatic starting values."""
    process = double_well()
    x = samples.path(process, task["dt"], task["n"], task["seed"], cache)
    return subject.fit_series(process, task["dt"], x)


def _summarise(dt: float, n: int, outcomes: list[Outcome]) -> list[Row]:
    process = double_well()
    failed = sum("error" in outcome or not outcome["converged"] for outcome in outcomes)
    estimates = [outcome["estimate"] for outcome in outcomes if "error" not in outcome]
    errors = [
        drift_error(process, lambda x, p=p: process.drift(x, np.array([p["a"], p["b"], p["sigma"]]))) for p in estimates
    ]
    sigma = [p["sigma"] / process.truth["sigma"] - 1 for p in estimates]
    best = bounds.bound(process, dt, n)
    rows = [at_most(f"dt {dt:g}: failed fits", failed, 0, detail=_first_error(outcomes))]
    for label, values, limit in (
        ("drift error", errors, best.drift_error),
        ("sigma error", sigma, best.relative("sigma")),
    ):
        value, uncertainty = rms(values) if values else (float("nan"), float("nan"))
        detail = f"{len(values)} seeds; {100 * value:.3f} +- {100 * uncertainty:.3f} %, bound {100 * limit:.3f} %"
        rows.append(at_most(f"dt {dt:g}: {label} / bound", value / limit, LIMIT, detail=detail))
    return rows


def _first_error(outcomes: list[Outcome]) -> str:
    return next((outcome["error"] for outcome in outcomes if "error" in outcome), "")
