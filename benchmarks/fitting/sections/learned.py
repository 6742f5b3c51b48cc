"""Drift and noise learned as functions, against the bound of a polynomial drift of six coefficients."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.criteria import rms
from benchmarks.fitting import bounds, learners, samples
from benchmarks.fitting.truth import double_well, polynomial_well
from benchmarks.results import Row, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Learned drift and noise: double well, dt .01, 100,000 steps"
LIMIT, TERMS = 1.25, 6
_DT, _N = 0.01, 100_000
_SEEDS = {"kernels": (5, 50), "networks": (1, 20)}  # by default, and under --full


def run(context: Context) -> list[Row]:
    """Both ways on the same series; bands as calibration curves."""
    best = bounds.bound(polynomial_well(TERMS), _DT, _N).drift_error
    rows = []
    for way, (few, many) in _SEEDS.items():
        count = context.count(few, full=many)
        samples.prepare(double_well(), _DT, _N, count, context.cache)
        tasks = [{"way": way, "seed": seed} for seed in range(count)]
        outcomes = run_tasks(context, f"learned_{way}", partial(fit_seed, cache=context.cache), tasks)
        rows += _summarise(way, outcomes, best)
    return rows


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One learned fit with default options."""
    import pdekit as pk

    options = pk.KramersMoyal() if task["way"] == "kernels" else pk.NeuralSDE()
    process = double_well()
    x = samples.path(process, _DT, _N, task["seed"], cache)
    return learners.learned_seed(process, _DT, x, options, seed=task["seed"])


def _summarise(way: str, outcomes: list[Outcome], best: float) -> list[Row]:
    good = [outcome for outcome in outcomes if "error" not in outcome]
    failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
    rows = [at_most(f"{way}: failed fits", len(failed), 0, detail=failed[0] if failed else "")]
    if not good:
        return rows
    value, spread = rms([outcome["drift"] for outcome in good])
    seconds = float(np.median([outcome["seconds"] for outcome in good]))
    told = (
        f"{len(good)} seeds; {100 * value:.2f} +- {100 * spread:.2f} %, B_{TERMS} {100 * best:.2f} %; {seconds:.1f} s"
    )
    rows.append(at_most(f"{way}: drift error / B_{TERMS}", value / best, LIMIT, detail=told))
    bias = np.array([outcome["sigma2"] for outcome in good])
    rows.append(
        Row(f"{way}: mean of sigma^2 over the truth, less one", 100 * float(bias.mean()), "%", detail=_pm(bias))
    )
    for name, what in (("covered", "drift"), ("noise_covered", "noise")):
        for level in good[0][name]:
            share = np.array([outcome[name][level] for outcome in good])
            metric = f"{way}: {what} inside its {100 * float(level):g} % band"
            rows.append(Row(metric, 100 * float(share.mean()), "%", detail=_pm(share)))
    return rows


def _pm(values: np.ndarray) -> str:
    if len(values) < 2:
        return "one seed"
    return f"+- {100 * float(values.std(ddof=1)) / len(values) ** 0.5:.1g} %, of the stationary mass"
