"""Transition densities that are normal laws: what they share once their mean and covariance are known."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.coefficients import Model

# Up to this size Cholesky's algorithm written out over whole columns of numbers is two to three times faster than the
# library's, which works through one small matrix after the other.
_WRITTEN_OUT = 5


class GaussianTransition(ABC):
    """A normal law for each pair, whose mean and covariance a subclass states.

    Where the covariance is not positive definite the density is -inf.

    Args:
        model: The SDE; a Stratonovich model is converted.
        pairs: The observations.
    """

    route: str

    def __init__(self, model: Model, pairs: Pairs) -> None:
        self.model, self.pairs = model.ito(), pairs

    @abstractmethod
    def moments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (n, d) of x1 - x0 and covariance (n, d, d) of every pair, differentiable in theta, (k,) or (n, k)."""

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        return self.log_density_at(theta, self.pairs.x1)

    def log_density_at(self, theta: Tensor, x1: Tensor) -> Tensor:
        """The same with other end states x1, (n, d)."""
        displacement, covariance = self.moments(theta)
        return log_normal(x1 - self.pairs.x0 - displacement, covariance)

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,); one state only."""
        if self.model.dim > 1:
            raise UnsupportedError(
                "A distribution function needs one state; in several, use the standardised residuals."
            )
        return torch.special.ndtr(self.residuals(theta)[:, 0])

    def residuals(self, theta: Tensor) -> Tensor:
        """L^{-1} (x1 - mean) with L L^T the covariance, (n, d): standard normals if the density is right.

        Rows whose covariance is not positive definite are NaN.
        """
        with torch.no_grad():
            displacement, covariance = self.moments(theta)
            factor, info = torch.linalg.cholesky_ex(covariance)
            miss = (self.pairs.x1 - self.pairs.x0 - displacement)[..., None]
            white = torch.linalg.solve_triangular(factor, miss, upper=False)[..., 0]
            return torch.where((info == 0)[:, None], white, torch.nan)


def log_normal(miss: Tensor, covariance: Tensor) -> Tensor:
    """The log-density of normal laws at a distance from their means.

    Args:
        miss: x - mean, (n, d).
        covariance: (n, d, d), of which the lower triangle is read.

    Returns:
        (n,); -inf where the covariance is not positive definite, or not finite. Gradients stay finite there.

    Example:
        >>> log_normal(torch.zeros(1, 2), torch.eye(2)[None]) + math.log(2 * math.pi)
        tensor([0.])
    """
    if miss.shape[-1] > _WRITTEN_OUT:
        return _by_library(miss, covariance)
    return _written_out(miss, covariance)


def _written_out(miss: Tensor, covariance: Tensor) -> Tensor:
    dim = miss.shape[-1]
    factor: list[list[Tensor]] = []
    square, log_determinant = torch.zeros_like(miss[:, 0]), torch.zeros_like(miss[:, 0])
    proper = torch.isfinite(log_determinant)
    white: list[Tensor] = []
    for i in range(dim):
        row: list[Tensor] = []
        for j in range(i):
            entry = covariance[:, i, j]
            for k in range(j):
                entry = entry - row[k] * factor[j][k]
            row.append(entry / factor[j][j])
        pivot, left = covariance[:, i, i], miss[:, i]
        for k in range(i):
            pivot = pivot - row[k] * row[k]
            left = left - row[k] * white[k]
        positive = (pivot > 0) & torch.isfinite(pivot)
        proper = proper & positive
        pivot = torch.where(positive, pivot, 1.0)
        row.append(torch.sqrt(pivot))
        factor.append(row)
        white.append(left / row[i])
        square = square + white[i] * white[i]
        log_determinant = log_determinant + torch.log(pivot)
    density = -0.5 * (square + log_determinant + dim * math.log(2.0 * math.pi))
    return torch.where(proper & torch.isfinite(density), density, -torch.inf)


def _by_library(miss: Tensor, covariance: Tensor) -> Tensor:
    proper = torch.isfinite(covariance).all(-1).all(-1)
    identity = torch.eye(miss.shape[-1], dtype=miss.dtype)
    _, info = torch.linalg.cholesky_ex(torch.where(proper[:, None, None], covariance.detach(), identity))
    proper = proper & (info == 0)
    factor = torch.linalg.cholesky(torch.where(proper[:, None, None], covariance, identity))
    white = torch.linalg.solve_triangular(factor, miss[..., None], upper=False)[..., 0]
    log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    density = -0.5 * (white * white).sum(-1) - log_volume - 0.5 * miss.shape[-1] * math.log(2.0 * math.pi)
    return torch.where(proper & torch.isfinite(density), density, -torch.inf)
