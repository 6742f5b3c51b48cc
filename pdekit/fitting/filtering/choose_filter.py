"""Which filter serves which record."""

import math
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fitting.densities.protocol import TransitionDensity, select_pairs
from pdekit.fitting.filtering.grid_filter import GridFilterLikelihood
from pdekit.fitting.filtering.kalman import KalmanLikelihood
from pdekit.fitting.filtering.moments import MomentStep
from pdekit.fitting.filtering.observation import Observation
from pdekit.symbolic import SymbolicSDE

FilterMethod = Literal["auto", "kalman", "fokker-planck"]

# Standard errors of the whole record by which the Kalman filter may move an estimate.
_HARMLESS = 0.25
# A stretch this long shows the difference of the two filters well enough.
_STRETCH = 600
_PARTS = 12
# From this share of its own time on a step is so coarse that no normal law need be tried.
_COARSE = 0.5
# Readings times cells squared up to which the grid costs about a second, and needs no alternative.
_CHEAP = 200_000_000


class FilterLikelihood(TransitionDensity, Protocol):
    """A likelihood of readings that see the state with noise, or only in part.

    It is a `TransitionDensity` whose terms are log p(y_{k+1} | y_1 ... y_k; theta), the first reading of each path
    being given, so that their sum compares with that of a fit without noise.
    """

    def residuals(self, theta: Tensor) -> Tensor:
        """Standardised innovations, (n, d_obs), without gradient."""
        ...

    def states(self, theta: Tensor) -> Tensor:
        """E(X_{k+1} | y_1 ... y_{k+1}) of every pair, (n, d), without gradient."""
        ...


def filter_likelihood(
    model: SymbolicSDE, pairs: Pairs, observation: Observation, theta: Tensor, method: FilterMethod = "auto"
) -> FilterLikelihood:
    """The likelihood of noisy or partial readings, good for parameters near `theta`.

    `"auto"` takes the Kalman filter where it is exact (affine drift, additive noise), for several states, and where
    coefficients depend on time. For one state it takes the Fokker-Planck filter; but where that would be slow and the
    steps are not coarse, the Kalman filter if, on a stretch of the record, it is found to move no estimate by more
    than a quarter of its standard error.

    Args:
        model: The SDE with its noise levels, from `observed_model`.
        pairs: The readings, one column per observed state.
        observation: What they are.
        theta: All parameters, (k,).
        method: `"auto"`, `"kalman"` or `"fokker-planck"`.

    Raises:
        InputError: If the method is unknown, or the readings have another number of columns.
        UnsupportedError: If the method can't serve the model, or there is nothing to filter.
    """
    if method not in get_args(FilterMethod):
        raise InputError(
            f"With readings that are noisy or partial the method must be one of {', '.join(get_args(FilterMethod))}; "
            f"got {method!r}."
        )
    columns = observation.states(model)
    if pairs.dim != len(columns):
        raise InputError(f"{len(columns)} column(s) were expected ({', '.join(columns)}), got {pairs.dim}.")
    if observation.is_complete(model):
        raise UnsupportedError("Every state is read without noise, so there is nothing to filter; fit it directly.")
    if method == "fokker-planck":
        return GridFilterLikelihood.lay(model, pairs, observation, theta)
    scalar = model.dim == 1 and model.noise_dim == 1 and model.autonomous
    if method == "kalman" or not scalar:
        return KalmanLikelihood(model, pairs, observation, theta)
    kalman = _kalman_if_exact(model, pairs, observation, theta)
    if kalman is not None:
        return kalman
    grid = GridFilterLikelihood.lay(model, pairs, observation, theta)
    if len(pairs) * grid.cells**2 <= _CHEAP or _is_coarse(model, pairs, theta):
        return grid
    kalman, moved = _kalman_if_harmless(model, pairs, observation, theta)
    if kalman is not None:
        return kalman
    reason = f"would move an estimate by {moved:.2g} standard errors" if math.isfinite(moved) else "does not serve"
    return GridFilterLikelihood.lay(model, pairs, observation, theta, reason=f" (a Kalman filter {reason})")


def _kalman_if_exact(
    model: SymbolicSDE, pairs: Pairs, observation: Observation, theta: Tensor
) -> KalmanLikelihood | None:
    """The Kalman filter where drift is affine and noise additive on an unbounded line."""
    if not MomentStep(model).linear or any(math.isfinite(end) for end in model.domain[0]):
        return None
    return KalmanLikelihood(model, pairs, observation, theta)


def _kalman_if_harmless(
    model: SymbolicSDE, pairs: Pairs, observation: Observation, theta: Tensor
) -> tuple[KalmanLikelihood | None, float]:
    """The Kalman filter unless it does harm, and how far it would move the estimate, in standard errors."""
    try:
        kalman = KalmanLikelihood(model, pairs, observation, theta)
        moved, chance = _shift(model, pairs, observation, theta)
    except NumericalError:
        return None, math.inf
    kalman.route += " (checked against the Fokker-Planck filter)"
    return (kalman if moved <= _HARMLESS + min(chance, 2.0 * _HARMLESS) else None), moved


def _is_coarse(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> bool:
    """Whether a typical step is as long as the system's own time: no normal law need be tried."""
    ito = model.ito()
    with torch.no_grad():
        some = torch.linspace(0, len(pairs) - 1, min(len(pairs), 2000)).long()
        slope = ito.function(ito.drift_jacobian[0, 0])(0.0, pairs.x0[some], theta)
    return float((slope.abs() * pairs.dt[some]).median()) > _COARSE


def _shift(model: SymbolicSDE, pairs: Pairs, observation: Observation, theta: Tensor) -> tuple[float, float]:
    """|H^-1 (g_kalman - g_grid)| in standard errors, from a stretch in the middle, scaled up to the record.

    With it, two standard errors of that figure itself: what chance alone may make of so short a stretch.
    """
    count = min(_STRETCH, len(pairs))
    first = (len(pairs) - count) // 2
    stretch = select_pairs(pairs, torch.arange(first, first + count))
    scores = _scores(KalmanLikelihood(model, stretch, observation, theta), theta)
    difference = scores - _scores(GridFilterLikelihood.lay(model, stretch, observation, theta), theta)
    information = scores.T @ scores
    size = information.diagonal().clamp_min(1e-300).sqrt()
    inverse = torch.linalg.inv(information / (size * size[:, None]) + 1e-3 * torch.eye(len(size), dtype=size.dtype))
    moves = (difference / size) @ inverse / inverse.diagonal().sqrt()
    parts = torch.stack([part.sum(0) for part in moves.tensor_split(min(_PARTS, count))])
    total, chance = parts.sum(0).abs(), 2.0 * parts.std(0) * math.sqrt(len(parts))
    worst = int((total - chance).argmax())
    scale = math.sqrt(len(pairs) / count)
    return float(total[worst]) * scale, float(chance[worst]) * scale


def _scores(density: TransitionDensity, theta: Tensor) -> Tensor:
    """d log p_i / d theta of every pair by central differences, (n, k)."""
    columns = []
    with torch.no_grad():
        for i, value in enumerate(theta.tolist()):
            step = torch.zeros_like(theta)
            step[i] = 1e-5 * max(abs(value), 1e-3)
            columns.append((density.log_density(theta + step) - density.log_density(theta - step)) / (2.0 * step[i]))
    return torch.stack(columns, -1)


__all__ = ["FilterLikelihood", "FilterMethod", "filter_likelihood"]
