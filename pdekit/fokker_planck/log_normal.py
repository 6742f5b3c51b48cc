"""Mixtures of log-normal laws as densities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdekit.fokker_planck.density import Density, Moments, Quadrature
from pdekit.fokker_planck.gaussian import GaussianMixture


@dataclass(frozen=True, eq=False)
class LogNormalMixture(Density):
    """The law of c + side exp(z), where z has a mixture of normal laws.

    Args:
        logs: The law of z, of one state.
        center: c.
        side: 1 or -1.
        error: See `Density`.
    """

    logs: GaussianMixture
    center: float
    side: float
    error: float | None = None
    dim = 1

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        return self._inside(x, -np.inf, lambda y: self.logs.log_values(np.log(y)) - np.log(y[:, 0]))

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`; zero where the density is."""
        slope = lambda y: self.side * (self.logs.score_values(np.log(y))[:, 0] - 1) / y[:, 0]  # noqa: E731
        return self._inside(x, 0.0, slope)[:, None]

    def _inside(self, x: np.ndarray, other: float, values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        y = self.side * (x - self.center)
        inside = np.flatnonzero(y[:, 0] > 0)
        found = np.full(len(x), other)
        if len(inside):
            found[inside] = values(y[inside])
        return found

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """See `Density`."""
        return self.center + self.side * np.exp(self.logs.draw(n, rng))

    def quadrature(self) -> Quadrature:
        """See `Density`: the rule of z."""
        found = self.logs.quadrature()
        return Quadrature(self.center + self.side * np.exp(found.states), found.weights)

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    def moments(self) -> Moments:
        """Exact: E exp(z) = exp(m + v / 2)."""
        weights, v = self.logs.weights, self.logs.covariances[:, 0, 0]
        means = np.exp(self.logs.means[:, 0] + v / 2)
        mean = weights @ means
        variance = weights @ (means**2 * np.expm1(v) + (means - mean) ** 2)
        return Moments(np.array([self.center + self.side * mean]), np.array([[variance]]))


__all__ = ["LogNormalMixture"]
