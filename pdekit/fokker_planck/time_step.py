"""The step of simulated paths, cut until it makes no difference that they could tell."""

import warnings
from collections.abc import Callable

import numpy as np

_LONGER, _TRIES = 8, 2  # how many times as long a step is that should make no difference, and how often one is cut
_SIGNIFICANT = 3.0  # standard errors


def unbiased_step(run: Callable[[float, int], list[np.ndarray] | None], dt: float) -> float:
    """A step beside which one eight times as long makes no difference: `dt`, an eighth of it, or a 64th.

    The error of moments falls with the step itself. If a quarter of the paths show no difference between steps of
    eight and of one, which is seven times the error of one, then this error is no more than about what all of them
    scatter by. Warns if even the shortest of the three makes a difference.

    Args:
        run: The states (n, d) at some times by a step and the number of a seed, NaN where a path is gone; None if the
            step is too long for that.
        dt: The step to begin with.

    Returns:
        The step.
    """
    longer = run(_LONGER * dt, 0)
    for k in range(_TRIES + 1):
        here = run(dt, 1 + k)
        if longer is not None and here is not None and _alike(longer, here):
            return dt
        if k < _TRIES:
            longer, dt = here, dt / _LONGER
    warnings.warn(
        f"A step of {dt:.3g} is still too long: one eight times as long gives moments or masses that differ by more"
        " than they scatter. Give a smaller dt=, or use Grid().",
        stacklevel=5,
    )
    return dt


def _alike(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Whether masses, means and variances are the same but for scatter, at all times."""
    return all(_distance(_terms(x), _terms(y)) <= _SIGNIFICANT for x, y in zip(a, b, strict=True))


def _terms(x: np.ndarray) -> np.ndarray:
    """What is averaged, (n, 1 + 2 d): whether a path is there, then where it is and how far from the mean, squared."""
    there: np.ndarray = ~np.isnan(x).any(axis=-1).reshape(-1, 1)
    mean = x[there[:, 0]].mean(0) if there.any() else 0.0
    return np.concatenate([there, np.where(there, x, 0.0), np.where(there, (x - mean) ** 2, 0.0)], -1)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """The greatest difference of two means, in standard errors."""
    scatter = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
    return float((np.abs(a.mean(0) - b.mean(0)) / np.maximum(scatter, np.finfo(float).tiny)).max())


__all__ = ["unbiased_step"]
