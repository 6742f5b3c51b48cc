"""A density on a grid, interpolated between its nodes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.spline import BOUND, LimitedSpline, greatest_around
from pdekit.fokker_planck.sides import Domain

_STEP = 0.02  # of a cell: for derivatives of references


@dataclass(frozen=True, eq=False)
class GridDensity(Density):
    """exp(spline(y(x))) times what vanishes at absorbing sides and the reference density of the grid.

    Args:
        grid: The finest grid.
        log_ratio: At its nodes, (N,); see `Refined`.
        domain: Outside of it the density is zero.
        error: See `Density`.
    """

    grid: Discretisation
    log_ratio: np.ndarray
    domain: Domain
    error: float | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.grid.dim

    @cached_property
    def _spline(self) -> LimitedSpline:
        return self.grid.spline(self.log_ratio)

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        found = np.full(len(x), -np.inf)
        inside = np.flatnonzero(self._inside(x))
        if len(inside):
            y = self.grid.to_y(x[inside])
            with np.errstate(divide="ignore"):
                reference = self.grid.log_reference(self.grid.from_y(y), y)
                found[inside] = self._spline(y) + np.log(self.grid.vanishing(y)) + reference
        return found

    def _inside(self, x: np.ndarray) -> np.ndarray:
        periodic = np.array([self.domain.periodic(i) for i in range(self.dim)])
        low, high = np.array(self.domain.lower), np.array(self.domain.upper)
        return np.all((x >= low) & (x <= high) | periodic, axis=-1)

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`: derivatives of the spline; those of what it is multiplied with by central differences."""
        y = self.grid.to_y(x)
        slopes, found = self._spline.gradient(y), np.empty_like(x)
        for i, nodes in enumerate(self.grid.nodes):
            step = np.zeros(self.dim)
            step[i] = (nodes[1] - nodes[0]) * _STEP
            sides = [(y + sign * step, self.grid.from_y(y + sign * step)) for sign in (1, -1)]
            rest = [self.grid.log_reference(x_, y_) + np.log(self.grid.vanishing(y_)) for y_, x_ in sides]
            width = sides[0][1][:, i] - sides[1][1][:, i]
            found[:, i] = (2 * step[i] * slopes[:, i] + rest[0] - rest[1]) / width
        return found

    def quadrature(self) -> Quadrature:
        """See `Density`."""
        y, weights = self.grid.quadrature()
        return Quadrature(self.grid.from_y(y), np.exp(self._log_q(y)) * weights)

    @cached_property
    def node_masses(self) -> np.ndarray:
        """(N,)."""
        vanishing = self.grid.vanishing(self.grid.coordinates)
        with np.errstate(divide="ignore"):
            found = np.exp(self.log_ratio + np.log(vanishing) + self.grid.log_weight)
        return np.where(self.grid.alive, found, 0.0)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """By rejection: a cell by the greatest density around its node, a place in it, kept with the density there."""
        most = greatest_around(self._log_q(self.grid.coordinates).reshape(self.grid.shape), self.grid.period)
        most = most.reshape(-1) + np.log(BOUND)
        steps = np.array([nodes[1] - nodes[0] for nodes in self.grid.nodes])
        ends = np.array([[nodes[0], nodes[-1]] for nodes in self.grid.nodes]).T
        periodic = np.array([p is not None for p in self.grid.period])
        share = np.exp(most - most.max())
        found, count = [], 0
        while count < n:
            node = rng.choice(len(share), max(2 * n, 64), p=share / share.sum())
            y = self.grid.coordinates[node] + steps * (rng.random((len(node), self.dim)) - 0.5)
            inside = ((y >= ends[0]) & (y <= ends[1]) | periodic).all(-1)
            y, node = y[inside], node[inside]
            y = y[np.log(rng.random(len(y))) < self._log_q(y) - most[node]]
            found.append(self.grid.from_y(y))
            count += len(y)
        return np.concatenate(found)[:n] if found else np.zeros((0, self.dim))

    def _log_q(self, y: np.ndarray) -> np.ndarray:
        """The logarithm of the density with respect to y, (n,)."""
        with np.errstate(divide="ignore"):
            found = self._spline(y) + np.log(self.grid.vanishing(y))
        return np.maximum(found + self.grid.log_measure(y), -1e300)


__all__ = ["GridDensity"]
