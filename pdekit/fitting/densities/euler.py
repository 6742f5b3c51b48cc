"""The transition density of one Euler step: any dimension, any noise of full rank, right to first order in dt."""

import math

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.symbolic import SymbolicSDE


class EulerTransition:
    r"""The Gaussian law with mean x0 + f(t, x0) dt and covariance G G^T dt.

    Args:
        model: The SDE; a Stratonovich model is converted.
        pairs: The observations.

    Raises:
        UnsupportedError: If G G^T is singular, so that one step has no density (a position driven by a velocity).
    """

    route = "Euler (one Gaussian step)"

    def __init__(self, model: SymbolicSDE, pairs: Pairs) -> None:
        self.model, self.pairs = model.ito(), pairs
        self._diagonal = model.noise_type == "diagonal"
        quiet = _states_without_noise(self.model)
        if quiet:
            raise UnsupportedError(
                f"One Euler step has no density: the noise does not reach {', '.join(quiet)} directly, so that its "
                "covariance is singular. Give every state noise of its own, or fit the reduced "
                "equation of the states that have it."
            )
        self._drift = self.model.function(list(self.model.drift))
        self._diffusion = self.model.function(self.model.diffusion if self._diagonal else self.model.diffusion_matrix)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        return self.log_density_at(theta, self.pairs.x1)

    def log_density_at(self, theta: Tensor, x1: Tensor) -> Tensor:
        """The same with other end states x1, (n, d)."""
        t, dt, x0 = self.pairs.t[:, None], self.pairs.dt[:, None], self.pairs.x0
        miss = x1 - x0 - self._drift(t, x0, theta) * dt
        noise = self._diffusion(t, x0, theta)
        if self._diagonal:
            variance = noise * noise * dt
            return -0.5 * (miss * miss / variance + torch.log(2.0 * torch.pi * variance)).sum(-1)
        covariance = noise @ noise.transpose(-1, -2) * dt[..., None]
        factor, info = torch.linalg.cholesky_ex(covariance)
        white = torch.linalg.solve_triangular(factor, miss[..., None], upper=False)[..., 0]
        log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        density = -0.5 * (white * white).sum(-1) - log_volume - 0.5 * x0.shape[-1] * math.log(2.0 * math.pi)
        return torch.where(info == 0, density, torch.full_like(density, -torch.inf))

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,); one state only."""
        if self.model.dim > 1:
            raise UnsupportedError(
                "A distribution function needs one state; in several, use the standardised residuals."
            )
        return torch.special.ndtr(self.residuals(theta)[:, 0])

    def residuals(self, theta: Tensor) -> Tensor:
        """G^{-1} (x1 - x0 - f dt) / sqrt(dt), (n, d): standard normals if model and small steps hold."""
        with torch.no_grad():
            t, dt, x0 = self.pairs.t[:, None], self.pairs.dt[:, None], self.pairs.x0
            miss = (self.pairs.x1 - x0 - self._drift(t, x0, theta) * dt) / torch.sqrt(dt)
            noise = self._diffusion(t, x0, theta)
            if self._diagonal:
                return miss / noise.abs()
            factor = torch.linalg.cholesky(noise @ noise.transpose(-1, -2))
            return torch.linalg.solve_triangular(factor, miss[..., None], upper=False)[..., 0]


def _states_without_noise(model: SymbolicSDE) -> list[str]:
    """Names of states whose row of G vanishes; or all of them where G G^T is singular otherwise."""
    matrix = model.diffusion_matrix
    names = [str(s) for s in model.state]
    quiet = [name for i, name in enumerate(names) if all(entry == 0 for entry in matrix.row(i))]
    return quiet or (names if matrix.shape[1] < matrix.shape[0] else [])
