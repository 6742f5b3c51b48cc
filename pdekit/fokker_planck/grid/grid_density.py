"""A density on a grid, interpolated between its nodes."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdekit.fokker_planck.density import Density, Moments, Quadrature
from pdekit.fokker_planck.grid.continuation import Continuation
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.spline import BOUND, LimitedSpline, greatest_around
from pdekit.fokker_planck.sides import Domain

_STEP = 1e-3  # of a cell: for derivatives
_EDGE, _HEAVY = 0.05, 1e-3  # of the width of what is covered, and of the variance that may lie there


@dataclass(frozen=True, eq=False, repr=False)
class GridDensity(Density):
    """exp(spline(y(x))) times what vanishes at absorbing sides and the reference density of the grid.

    Beyond the ends of a grid that are no sides of the domain it goes on as a `Continuation`, as a density of y.

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

    def __repr__(self) -> str:
        error = "" if self.error is None else f", estimated relative error {self.error:.1e}"
        return f"GridDensity({self.grid}{error})"

    @cached_property
    def _spline(self) -> LimitedSpline:
        return self.grid.spline(self.log_ratio)

    @cached_property
    def _continuation(self) -> Continuation:
        return Continuation(lambda y: self._log_q(self.grid.from_y(y), y), self.grid.ends, self.grid.reached)

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        found = np.full(len(x), -np.inf)
        rows, y = self._inside(x)
        found[rows] = self._log_p(x[rows], y)
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`; zero where the density is. Beyond cuts by differences."""
        found = np.zeros_like(x)
        rows, y = self._inside(x)
        beyond = self._continuation.beyond(y).any(-1)
        here, out = y[~beyond], y[beyond]
        found[rows[~beyond]] = self.grid.score(self._spline.gradient(here), x[rows[~beyond]], here)
        for i, nodes in enumerate(self.grid.nodes):
            step = np.zeros(self.dim)
            step[i] = (nodes[1] - nodes[0]) * _STEP
            high, low = (self.grid.from_y(out + sign * step) for sign in (1, -1))
            rise = self._log_p(high, out + step) - self._log_p(low, out - step)
            found[rows[beyond], i] = rise / (high[:, i] - low[:, i])
        return found

    def _inside(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which states (n, d) can have a density, (m,), and their y (m, d): not ends that are infinitely far away."""
        rows = np.flatnonzero(self.domain.contains(x, wrapped=True))
        y = self.grid.to_y(x[rows])
        finite = np.isfinite(y).all(-1)
        return rows[finite], y[finite]

    def _log_p(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log p at states (n, d) of the domain with coordinates y."""
        found, beyond = np.empty(len(y)), self._continuation.beyond(y).any(-1)
        here, out = y[~beyond], y[beyond]
        with np.errstate(divide="ignore"):
            reference = self.grid.log_reference(x[~beyond], here)
            found[~beyond] = self._spline(here) + np.log(self.grid.vanishing(here)) + reference
        if len(out):
            found[beyond] = self._continuation(out) - self.grid.log_slope(out)
        return found

    def quadrature(self) -> Quadrature:
        """See `Density`."""
        x, y, weights = self.grid.quadrature()
        return Quadrature(x, np.exp(self._log_p(x, y)) * weights)

    def moments(self) -> Moments:
        """See `Density`; warns where much of a variance lies near the ends of what is covered."""
        x, y, weights = self.grid.quadrature()
        masses = np.exp(self._log_p(x, y)) * weights
        found = Quadrature(x, masses).moments()
        parts = masses[:, None] * (x - found.mean) ** 2
        width = np.ptp(self.grid.ends, axis=1)
        for side, sign in ((0, 1), (1, -1)):
            depth = sign * (y - self.grid.ends[:, side])
            near = (depth < _EDGE * width) & ~self.grid.reached[:, side]
            share = (parts * near).sum(0) / parts.sum(0)
            if (share > _HEAVY).any():
                warnings.warn(
                    f"{100 * share.max():.1g} % of the variance lies near the {('lower', 'upper')[side]} end of what "
                    f"the grid covers, {self.grid}: with tails as heavy as these, moments may be infinite, and are not "
                    "to be trusted.",
                    stacklevel=3,
                )
        return found

    @cached_property
    def node_masses(self) -> np.ndarray:
        """(N,)."""
        vanishing = self.grid.vanishing(self.grid.coordinates)
        with np.errstate(divide="ignore", over="ignore"):
            found = np.exp(self.log_ratio + np.log(vanishing) + self.grid.log_weight)
        return np.where(self.grid.alive, found, 0.0)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """By rejection: a cell by the greatest density around its node, a place in it, kept with the density there."""
        nodes = np.arange(len(self.grid.states))
        log_q = self._log_share(*self.grid.placed(nodes, np.full((len(nodes), self.dim), 0.5)))
        most = greatest_around(log_q.reshape(self.grid.shape), self.grid.period).reshape(-1) + np.log(BOUND)
        share = np.exp(most - most.max())
        found, count = [np.zeros((0, self.dim))], 0
        while count < n:
            node = rng.choice(len(share), max(2 * n, 64), p=share / share.sum())
            x, y, log_volume = self.grid.placed(node, rng.random((len(node), self.dim)))
            kept = x[np.log(rng.random(len(x))) < self._log_share(x, y, log_volume) - most[node]]
            found.append(kept)
            count += len(kept)
        return np.concatenate(found)[:n]

    def _log_share(self, x: np.ndarray, y: np.ndarray, log_volume: np.ndarray) -> np.ndarray:
        """The logarithm of the mass for each unit of the share of a cell, (n,); see `Discretisation.placed`."""
        return np.maximum(self._log_p(x, y) + log_volume, -1e300)

    def _log_q(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The logarithm of the density with respect to y within the grid, (n,)."""
        with np.errstate(divide="ignore"):
            found = self._spline(y) + np.log(self.grid.vanishing(y))
        return found + self.grid.log_reference(x, y) + self.grid.log_slope(y)


__all__ = ["GridDensity"]
