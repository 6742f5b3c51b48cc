"""Whether the law changes at all from snapshot to snapshot."""

import numpy as np
from scipy.stats import chi2

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.snapshots.moments import TestFunctions

_SMOOTH = 3  # slow courses in time that are looked for apart: a constant rate, one that changes once, twice


def equal_laws(data: Snapshots, seed: int = 0) -> float:
    """The p-value of the hypothesis that all snapshots are samples of one law.

    Means of test functions are compared by chi-square statistics with their pooled covariance. Four of them share the
    level: all functions or the first two moments alone, which gather what a change of place or width does; among all
    snapshots, or slow courses in time alone, which gather what many noisy snapshots have in common.

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(1)
        >>> equal_laws(Snapshots([0.0, 1.0], [torch.randn(500, generator=g), torch.randn(500, generator=g)])) > 0.01
        True
        >>> equal_laws(Snapshots([0.0, 1.0], [torch.randn(500, generator=g), 1 + torch.randn(500, generator=g)])) > 0.01
        False
    """
    functions = TestFunctions.placed(data, seed)
    values = [functions.values(x).numpy() for x in data.samples]
    moments = [v[:, len(functions.places) :] for v in values]
    p = [p for part in ((values, moments) if len(functions.places) else (values,)) for p in _compared(part, data)]
    return float(min(1.0, len(p) * min(p)))


def _compared(values: list[np.ndarray], data: Snapshots) -> tuple[float, float]:
    """The p-values of all snapshots and of slow courses, for functions of the states (n_k, F)."""
    means, counts = np.stack([v.mean(0) for v in values]), np.array(data.counts, dtype=float)
    pooled = sum(np.cov(v, rowvar=False).reshape(v.shape[1], -1) * (len(v) - 1) for v in values)
    pooled = pooled / (counts.sum() - len(counts))
    scale = np.sqrt(np.diag(pooled))
    size, directions = np.linalg.eigh(pooled / np.outer(scale, scale))
    kept = size > 1e-3 * size[-1]  # the others hardly vary, and are far from normal
    white = directions[:, kept] / np.sqrt(size[kept]) / scale[:, None]
    away = (means - np.average(means, axis=0, weights=counts)) @ white * np.sqrt(counts)[:, None]
    rank, courses = int(kept.sum()), _courses(data.times.numpy(), counts)
    every = chi2.sf(float((away**2).sum()), rank * (len(counts) - 1))
    slow = chi2.sf(float(((courses.T @ away) ** 2).sum()), rank * courses.shape[1])
    return float(every), float(slow)


def _courses(times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Orthonormal polynomials in time, without the constant, in units of sampling errors, (K, <= 3)."""
    degree = min(_SMOOTH, len(times) - 1)
    t = 2.0 * (times - times[0]) / (times[-1] - times[0]) - 1.0
    powers = t[:, None] ** np.arange(degree + 1) * np.sqrt(counts)[:, None]
    return np.linalg.qr(powers)[0][:, 1:]


__all__ = ["equal_laws"]
