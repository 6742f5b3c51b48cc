"""What the grid costs: estimates against a converged reference, and log-densities against the closed form of CIR."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fitting import samples, subject
from benchmarks.fitting.densities import cir_log_density
from benchmarks.fitting.truth import Process, cir, double_well, ornstein_uhlenbeck
from benchmarks.results import Row, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Discretisation error of the Fokker-Planck likelihood"
SHIFT_LIMIT = 0.05  # standard errors
PLAIN_LIMIT, EXTRAPOLATED_LIMIT = 6e-3, 1e-4  # rms of log-density


def near_boundary() -> Process:
    """CIR with 2 kappa mu / sigma^2 = .6 < 1: zero is reached (Feller's condition violated)."""
    kappa, mu = 0.5, 0.06
    return cir(kappa, mu, float(np.sqrt(2 * kappa * mu / 0.6)))


_PROCESSES = {"ou": ornstein_uhlenbeck, "cir": cir, "cir_near_boundary": near_boundary, "double_well": double_well}
_CELLS = (
    ("ou", 0.1, 5000),
    ("ou", 0.5, 5000),
    ("cir", 0.1, 5000),
    ("cir", 0.5, 5000),
    ("cir_near_boundary", 0.1, 5000),
    ("cir_near_boundary", 0.5, 5000),
    ("double_well", 0.01, 100_000),
    ("double_well", 0.1, 5000),
    ("double_well", 0.5, 5000),
)
_SEEDS = 5


def run(context: Context) -> list[Row]:
    """Largest shift over seeds and parameters for each process and step, then rms log-density errors."""
    count = context.count(_SEEDS)
    tasks = [{"process": name, "dt": dt, "n": n, "seed": seed} for name, dt, n in _CELLS for seed in range(count)]
    for name, dt, n in _CELLS:
        samples.prepare(_PROCESSES[name](), dt, n, count, context.cache)
    outcomes = run_tasks(context, "discretisation", partial(shift_seed, cache=context.cache), tasks)
    rows = []
    for name, dt, n in _CELLS:
        mine = [o for t, o in zip(tasks, outcomes, strict=True) if (t["process"], t["dt"], t["n"]) == (name, dt, n)]
        shift = max(outcome.get("shift", float("inf")) for outcome in mine)
        detail = next(
            (o["error"] for o in mine if "error" in o),
            f"{mine[0].get('route')} against {mine[0].get('reference')}; {count} seeds",
        )
        rows.append(at_most(f"{name} dt {dt:g}: largest shift", shift, SHIFT_LIMIT, "standard errors", detail))
    for name in ("cir", "cir_near_boundary"):
        for dt in (0.1, 0.5):
            rows += _density(name, dt, count)
    return rows


def shift_seed(task: Task, cache: Path) -> Outcome:
    """|estimate - reference| / standard error, the largest over parameters.

    The reference is the closed form for OU and CIR, and four times the cells for the double well.
    """
    process = _PROCESSES[task["process"]]()
    x = samples.path(process, task["dt"], task["n"], task["seed"], cache)
    closed = process.name in ("ou", "cir")
    fitted = subject.fit_series(process, task["dt"], x, route="fokker-planck" if closed else "auto")
    reference = subject.fit_reference(process, task["dt"], x, closed=closed)
    shifts = [abs(fitted["estimate"][p] - reference["estimate"][p]) / reference["stderr"][p] for p in process.params]
    return {"shift": max(shifts), "route": fitted["route"], "reference": reference["route"]}


def _density(name: str, dt: float, count: int) -> list[Row]:
    process, rows = _PROCESSES[name](), []
    paths = [samples.cir_path(process, dt, 5000, seed) for seed in range(count)]
    for label, extrapolate, limit in (("plain", False, PLAIN_LIMIT), ("extrapolated", True, EXTRAPOLATED_LIMIT)):
        metric = f"{name} dt {dt:g}: rms error of log-density, {label}"
        values, routes = zip(
            *(subject.log_density(process, dt, x, extrapolate=extrapolate) for x in paths), strict=True
        )
        errors = [value - cir_log_density(process.theta, dt, x) for value, x in zip(values, paths, strict=True)]
        pooled = np.concatenate(errors)
        each = ", ".join(f"{np.sqrt(np.mean(error**2)):.1e}" for error in errors)
        detail = f"{routes[0]}; by seed {each}; smallest x {min(x.min() for x in paths):.1e}"
        rows.append(at_most(metric, float(np.sqrt(np.mean(pooled**2))), limit, detail=detail))
    return rows
