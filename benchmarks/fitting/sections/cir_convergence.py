"""CIR from automatic starting values: every seed must reach an optimum at least as likely as the truth."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fitting import samples, subject
from benchmarks.fitting.densities import cir_log_density
from benchmarks.fitting.truth import cir
from benchmarks.results import Row, at_least, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "CIR(3, .3, .2), dt .1: convergence from automatic starts"
_DT, _LENGTH, _SEEDS = 0.1, 1000, 100
_SLACK = 1e-6  # nats: rounding of a sum of a thousand log-densities, far below any real difference


def run(context: Context) -> list[Row]:
    """Seeds that converge, by the closed form and by the Fokker-Planck route."""
    count, rows = context.count(_SEEDS), []
    for route in ("auto", "fokker-planck"):
        tasks = [{"route": route, "seed": seed} for seed in range(count)]
        outcomes = run_tasks(context, f"cir_convergence_{route}", partial(fit_seed, cache=context.cache), tasks)
        good = sum(bool(outcome.get("good")) for outcome in outcomes)
        first = next((outcome["error"] for outcome in outcomes if "error" in outcome), "")
        rows.append(
            at_least(f"{route}: seeds converged to an optimum", good, count, detail=f"of {count}. {first}".strip())
        )
        worst = max((outcome.get("gain_over_truth", np.inf) for outcome in outcomes), default=np.inf)
        # twice the log-likelihood ratio is chi-square with 3 degrees of freedom: 40 has a chance of 1e-8 per seed
        rows.append(at_most(f"{route}: largest 2 log-likelihood ratio to the truth", 2 * worst, 40.0))
    return rows


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One fit, judged by the exact log-likelihood written here."""
    process = cir()
    x = samples.path(process, _DT, _LENGTH, task["seed"], cache)
    outcome = subject.fit_series(process, _DT, x, route=task["route"])
    estimate = [outcome["estimate"][name] for name in process.params]
    gain = cir_log_density(estimate, _DT, x).sum() - cir_log_density(process.theta, _DT, x).sum()
    errors = [outcome["stderr"][name] for name in process.params]
    finite = all(error is not None and np.isfinite(error) and error > 0 for error in errors)
    return {
        "good": bool(outcome["converged"] and finite and gain >= -_SLACK),
        "gain_over_truth": float(gain),
        **outcome,
    }
