"""A density as a table of log p on a tensor grid, with a spline between the nodes: what any density can be kept as."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.grid.spline import TensorSpline
from pdekit.fokker_planck.quantiles import reach
from pdekit.fokker_planck.sides import Domain

_NODES = {1: 400, 2: 96, 3: 32}  # along each axis of a density that brings no grid, by dimension
_GAUSS = {1: 4, 2: 2, 3: 1}  # points of a rule in each cell
_FAINT = 1e-9  # mass that may lie beyond the nodes at each end
_BEYOND = 0.05  # of the width: how far the nodes go further
_INSIDE = 1e-2  # of a cell: how far a node keeps away from an end where log p or its coordinate is infinite
_FLOOR = 700.0  # below the greatest log p: where exp gives zero
_LOST = 1e-2  # of the mass: a table that misses more is too coarse
_BOUND = 1.3  # times the greatest of a cell's corners: what a density is hardly ever above within it


@dataclass(frozen=True)
class Ruler:
    """The coordinate u of one state: logarithmic towards ends that are never reached, otherwise the state itself.

    Args:
        low: Where the logarithm begins, or None.
        high: Where it ends, or None.
    """

    low: float | None
    high: float | None

    @classmethod
    def of(cls, domain: Domain, i: int) -> "Ruler":
        """The ruler of state i."""
        ends = zip((domain.lower[i], domain.upper[i]), domain.sides[i], strict=True)
        return cls(*(end if np.isfinite(end) and side == "natural" else None for end, side in ends))

    def to_u(self, x: np.ndarray) -> np.ndarray:
        """u(x)."""
        if self.low is None and self.high is None:
            return x
        with np.errstate(divide="ignore", invalid="ignore"):
            below = 0.0 if self.low is None else np.log(x - self.low)
            above = 0.0 if self.high is None else np.log(self.high - x)
        return np.asarray(below - above)

    def to_x(self, u: np.ndarray) -> np.ndarray:
        """x(u)."""
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) / (1 + np.exp(-u))
        if self.low is not None:
            return self.low + np.exp(u)
        return u if self.high is None else self.high - np.exp(-u)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """du/dx."""
        if self.low is None and self.high is None:
            return np.ones_like(x)
        with np.errstate(divide="ignore"):
            below = 0.0 if self.low is None else 1 / (x - self.low)
            above = 0.0 if self.high is None else 1 / (self.high - x)
        return np.asarray(below + above)


@dataclass(frozen=True, eq=False)
class TabulatedDensity(Density):
    """exp(spline(u(x))) times the distances from absorbing sides.

    Args:
        nodes: States along each axis, strictly increasing, strictly inside sides that absorb or are never reached.
        log_p: log p at the nodes, (n_1, ..., n_d).
        domain: Outside of it the density is zero.
        error: See `Density`.
    """

    nodes: tuple[np.ndarray, ...]
    log_p: np.ndarray
    domain: Domain
    error: float | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return len(self.nodes)

    @cached_property
    def rulers(self) -> tuple[Ruler, ...]:
        """The coordinates of the states."""
        return tuple(Ruler.of(self.domain, i) for i in range(self.dim))

    @cached_property
    def _u(self) -> tuple[np.ndarray, ...]:
        return tuple(ruler.to_u(x) for ruler, x in zip(self.rulers, self.nodes, strict=True))

    @cached_property
    def _spline(self) -> TensorSpline:
        period = tuple(
            self.domain.upper[i] - self.domain.lower[i] if self.domain.periodic(i) else None for i in range(self.dim)
        )
        x = grid_points(self.nodes)
        return TensorSpline(self._u, self.log_p - self._log_vanishing(x).reshape(self.log_p.shape), period)

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        x = self._wrapped(x)
        found = np.full(len(x), -np.inf)
        inside = np.flatnonzero(self.domain.contains(x))
        if len(inside):
            there = x[inside]
            u = self._to_u(there)
            fine = np.isfinite(u).all(-1)  # at an end that is never reached there is nothing
            values = self._spline(u[fine]) + self._log_vanishing(there[fine])
            found[inside[fine]] = values
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        x = self._wrapped(x)
        slopes = np.stack([ruler.slope(x[:, i]) for i, ruler in enumerate(self.rulers)], -1)
        found = self._spline.gradient(self._to_u(x)) * slopes
        for i, end, sign in self._absorbing():
            found[:, i] += sign / np.abs(x[:, i] - end)
        return found

    def quadrature(self) -> Quadrature:
        """See `Density`: a Gauss rule in every cell."""
        points, weights = np.polynomial.legendre.leggauss(_GAUSS[self.dim])
        axes, parts = [], []
        for i, u in enumerate(self._u):
            width = np.diff(u)
            if self.domain.periodic(i):  # once round
                width = np.append(width, self._spline.period[i] - (u[-1] - u[0]))  # type: ignore[operator]
            middle = u[: len(width)] + 0.5 * width
            axes.append((middle[:, None] + 0.5 * width[:, None] * points).reshape(-1))
            parts.append((0.5 * width[:, None] * weights).reshape(-1))
        u, share = grid_points(tuple(axes)), np.prod(grid_points(tuple(parts)), -1)
        x = self._to_x(u)
        return Quadrature(x, np.exp(self._log_q(u)) * share)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """By rejection: a cell by the greatest of its corners, a place in it, kept with the density there."""
        corners = self._log_q(grid_points(self._u)).reshape(self.log_p.shape)
        cells = tuple(len(u) - 1 for u in self._u)
        parts = [corners[tuple(slice(o, o + m) for o, m in zip(shift, cells, strict=True))] for shift in _shifts(cells)]
        most = np.max(parts, axis=0).reshape(-1) + np.log(_BOUND)
        low, width = (grid_points(tuple(part(u) for u in self._u)) for part in (lambda u: u[:-1], np.diff))
        share = np.exp(most - most.max()) * np.prod(width, -1)
        found, count = [np.zeros((0, self.dim))], 0
        while count < n:
            cell = rng.choice(len(share), max(2 * n, 64), p=share / share.sum())
            u = low[cell] + width[cell] * rng.random((len(cell), self.dim))
            u = u[np.log(rng.random(len(u))) < self._log_q(u) - most[cell]]
            found.append(self._to_x(u))
            count += len(u)
        return np.concatenate(found)[:n]

    def _log_q(self, u: np.ndarray) -> np.ndarray:
        """The logarithm of the density with respect to u."""
        x = self._to_x(u)
        slopes = sum(np.log(ruler.slope(x[:, i])) for i, ruler in enumerate(self.rulers))
        return self._spline(u) + self._log_vanishing(x) - slopes

    def _absorbing(self) -> list[tuple[int, float, float]]:
        """Axis, end and the sign of the way inside."""
        found = []
        for i, sides in enumerate(self.domain.sides):
            ends = ((self.domain.lower[i], 1.0), (self.domain.upper[i], -1.0))
            found += [(i, end, sign) for (end, sign), side in zip(ends, sides, strict=True) if side == "absorbing"]
        return found

    def _log_vanishing(self, x: np.ndarray) -> np.ndarray:
        found = np.zeros(len(x))
        with np.errstate(divide="ignore"):
            for i, end, _ in self._absorbing():
                found += np.log(np.abs(x[:, i] - end))
        return found

    def _to_u(self, x: np.ndarray) -> np.ndarray:
        return np.stack([ruler.to_u(x[:, i]) for i, ruler in enumerate(self.rulers)], -1)

    def _to_x(self, u: np.ndarray) -> np.ndarray:
        return np.stack([ruler.to_x(u[:, i]) for i, ruler in enumerate(self.rulers)], -1)

    def _wrapped(self, x: np.ndarray) -> np.ndarray:
        found = np.array(x, dtype=float)
        for i in range(self.dim):
            if self.domain.periodic(i):
                low, high = self.domain.lower[i], self.domain.upper[i]
                found[:, i] = low + np.mod(found[:, i] - low, high - low)
        return found


def tabulate(density: Density, domain: Domain) -> TabulatedDensity:
    """A density as a table: on its own grid if it has one, otherwise on a grid that covers it.

    Raises:
        UnsupportedError: In more than three dimensions.
        NumericalError: If the table misses part of the mass.
    """
    if isinstance(density, TabulatedDensity):
        return density
    if density.dim > 3:
        raise UnsupportedError(
            f"A density of {density.dim} states is too large for a table: one to three states work. Keep samples "
            "instead: solution.sample(n, t)."
        )
    grid: Any = getattr(density, "grid", None)
    nodes = _covering(density, domain) if grid is None else _own(grid.states, grid.shape)
    nodes = tuple(_moved_inside(x, domain, i) for i, x in enumerate(nodes))
    log_p = density.log_values(grid_points(nodes))
    log_p = np.maximum(log_p, log_p[np.isfinite(log_p)].max() - _FLOOR).reshape([len(x) for x in nodes])
    found = TabulatedDensity(nodes, log_p, domain, density.error)
    if abs(found.mass - density.mass) > _LOST * density.mass:
        raise NumericalError(
            f"A table of this density has a mass of {found.mass:.4g}, the density {density.mass:.4g}: it is too rough "
            "for a table. Solve with Grid() in finer cells."
        )
    return found


def _own(states: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    table = states.reshape(*shape, len(shape))
    return tuple(np.moveaxis(table[..., i], i, 0).reshape(n, -1)[:, 0] for i, n in enumerate(shape))


def _covering(density: Density, domain: Domain) -> tuple[np.ndarray, ...]:
    found, axes = density.quadrature(), []
    n = _NODES[density.dim]
    for i in range(density.dim):
        ruler = Ruler.of(domain, i)
        if domain.periodic(i):
            axes.append(np.linspace(domain.lower[i], domain.upper[i], n, endpoint=False))
            continue
        low, high = ruler.to_u(np.array(reach(found.states[:, i], found.weights, _FAINT)))
        beyond = _BEYOND * (high - low)
        u = np.linspace(low - beyond, high + beyond, n)
        if ruler == Ruler(None, None):
            u = np.linspace(max(u[0], domain.lower[i]), min(u[-1], domain.upper[i]), n)
        axes.append(ruler.to_x(u))
    return tuple(axes)


def _moved_inside(x: np.ndarray, domain: Domain, i: int) -> np.ndarray:
    found = np.array(x, dtype=float)
    cells = (found[1] - found[0], found[-2] - found[-1])
    for k, end, side, cell in zip((0, -1), (domain.lower[i], domain.upper[i]), domain.sides[i], cells, strict=True):
        if side in ("absorbing", "natural") and abs(found[k] - end) < _INSIDE * abs(cell):
            found[k] = end + _INSIDE * cell
    return found


def grid_points(axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """All points of a tensor grid, (N, d)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _shifts(cells: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(product((0, 1), repeat=len(cells)))


__all__ = ["Ruler", "TabulatedDensity", "grid_points", "tabulate"]
