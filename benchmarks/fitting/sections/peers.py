"""The same series, in the same run, fitted with pdekit and with the peers that install from PyPI."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.criteria import rms
from benchmarks.environment import one_thread
from benchmarks.fitting import peer_worker, samples, subject
from benchmarks.fitting.truth import double_well, stationary_density
from benchmarks.results import Row, skipped
from benchmarks.runner import Context, Outcome, Progress

TITLE = "Double well beside the peers"
PEERS = {
    "sfi_linear": ("StochasticForceInference", "StochasticForceInference, linear"),
    "sfi_parametric": ("StochasticForceInference", "StochasticForceInference, parametric"),
    "kramersmoyal": ("kramersmoyal", "kramersmoyal, defaults"),
}
_CASES = ((0.5, 5000, 5), (0.01, 100_000, 3))  # dt, n, seeds: a peer may take a minute per fit
_TIMEOUT = 600  # seconds per fit


def run(context: Context) -> list[Row]:
    """Drift error (weighted L2) and pointwise sigma error of each, RMS over the seeds.

    Times exclude imports; those of a peer that compiles just in time include its compilation.
    """
    installed = {
        name: installed_version(context.peers_python, distribution) for name, (distribution, _) in PEERS.items()
    }
    rows = []
    for dt, n, seeds in _CASES:
        count = context.count(seeds)
        samples.prepare(double_well(), dt, n, count, context.cache)
        best = [errors_of(outcome) for outcome in (_ours(dt, n, seed, context) for seed in range(count))]
        rows += _rows(f"dt {dt:g}: pdekit", best)
        for name, (distribution, label) in PEERS.items():
            if installed[name] is None:
                rows.append(
                    skipped(f"dt {dt:g}: {label}", f"{distribution} is not installed in {context.peers_python}")
                )
                continue
            outcomes = _peer(name, dt, n, count, context)
            errors = [errors_of(outcome) for outcome in outcomes if "error" not in outcome]
            failures = [outcome["error"] for outcome in outcomes if "error" in outcome]
            detail = f"version {installed[name]}" + (f"; {len(failures)} failed: {failures[0]}" if failures else "")
            peer_rows = _rows(f"dt {dt:g}: {label}", errors, detail)
            rows += peer_rows
            if errors:
                worst, ours = rms([error["drift"] for error in errors])[0], rms([error["drift"] for error in best])[0]
                rows.append(Row(f"dt {dt:g}: drift error of {label} / pdekit", worst / ours))
    return rows


def _ours(dt: float, n: int, seed: int, context: Context) -> Outcome:
    process = double_well()
    outcome = subject.fit_series(process, dt, samples.path(process, dt, n, seed, context.cache))
    theta = np.array([outcome["estimate"][name] for name in process.params])
    grid, _ = stationary_density(process)
    sigma = np.full_like(grid, theta[2])
    return {"seconds": outcome["seconds"], "drift": process.drift(grid, theta), "sigma": sigma}


def _peer(name: str, dt: float, n: int, count: int, context: Context) -> list[Outcome]:
    """Each fit in its own process and stored by itself: a crash or a hang of a peer costs one fit."""
    store, outcomes = context.store(f"peer_{name}_dt{dt:g}"), []
    progress = Progress(f"{name} dt {dt:g}", count)
    for seed in range(count):
        task = {"dt": dt, "n": n, "seed": seed}
        outcome = store.get(task)
        if outcome is None:
            outcome = run_worker(
                name, dt, samples.path(double_well(), dt, n, seed, context.cache), context.peers_python
            )
            store.put(task, outcome)
        outcomes.append(outcome)
        progress.step()
    progress.end()
    return outcomes


def run_worker(name: str, dt: float, x: np.ndarray, python: str) -> Outcome:
    """One fit of a series by a peer in a process of its own."""
    import os

    with tempfile.TemporaryDirectory() as folder:
        series = Path(folder) / "series.npz"
        np.savez(series, x=x, dt=dt, grid=stationary_density(double_well())[0])
        command = [python, str(Path(peer_worker.__file__)), name, str(series)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT, env=os.environ | one_thread(), cwd=folder
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no result within {_TIMEOUT} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def errors_of(outcome: Outcome) -> dict[str, float]:
    """Errors of drift and noise on the double well, weighted by its law."""
    process = double_well()
    grid, weight = stationary_density(process)
    theta = np.asarray(process.theta)
    true = process.drift(grid, theta)
    drift = np.sqrt(np.sum(weight * (np.asarray(outcome["drift"]) - true) ** 2) / np.sum(weight * true**2))
    sigma = np.sqrt(np.sum(weight * (np.asarray(outcome["sigma"]) / theta[2] - 1) ** 2))
    bias = np.sum(weight * np.asarray(outcome["sigma"]) ** 2) / theta[2] ** 2 - 1
    return {"drift": float(drift), "sigma": float(sigma), "bias": float(bias), "seconds": outcome["seconds"]}


def _rows(label: str, errors: list[dict[str, float]], detail: str = "") -> list[Row]:
    if not errors:
        return [Row(f"{label}: drift error", "failed", detail=detail)]
    seconds = np.median([error["seconds"] for error in errors])
    bias = 100 * np.mean([error["bias"] for error in errors])
    detail = "; ".join(part for part in (f"{len(errors)} seeds, {seconds:.2f} s per fit", detail) if part)
    return [
        Row(f"{label}: drift error", 100 * rms([error["drift"] for error in errors])[0], "%", detail=detail),
        Row(
            f"{label}: sigma error",
            100 * rms([error["sigma"] for error in errors])[0],
            "%",
            detail=f"mean of sigma^2 {bias:+.1f} %",
        ),
    ]


def installed_version(python: str, distribution: str) -> str | None:
    """The version of a distribution that an interpreter sees; None if there is none."""
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    done = subprocess.run([python, "-c", code, distribution], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
