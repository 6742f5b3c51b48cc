"""The log-likelihood of a model as a function of its unbounded parameters."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.inference.bijection import Bijection


class NegativeLogLikelihood:
    """-sum_i log p_i(theta(eta)) with its exact gradient in eta; infinite where the parameters are impossible.

    Args:
        density: The transition density of all pairs.
        bijection: The map from eta to theta.
        free: Which parameters move, (k,) bool; the others stay at `theta`.
        theta: The values of those that don't, (k,).
    """

    def __init__(self, density: TransitionDensity, bijection: Bijection, free: np.ndarray, theta: Tensor) -> None:
        self.density = density
        self.free = np.asarray(free, dtype=bool)
        self._positions = torch.from_numpy(np.flatnonzero(self.free))
        self._bijection = Bijection([b for b, moves in zip(bijection.bounds, self.free, strict=True) if moves])
        self._theta = theta.detach().clone()

    def theta(self, eta: Tensor) -> Tensor:
        """All parameters at these free eta."""
        return self._theta.index_put((self._positions,), self._bijection.forward(eta))

    @property
    def bounds(self) -> Sequence[tuple[float, float]]:
        """(lower, upper) of the free parameters."""
        return self._bijection.bounds

    def natural(self, eta: np.ndarray) -> np.ndarray:
        """The free parameters at eta, (k_free,)."""
        return self._bijection.forward(torch.from_numpy(eta)).numpy()

    def eta(self, theta: Tensor) -> np.ndarray:
        """The free eta of these parameters."""
        return self._bijection.inverse(theta[self._positions]).numpy()

    def slope(self, eta: np.ndarray) -> np.ndarray:
        """d theta / d eta of the free parameters."""
        return self._bijection.slope(torch.from_numpy(eta)).numpy()

    def __call__(self, eta: np.ndarray) -> tuple[float, np.ndarray]:
        """(value, gradient) at eta."""
        point = torch.from_numpy(np.array(eta, dtype=float)).requires_grad_()
        try:
            value = -self.density.log_density(self.theta(point)).sum()
            if not bool(torch.isfinite(value)):
                return np.inf, np.full(len(eta), np.nan)
            (gradient,) = torch.autograd.grad(value, point)
        except NumericalError:
            return np.inf, np.full(len(eta), np.nan)
        return float(value.detach()), gradient.numpy()

    def terms(self, eta: np.ndarray) -> np.ndarray:
        """log p of every pair, (n,)."""
        with torch.no_grad():
            return self.density.log_density(self.theta(torch.from_numpy(eta))).numpy()

    def scores(self, eta: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """d log p_i / d eta of every pair by central differences, (n, k)."""
        columns = []
        for i, step in enumerate(steps):
            ahead, behind = eta.copy(), eta.copy()
            ahead[i] += step
            behind[i] -= step
            columns.append((self.terms(ahead) - self.terms(behind)) / (ahead[i] - behind[i]))
        return np.stack(columns, -1)
