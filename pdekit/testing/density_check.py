"""`check_density`: mass, positivity, moments and the Fokker-Planck residual of a density."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.integrate import cubature
from torch import Tensor

from pdekit.errors import InputError
from pdekit.sde import SDE
from pdekit.testing.comparison import CheckFailure
from pdekit.testing.plain import fokker_planck

_MOST_DIMS = 3
_RTOL = {1: 1e-6, 2: 1e-5, 3: 1e-3}


@dataclass(frozen=True)
class DensityReport:
    """What was found about a density.

    Attributes:
        mass: Its integral.
        mean: Its mean, (d,); NaN if its integral does not converge.
        covariance: Its covariance, (d, d); NaN likewise.
        residual: The largest |d_t p - L* p| / sum|terms|, None where there was no equation.
    """

    mass: float
    mean: np.ndarray
    covariance: np.ndarray
    residual: float | None


def check_density(
    log_density: Callable[..., Tensor],
    dim: int,
    *,
    sde: SDE | None = None,
    time: float | None = None,
    lower: Sequence[float] | None = None,
    upper: Sequence[float] | None = None,
    mean: Sequence[float] | None = None,
    covariance: Sequence[Sequence[float]] | None = None,
    rtol: float | None = None,
    points: Tensor | None = None,
    residual_limit: float = 1e-9,
) -> DensityReport:
    """Check that a function is the logarithm of a density, by adaptive quadrature.

    Quadrature sees features that are not much narrower than the support; a spike between its points is missed.

    Args:
        log_density: l(x) or, if a time is given, l(t, x): (*batch, d) -> (*batch,), in float64.
        dim: The number of states, up to 3.
        sde: If given, exp(l) must solve its Fokker-Planck equation at the points; with `time=None` as a stationary
            solution.
        time: The time.
        lower: Lower ends of the support, by default -inf.
        upper: Upper ends, by default inf.
        mean: What the mean must be.
        covariance: What the covariance must be.
        rtol: How far mass and moments may be off, relative to 1 and to the spread; by default 1e-6 in one dimension,
            1e-5 in two, 1e-3 in three.
        points: Where the residual is taken, (n, d); by default twenty states around the mean.
        residual_limit: The largest residual that is allowed, relative to the sum of its terms' sizes.

    Returns:
        The numbers that were found.

    Raises:
        InputError: If there are too many dimensions, or no points for the residual.
        CheckFailure: If one of them is wrong, or the density is not a number somewhere.

    Example:
        >>> log_normal = torch.distributions.Normal(torch.tensor(1.0).double(), 2.0).log_prob
        >>> found = check_density(lambda x: log_normal(x[..., 0]), 1, mean=[1.0], covariance=[[4.0]])
        >>> round(found.mass, 9)
        1.0
        >>> check_density(lambda x: -0.5 * x[..., 0] ** 2, 1)
        Traceback (most recent call last):
        pdekit.testing.comparison.CheckFailure: density: the mass is 2.506..., not 1
    """
    if not 1 <= dim <= _MOST_DIMS:
        raise InputError(f"check_density integrates over 1 to {_MOST_DIMS} dimensions, got dim={dim}.")
    rtol = _RTOL[dim] if rtol is None else rtol
    _check_inputs(dim, sde, points, lower=lower, upper=upper, mean=mean, covariance=covariance)
    leading = () if time is None else (torch.tensor(time, dtype=torch.float64),)
    density = _positive(lambda x: log_density(*leading, x))
    low = np.full(dim, -np.inf) if lower is None else np.asarray(lower, float)
    high = np.full(dim, np.inf) if upper is None else np.asarray(upper, float)
    mass, first, second = _moments(density, low, high, dim, rtol)
    if not abs(mass - 1) <= rtol:
        hint = "" if mass > 0.5 else "; if it is narrow or far from 0, tell where it is by lower= and upper="
        raise CheckFailure("density", f"the mass is {mass:.9g}, not 1{hint}")
    spread = second - np.outer(first, first)
    scale = np.sqrt(np.maximum(np.diag(spread), 1e-300))
    _check_moment("mean", first, mean, rtol * scale)
    _check_moment("covariance", spread, covariance, 10 * rtol * np.outer(scale, scale))
    residual = None
    if sde is not None:
        states = _around(first, spread, low, high) if points is None else points
        if len(states) == 0:
            raise InputError("There are no points to take the residual at: give some inside the support by points=.")
        residual = _check_residual(log_density, sde, time, states, residual_limit)
    return DensityReport(mass, first, spread, residual)


def _check_inputs(dim: int, sde: SDE | None, points: Tensor | None, **arrays: Any) -> None:
    for name, given in arrays.items():
        shape = (dim, dim) if name == "covariance" else (dim,)
        if given is not None and np.shape(given) != shape:
            raise InputError(f"{name} must have shape {shape}, got {np.shape(given)}.")
    if sde is not None and sde.dim != dim:
        raise InputError(f"The equation has {sde.dim} states, the density {dim}.")
    if points is not None and (points.ndim != 2 or points.shape[1] != dim or points.dtype != torch.float64):
        raise InputError(f"points must be float64 states (n, {dim}), got {points.dtype} {tuple(points.shape)}.")


def _positive(log_density: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
    def density(x: np.ndarray) -> np.ndarray:
        states = torch.tensor(np.ascontiguousarray(x), dtype=torch.float64)
        with torch.no_grad():
            found = log_density(states)
        if not isinstance(found, Tensor) or tuple(found.shape) != x.shape[:1]:
            came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise CheckFailure("density", f"a state {x.shape} must give {x.shape[:1]}, got {came}")
        bad = torch.isnan(found) | (found == torch.inf)
        if bool(bad.any()):
            i = int(bad.nonzero()[0, 0])
            raise CheckFailure("density", f"log p = {float(found[i])} at x = {x[i].tolist()}")
        return torch.exp(found).numpy()

    return density


def _moments(
    density: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, dim: int, rtol: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, mean and second moments; NaN for moments whose integrals don't converge, as those of a Cauchy density."""
    pairs = [(i, j) for i in range(dim) for j in range(i, dim)]
    accuracy: Any = {"rtol": rtol / 10, "atol": rtol / 10, "rule": "gk21" if dim == 1 else "genz-malik"}
    mass = cubature(density, low, high, **accuracy)
    if mass.status != "converged":
        raise CheckFailure(
            "density",
            f"the mass does not converge: {float(mass.estimate):.6g} so far, at "
            f"rtol={rtol:g}. A larger rtol= needs less work; lower= and upper= tell where the density is.",
        )

    def powers(x: np.ndarray) -> np.ndarray:
        p = density(x)
        with np.errstate(invalid="ignore", over="ignore"):
            columns = np.stack([*x.T, *(x[:, i] * x[:, j] for i, j in pairs)], -1) * p[:, None]
        return np.where(p[:, None] > 0, columns, 0.0)  # 0 times infinity, where the range is mapped to a finite one

    with np.errstate(invalid="ignore", over="ignore"):
        found = cubature(powers, low, high, max_subdivisions=2000, **accuracy)
    moments = found.estimate if found.status == "converged" else np.full(dim + len(pairs), np.nan)
    second = np.zeros((dim, dim))
    for (i, j), value in zip(pairs, moments[dim:], strict=True):
        second[i, j] = second[j, i] = value
    return float(mass.estimate), moments[:dim], second


