"""The relaxation time of a fitted process: 1 / lambda_1, the slowest decay of its generator."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import PdekitError
from pdekit.fitting.evidence import Evidence
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import Coefficients, FiniteVolumeGrid
from pdekit.fokker_planck.spectral import decompose

_CELLS = 300
_ENLARGEMENTS = 7
# Stationary mass in the outer cells below which an open end counts as far away, and below which cells are cut off.
_NEGLIGIBLE = 1e-7
_CUT = 1e-10
_MOST_LAGS = 5_000
_FEWEST = 20


@dataclass(frozen=True)
class Relaxation:
    """How fast the process forgets its past, and how well the record knows it.

    Attributes:
        time: 1 / lambda_1, in the data's time unit.
        uncertainty: For one state the relative standard error of lambda_1; for several that of the information on the
            least certain parameter. For an Ornstein-Uhlenbeck process both are sqrt(2 time / T), which is taken for
            learned coefficients, too.
    """

    time: float
    uncertainty: float


def relaxation(evidence: Evidence, scores: np.ndarray) -> Relaxation | None:
    """The relaxation time at the estimate; None if the process has no stationary law, as one that is driven in time.

    For one state from the spectral gap of the finite-volume generator, whose gradient in the parameters is that of a
    Rayleigh quotient. For several states from autocorrelations in the data.

    Args:
        evidence: The fit.
        scores: d log p / d theta of every pair, (N, k).
    """
    model = evidence.model
    if not model.autonomous:
        return None
    if model.dim > 1 or model.noise_dim > 1:
        return _from_data(evidence, scores)
    try:
        return _from_generator(evidence)
    except PdekitError:
        return None


def _from_generator(evidence: Evidence) -> Relaxation | None:
    coefficients_at = evidence.coefficients.scalar
    fixed = coefficients_at(evidence.theta)
    x = torch.cat([evidence.pairs.x0[:, 0], evidence.pairs.x1[:, 0]])
    with torch.no_grad():
        grid = _stationary_grid(fixed, evidence.model.domain[0], (float(x.min()), float(x.max())))
    if grid is None:
        return None
    theta = evidence.theta.detach().clone().requires_grad_()
    diagonal, off_diagonal = grid.assemble(coefficients_at(theta)).symmetric()
    _, vectors = decompose(diagonal.detach(), off_diagonal.detach())
    slowest = vectors[:, -2]
    rate = -(diagonal * slowest * slowest).sum() - 2.0 * (off_diagonal * slowest[1:] * slowest[:-1]).sum()
    value = float(rate.detach())
    if not (np.isfinite(value) and value > 0.0):
        return None
    if not len(theta):
        return Relaxation(1.0 / value, math.sqrt(2.0 / (value * float(evidence.pairs.dt.sum()))))
    (gradient,) = torch.autograd.grad(rate, theta)
    variance = float(gradient @ evidence.covariance @ gradient)
    return Relaxation(1.0 / value, float(np.sqrt(max(variance, 0.0))) / value)


def _stationary_grid(
    coefficients: Coefficients, domain: tuple[float, float], reach: tuple[float, float]
) -> FiniteVolumeGrid | None:
    """A grid over all but a negligible part of the stationary law, None if the mass runs off however far one looks."""
    noise = lambda x: coefficients(x)[1]  # noqa: E731
    least, greatest = LampertiCoordinate(noise, domain, reach, 0.0).range
    padding = 0.5 * (greatest - least)
    outer = _CELLS // 50
    for _ in range(_ENLARGEMENTS):
        coordinate = LampertiCoordinate(noise, domain, reach, padding)
        grid = FiniteVolumeGrid(coordinate, *coordinate.range, _CELLS)
        mass = grid.assemble(coefficients).stationary().numpy()
        lower_ends = mass[:outer].sum() < _NEGLIGIBLE or (grid.closed_lower and _is_near(grid.faces[:4] - domain[0]))
        upper_ends = mass[-outer:].sum() < _NEGLIGIBLE or (
            grid.closed_upper and _is_near(domain[1] - grid.faces[-4:].flip(0))
        )
        if lower_ends and upper_ends:
            first = int(np.searchsorted(np.cumsum(mass), _CUT))
            last = _CELLS - int(np.searchsorted(np.cumsum(mass[::-1]), _CUT))
            ends = grid.y_lower + first * grid.step, grid.y_lower + last * grid.step
            return FiniteVolumeGrid(coordinate, *ends, _CELLS)
        padding *= 2.0
    return None


def _is_near(distances: Tensor) -> bool:
    """Whether a closed end is at a finite y: distances of the first four faces, the boundary's own first.

    There they grow as a power of the face's number, as 1, 2^a, 3^a; toward a boundary at infinite y, which only the
    table's end has closed, as 1, e^a, e^2a.
    """
    first, second = torch.log(distances[2:] / distances[1:-1]).tolist()
    return first > 1.3 * second


def _from_data(evidence: Evidence, scores: np.ndarray) -> Relaxation | None:
    longest = max(evidence.data.values, key=len).numpy()
    if len(longest) < _FEWEST:
        return None
    dt = float(evidence.pairs.dt.median())
    time = dt * max(correlation_steps(longest[:, j]) for j in range(longest.shape[1]))
    if not len(evidence.theta):
        return Relaxation(time, math.sqrt(2.0 * time / float(evidence.pairs.dt.sum())))
    influence = scores @ evidence.covariance.numpy()
    influence = influence[:, np.abs(influence).max(0) > 0.0] ** 2
    if not influence.shape[1]:
        return None
    # The variance of a sum of n correlated terms, over the square of the sum.
    spread = (influence.std(0) / influence.mean(0)) ** 2
    steps = np.array([2.0 * correlation_steps(influence[:, j]) for j in range(influence.shape[1])])
    return Relaxation(time, float(np.sqrt((spread * steps).max() / len(influence))))


def correlation_steps(x: np.ndarray) -> float:
    """The integrated autocorrelation 1/2 + sum_k |rho_k| of a series, in steps.

    The sum ends where the correlation has fallen below 5 % (or its noise) for good; its absolute value is taken so
    that an oscillation counts as memory.
    """
    centered, n = x - x.mean(), len(x)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    power = np.abs(np.fft.rfft(centered, size)) ** 2
    rho = np.fft.irfft(power, size)[: max(2, min(n // 3, _MOST_LAGS))]
    if not rho[0] > 0.0:
        return 0.5
    rho = np.abs(rho / rho[0])
    # For good: the first time that five lags on are faint as well.
    faint = max(0.05, 2.0 / np.sqrt(n))
    window = np.lib.stride_tricks.sliding_window_view(np.pad(rho, (0, 4)), 5).max(-1)
    faded = np.flatnonzero(window < faint)
    last = int(faded[0]) if faded.size else len(rho)
    return float(np.sum(rho[:last]) - 0.5) if last else 0.5
