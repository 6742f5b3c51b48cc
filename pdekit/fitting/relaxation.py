"""The relaxation time of a fitted process: 1 / lambda_1, the slowest decay of its generator."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Trajectories
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


@dataclass(frozen=True)
class Relaxation:
    """How fast the process forgets its past.

    Attributes:
        time: 1 / lambda_1, in the data's time unit.
        relative_error: The standard error of lambda_1 over lambda_1; None if it was read off the data.
    """

    time: float
    relative_error: float | None


def relaxation(evidence: Evidence) -> Relaxation | None:
    """The relaxation time at the estimate; None if the process has no stationary law.

    For one state from the spectral gap of the finite-volume generator, whose gradient in the parameters is that of a
    Rayleigh
    quotient. For several states, or with a drift that depends on time, from the autocorrelation of the data.
    """
    model = evidence.model
    if model.dim > 1 or not model.autonomous or model.noise_dim > 1:
        time = autocorrelation_time(evidence.data)
        return None if time is None else Relaxation(time, None)
    try:
        return _from_generator(evidence)
    except PdekitError:
        return None


def _from_generator(evidence: Evidence) -> Relaxation | None:
    model = evidence.model.ito()
    function = model.function([model.drift[0], model.diffusion_matrix[0, 0]])

    def coefficients_at(theta: Tensor) -> Coefficients:
        def coefficients(x: Tensor) -> tuple[Tensor, Tensor]:
            both = function(0.0, x[:, None], theta)
            return both[:, 0], both[:, 1]

        return coefficients

    fixed = coefficients_at(evidence.theta)
    x = torch.cat([evidence.pairs.x0[:, 0], evidence.pairs.x1[:, 0]])
    with torch.no_grad():
        grid = _stationary_grid(fixed, model.domain[0], (float(x.min()), float(x.max())))
    if grid is None:
        return None
    theta = evidence.theta.detach().clone().requires_grad_()
    diagonal, off_diagonal = grid.assemble(coefficients_at(theta)).symmetric()
    _, vectors = decompose(diagonal.detach(), off_diagonal.detach())
    slowest = vectors[:, -2]
    rate = -(diagonal * slowest * slowest).sum() - 2.0 * (off_diagonal * slowest[1:] * slowest[:-1]).sum()
    (gradient,) = torch.autograd.grad(rate, theta)
    value = float(rate.detach())
    if not (np.isfinite(value) and value > 0.0):
        return None
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
        lower_ends = grid.closed_lower or mass[:outer].sum() < _NEGLIGIBLE
        if lower_ends and (grid.closed_upper or mass[-outer:].sum() < _NEGLIGIBLE):
            first = int(np.searchsorted(np.cumsum(mass), _CUT))
            last = _CELLS - int(np.searchsorted(np.cumsum(mass[::-1]), _CUT))
            ends = grid.y_lower + first * grid.step, grid.y_lower + last * grid.step
            return FiniteVolumeGrid(coordinate, *ends, _CELLS)
        padding *= 2.0
    return None


def autocorrelation_time(data: Trajectories) -> float | None:
    """The largest integrated autocorrelation time of any component, None for records too short or too irregular to tell.

    The integral runs to the first lag at which the correlation falls below 5 %, over its absolute value, so that
    oscillations
    count as memory.
    """
    steps = np.concatenate([t.diff().numpy() for t in data.times])
    dt = float(np.median(steps))
    longest = max(data.values, key=len).numpy()
    if len(longest) < 20:
        return None
    times = [_integrated(longest[:, j]) for j in range(longest.shape[1])]
    return dt * max(times)


def _integrated(x: np.ndarray) -> float:
    """sum of |rho_k| / 2 + ... from lag 0 until it stays small, in steps."""
    centered = x - x.mean()
    n = len(x)
    size = 2 ** int(np.ceil(np.log2(2 * n)))
    power = np.abs(np.fft.rfft(centered, size)) ** 2
    rho = np.fft.irfft(power, size)[: min(n // 2, _MOST_LAGS)]
    if not rho[0] > 0.0:
        return 1.0
    envelope = np.maximum.accumulate(np.abs(rho / rho[0])[::-1])[::-1]
    faded = np.flatnonzero(envelope < max(0.05, 2.0 / np.sqrt(n)))
    last = int(faded[0]) if faded.size else len(envelope)
    return float(np.sum(envelope[:last]) - 0.5)
