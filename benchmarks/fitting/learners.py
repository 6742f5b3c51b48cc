"""Learned fits as plain numbers: what the sections on learning ask of the package under test."""

import time
from typing import Any

import numpy as np

from benchmarks.fitting.truth import Array, Process, drift_error, stationary_density
from benchmarks.runner import Outcome

LEVELS = (0.5, 0.8, 0.9, 0.95)


def series(dt: float, x: Array, names: tuple[str, ...] | None = None) -> Any:
    """pdekit's `Trajectories` of one equidistant path."""
    from pdekit import Trajectories

    return Trajectories.from_arrays(np.arange(len(x)) * dt, x, names=names)


def learned_seed(process: Process, dt: float, x: Array, options: Any, seed: int = 0) -> Outcome:
    """One learned fit of a process with one state, against the truth where its stationary law has its mass.

    Returns:
        drift (relative L2 error), sigma2 (mean of g^2 over the truth, less one), covered (by level, the share of the
        stationary mass over which the drift's pointwise band holds the truth), noise_covered, flags, seconds.
    """
    import torch
    from scipy.stats import norm

    from pdekit import fit

    begun = time.perf_counter()
    found = fit(options, series(dt, x), seed=seed)
    seconds = time.perf_counter() - begun
    grid, weight = stationary_density(process)
    theta, states = np.asarray(process.theta), torch.from_numpy(grid)[:, None]
    true, size = process.drift(grid, theta), process.diffusion(grid, theta)
    model: Any = found.model
    with torch.no_grad():
        drift = model.drift(0.0, states)[:, 0].numpy()
        noise = model.noise(0.0, states)[:, 0, 0].numpy()
        errors = model.drift_stderr(states)[:, 0].numpy(), model.diffusion_stderr(states)[:, 0].numpy()

    def covered(off: Array, error: Array) -> dict[str, float]:
        return {f"{level:g}": float(weight @ (np.abs(off) <= norm.ppf(0.5 + level / 2) * error)) for level in LEVELS}

    return {
        "drift": drift_error(process, lambda _: drift),
        "sigma2": float(weight @ (noise / size) ** 2 - 1),
        "covered": covered(drift - true, errors[0]),
        "noise_covered": covered(noise - size, errors[1]),
        "flags": warnings_of(found),
        "seconds": seconds,
    }


def found_terms(options: Any, dt: float, x: Array, names: tuple[str, ...]) -> Outcome:
    """A sparse search: the terms of each drift and of each squared noise, as text."""
    import sympy

    from pdekit import fit

    begun = time.perf_counter()
    found = fit(options, series(dt, x, names))
    seconds = time.perf_counter() - begun
    model: Any = found.model
    squares = (model.diffusion_matrix * model.diffusion_matrix.T).diagonal()
    states = model.state

    def terms(expression: Any) -> list[str]:
        kept = sympy.Poly(sympy.expand(expression), *states).monoms()
        return sorted(str(sympy.prod([s**k for s, k in zip(states, powers, strict=True)])) for powers in kept)

    return {
        "drift": [terms(f) for f in model.drift],
        "noise": [terms(v) for v in squares],
        "equation": str(list(model.drift)),
        "route": found.route,
        "flags": warnings_of(found),
        "seconds": seconds,
    }


def warnings_of(found: Any) -> list[str]:
    """The titles of what a fit warns of."""
    return [flag.title for flag in found.flags if flag.severity in ("warning", "serious")]


__all__ = ["LEVELS", "found_terms", "learned_seed", "series", "warnings_of"]