def _check_moment(name: str, found: np.ndarray, expected: Any, allowed: np.ndarray) -> None:
    if expected is not None and not np.all(np.abs(found - np.asarray(expected, float)) <= allowed):
        raise CheckFailure("density", f"the {name} is {found.tolist()}, expected {np.asarray(expected).tolist()}")


def _around(mean: np.ndarray, covariance: np.ndarray, low: np.ndarray, high: np.ndarray) -> Tensor:
    if not np.isfinite(covariance).all():
        return torch.zeros(0, len(mean), dtype=torch.float64)
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, 60)
    inside = draws[((draws > low) & (draws < high)).all(1)][:20]
    return torch.tensor(inside, dtype=torch.float64)


def _check_residual(
    log_density: Callable[..., Tensor], sde: SDE, time: float | None, points: Tensor, limit: float
) -> float:
    log_p = (lambda t, x: log_density(x) + 0 * t) if time is None else log_density
    # A stationary density must be one at every time.
    times = [torch.tensor(t, dtype=torch.float64) for t in ((0.0, 0.7310585) if time is None else (time,))]
    worst = 0.0
    for x, t in product(points, times):
        residual, size = fokker_planck(log_p, sde, t, x)
        relative = abs(float(residual)) / max(float(size), 1e-300)
        if not relative <= limit:
            raise CheckFailure(
                "density",
                f"the Fokker-Planck residual at x = {x.tolist()}, t = {float(t):g} is {float(residual):.3g} of terms "
                f"whose sizes add up to {float(size):.3g}",
            )
        worst = max(worst, relative)
    return worst


__all__ = ["DensityReport", "check_density"]
