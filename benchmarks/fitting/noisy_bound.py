"""What no unbiased estimator can beat where readings carry noise: information of a filtered likelihood, by simulation.

Readings are y_k = x_k + e_k with e_k normal of standard deviation eps. On the grid of `bounds` the filter is a matrix
product and a pointwise product for each step; derivatives go along (forward mode). The scores of single steps given
what came before, s_k = d log p(y_k | y_1 .. y_{k-1}), are martingale differences, so that the information of a step is
the mean of s_k s_k^T.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import expm

from benchmarks.fitting import bounds, samples
from benchmarks.fitting.truth import Array, Process

_CELLS = 240
_SERIES, _STEPS, _BURN = 40, 10_000, 500


def noisy_bound(process: Process, dt: float, n: int, eps: float, *, cells: int = _CELLS) -> bounds.Bound:
    """The bounds of a process and of the noise of its readings, `noise`, the last of the parameters.

    Args:
        process: With additive or multiplicative noise; only the double well can be simulated here.
        dt: Sampling step.
        n: Number of steps.
        eps: Standard deviation of the readings' noise.
        cells: Of the grid.
    """
    x = samples.double_well_paths(process, dt, _STEPS, range(10_000, 10_000 + _SERIES))
    readings = x + eps * np.random.default_rng(0).standard_normal(x.shape)
    scores = filtered_scores(process, dt, readings, eps, cells)[_BURN:].reshape(-1, len(process.theta) + 1)
    observed = replace(process, params=(*process.params, "noise"), theta=(*process.theta, eps))
    return bounds.Bound(observed, dt, n, scores.T @ scores / len(scores))


def filtered_scores(process: Process, dt: float, readings: Array, eps: float, cells: int = _CELLS) -> Array:
    """d log p(y_k | y_1 .. y_{k-1}) / d (theta, eps) of each step of several series (s, m), (m, s, k + 1)."""
    theta = np.asarray(process.theta)
    low, high = process.support
    x = low + (high - low) / cells * (np.arange(cells) + 0.5)
    transition, slopes = np.empty(0), []
    for i in range(len(theta)):
        shifted = theta.astype(complex)
        shifted[i] += 1j * bounds.COMPLEX_STEP
        rates, mass = bounds.generator(process, shifted, cells)
        both = expm(rates * dt)
        transition = np.real(both)
        slopes.append(np.imag(both).T / bounds.COMPLEX_STEP)
    forward, mass = transition.T, np.real(mass)
    count, known = readings.shape[0], len(theta) + 1
    law = np.repeat(mass[:, None], count, 1)
    tangent = np.zeros((known, cells, count))
    found = np.empty((readings.shape[1], count, known))
    for k, y in enumerate(readings.T):
        if k:
            carried = [forward @ t for t in tangent]
            for i, slope in enumerate(slopes):
                carried[i] += slope @ law
            law, tangent = forward @ law, np.stack(carried)
        off = (y - x[:, None]) / eps
        likelihood = np.exp(-0.5 * off**2) / eps
        tangent = tangent * likelihood
        tangent[-1] += law * likelihood * (off**2 - 1) / eps
        law = law * likelihood
        total = law.sum(0)
        found[k] = (tangent.sum(1) / total).T
        # The law given all readings so far, and its derivatives.
        law, tangent = law / total, (tangent - law * found[k].T[:, None]) / total
    return found


__all__ = ["filtered_scores", "noisy_bound"]
