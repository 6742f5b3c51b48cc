"""Readings with noise: errors against the bound of the noisy model, and the same series fitted by the peers."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.criteria import rejects, rms
from benchmarks.fitting import learners, samples
from benchmarks.fitting.noisy_bound import noisy_bound
from benchmarks.fitting.sections import peers
from benchmarks.fitting.truth import double_well, drift_error
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Measurement noise of .05: double well, dt .01, 100,000 readings"
LIMIT, NOISE_LIMIT = 1.1, 0.05
_DT, _N, _EPS = 0.01, 100_000, 0.05
_PEER_SEEDS = 3


def run(context: Context) -> list[Row]:
    """Drift, sigma and the noise's level over seeds; coverage; peers that know of no noise."""
    count = context.count(5, full=50)
    samples.prepare(double_well(), _DT, _N, count, context.cache)
    tasks = [{"seed": seed} for seed in range(count)]
    outcomes = run_tasks(context, "observed", partial(fit_seed, cache=context.cache), tasks)
    good = [outcome for outcome in outcomes if "error" not in outcome]
    failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
    rows = [at_most("failed fits", len(failed), 0, detail=failed[0] if failed else "")]
    return rows + (_errors(good) + _coverage(good) if good else []) + _peers(context)


def readings(seed: int, cache: Path) -> np.ndarray:
    """The double well of a seed, with noise."""
    x = samples.path(double_well(), _DT, _N, seed, cache)
    return x + _EPS * np.random.default_rng([seed, 77]).standard_normal(len(x))


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One fit that estimates the noise of the readings along."""
    import time

    import pdekit as pk

    data = learners.series(_DT, readings(task["seed"], cache), ("x",))
    begun = time.perf_counter()
    found = pk.fit(pk.models.double_well(), data, observation=pk.Observation(noise="estimate"))
    names = dict(zip(found.params, ("a", "b", "sigma", "noise"), strict=True))
    return {
        "estimate": {ours: found.params[theirs].estimate for theirs, ours in names.items()},
        "wald": {ours: list(found.interval(theirs) or (np.nan, np.nan)) for theirs, ours in names.items()},
        "route": found.route,
        "seconds": time.perf_counter() - begun,
    }


def _errors(good: list[Outcome]) -> list[Row]:
    process = double_well()
    best = noisy_bound(process, _DT, _N, _EPS)
    estimates = [outcome["estimate"] for outcome in good]
    drift = [
        drift_error(process, lambda x, p=p: process.drift(x, np.array([p["a"], p["b"], p["sigma"]]))) for p in estimates
    ]
    sigma = [p["sigma"] / process.truth["sigma"] - 1 for p in estimates]
    noise = [p["noise"] / _EPS - 1 for p in estimates]
    seconds = np.median([outcome["seconds"] for outcome in good])
    rows = []
    for label, values, limit in (
        ("drift error", drift, best.drift_error),
        ("sigma error", sigma, best.relative("sigma")),
        ("noise error", noise, best.relative("noise")),
    ):
        value, spread = rms(values)
        told = f"{len(values)} seeds; {100 * value:.3f} +- {100 * spread:.3f} %, bound {100 * limit:.3f} %"
        rows.append(at_most(f"{label} / bound of the noisy model", value / limit, LIMIT, detail=told))
    rows.append(at_most("the noise's level is off by", 100 * rms(noise)[0], 100 * NOISE_LIMIT, "%"))
    rows.append(Row("seconds of a fit", float(seconds), "s", detail=good[0]["route"]))
    return rows


def _coverage(good: list[Outcome]) -> list[Row]:
    truth = double_well().truth | {"noise": _EPS}
    rows = []
    for name, true in truth.items():
        hits = sum(outcome["wald"][name][0] <= true <= outcome["wald"][name][1] for outcome in good)
        reached = not rejects(hits, len(good), family=len(truth))
        target = f"95 % not rejected at .01 / {len(truth)}"
        rows.append(Row(f"interval of {name}", 100 * hits / len(good), "%", target, reached, f"{hits} of {len(good)}"))
    return rows


def _peers(context: Context) -> list[Row]:
    rows = []
    for name, (distribution, label) in peers.PEERS.items():
        if peers.installed_version(context.peers_python, distribution) is None:
            rows.append(skipped(label, f"{distribution} is not installed in {context.peers_python}"))
            continue
        store, errors = context.store(f"observed_{name}"), []
        for seed in range(min(_PEER_SEEDS, context.count(_PEER_SEEDS))):
            outcome = store.get({"seed": seed})
            if outcome is None:
                outcome = peers.run_worker(name, _DT, readings(seed, context.cache), context.peers_python)
                store.put({"seed": seed}, outcome)
            errors.append(outcome if "error" in outcome else peers.errors_of(outcome))
        good = [error for error in errors if "error" not in error]
        if not good:
            rows.append(skipped(label, errors[0]["error"]))
            continue
        bias = 100 * np.mean([error["bias"] for error in good])
        detail = f"{len(good)} seeds; mean of sigma^2 {bias:+.0f} %"
        rows.append(Row(f"{label}: drift error", 100 * rms([error["drift"] for error in good])[0], "%", detail=detail))
    return rows
