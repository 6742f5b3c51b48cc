"""The normal law whose moments follow dm = f(m), dS = J S + S J^T + 2 D(m): what many take for the density."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize import root

from pdekit.errors import NumericalError
from pdekit.fokker_planck.equation import at_points
from pdekit.fokker_planck.statement import Statement
from pdekit.operators.convention import to_ito

_RTOL, _ATOL = 1e-9, 1e-12


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal law.

    Args:
        mean: (d,).
        covariance: (d, d).
    """

    mean: np.ndarray
    covariance: np.ndarray

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """log q at states (n, d)."""
        factor = np.linalg.cholesky(self.covariance)
        z = np.linalg.solve(factor, (x - self.mean).T)
        constant = np.log(np.diag(factor)).sum() + 0.5 * len(self.mean) * np.log(2 * np.pi)
        return -0.5 * np.square(z).sum(0) - constant

    @property
    def squared(self) -> float:
        """The integral of q^2."""
        return float(1 / np.sqrt(np.linalg.det(4 * np.pi * self.covariance)))


def moved_closure(problem: Statement, times: np.ndarray) -> list[Gaussian]:
    """The closure at times, from the moments of the initial law.

    Raises:
        NumericalError: If it can't be followed, or has no density.
    """
    mean, covariance = problem.law.moments()
    dim = len(mean)
    start = np.concatenate([mean, covariance.reshape(-1)])

    def rate(t: float, z: np.ndarray) -> np.ndarray:
        drift, slope, tensor = _coefficients(problem, t, z[:dim])
        s = z[dim:].reshape(dim, dim)
        return np.concatenate([drift, (slope @ s + s @ slope.T + 2 * tensor).reshape(-1)])

    later = times[times > problem.t0]
    found = [start] * (len(times) - len(later))
    if len(later):
        with np.errstate(all="ignore"):
            run = solve_ivp(rate, (problem.t0, later[-1]), start, "LSODA", later, rtol=_RTOL, atol=_ATOL)
        if not run.success or not np.isfinite(run.y).all():
            raise NumericalError("its moments can't be followed to the last time")
        found += list(run.y.T)
    return [_checked(z[:dim], z[dim:].reshape(dim, dim)) for z in found]


def resting_closure(problem: Statement, mean: np.ndarray) -> Gaussian:
    """The closure that does not move, near a mean.

    Raises:
        NumericalError: If there is none.
    """
    t = problem.t0
    found = root(lambda m: _coefficients(problem, t, m)[0], mean)
    if not found.success:
        raise NumericalError("no point without drift was found near the mean")
    _, slope, tensor = _coefficients(problem, t, found.x)
    if np.linalg.eigvals(slope).real.max() >= 0:
        where = ", ".join(f"{v:.4g}" for v in found.x + 0.0)
        raise NumericalError(f"the point without drift near the mean, ({where}), is unstable")
    return _checked(found.x, solve_continuous_lyapunov(slope, -2 * tensor))


def _checked(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    covariance = 0.5 * (covariance + covariance.T)
    if not np.linalg.eigvalsh(covariance).min() > 0:
        raise NumericalError("its covariance is singular")
    return Gaussian(mean, covariance)


def _coefficients(problem: Statement, t: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ito's drift (d,), its Jacobian (d, d), and D (d, d) at one state."""
    sde, state = to_ito(problem.sde), torch.as_tensor(x, dtype=torch.float64)
    field: Any = lambda z: sde.drift(t, z[None])[0]  # noqa: E731
    slope = torch.autograd.functional.jacobian(field, state)
    with torch.no_grad():
        drift = field(state)
    return drift.numpy(), slope.numpy(), at_points(problem.sde, t, x[None]).tensor[0]  # type: ignore[union-attr]


__all__ = ["Gaussian", "moved_closure", "resting_closure"]
