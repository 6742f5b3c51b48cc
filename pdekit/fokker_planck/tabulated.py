"""A density as a table of log p on a tensor grid, with a spline between the nodes: what any density can be kept as."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.grid.continuation import Continuation
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
_STEP = 1e-5  # of the width: for derivatives
_CORNERS = (0.01, 0.99)  # of a cell, where a pole is not infinite yet

Powers = tuple[tuple[float | None, float | None], ...]


@dataclass(frozen=True)
class Ruler:
    """The coordinate u of one state: logarithmic towards natural ends without a known power, else the state itself.

    Args:
        low: Where the logarithm begins, or None.
        high: Where it ends, or None.
    """

    low: float | None
    high: float | None

    @classmethod
    def of(cls, domain: Domain, i: int, powers: tuple[float | None, float | None] = (None, None)) -> "Ruler":
        """The ruler of state i."""
        ends = zip((domain.lower[i], domain.upper[i]), domain.sides[i], powers, strict=True)
        return cls(
            *(end if np.isfinite(end) and side == "natural" and power is None else None for end, side, power in ends)
        )

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
    """exp(spline(u(x))) times powers of the distances from sides.

    Args:
        nodes: States along each axis, strictly increasing, strictly inside sides where log p is not finite.
        log_p: log p at the nodes, (n_1, ..., n_d).
        domain: Outside of it the density is zero.
        error: See `Density`.
        powers: For each state, those of the distance with which p begins at its two ends, None where nothing is known;
            by default one at absorbing sides.
    """

    nodes: tuple[np.ndarray, ...]
    log_p: np.ndarray
    domain: Domain
    error: float | None = None
    powers: Powers | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return len(self.nodes)

    @cached_property
    def rulers(self) -> tuple[Ruler, ...]:
        """The coordinates of the states."""
        return tuple(Ruler.of(self.domain, i, self._powers[i]) for i in range(self.dim))

    @property
    def _powers(self) -> Powers:
        return default_powers(self.domain) if self.powers is None else self.powers

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
            found[inside[fine]] = self._log_p(there[fine], u[fine])
        return found

    @cached_property
    def _continuation(self) -> Continuation:
        known = [[power is not None for power in powers] for powers in self._powers]
        return Continuation(self._log_q, np.array([u[[0, -1]] for u in self._u]), np.array(known))

    def _log_p(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        found, beyond = self._spline(u) + self._log_vanishing(x), self._continuation.beyond(u).any(-1)
        if beyond.any():
            found[beyond] = self._continuation(u[beyond]) + self._log_slopes(x[beyond])
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`; zero where the density is. Beyond cuts by differences."""
        found, x = np.zeros_like(x), self._wrapped(x)
        rows = np.flatnonzero(self.domain.contains(x))
        u = self._to_u(x[rows])
        rows = rows[np.isfinite(u).all(-1)]
        u = u[np.isfinite(u).all(-1)]
        beyond = self._continuation.beyond(u).any(-1)
        found[rows[~beyond]] = self._slopes_at(x[rows[~beyond]])
        out = u[beyond]
        for i, nodes in enumerate(self._u):
            step = np.zeros(self.dim)
            step[i] = (nodes[-1] - nodes[0]) * _STEP
            high, low = (self._to_x(out + sign * step) for sign in (1, -1))
            rise = self._log_p(high, out + step) - self._log_p(low, out - step)
            found[rows[beyond], i] = rise / (high[:, i] - low[:, i])
        return found

    def _slopes_at(self, x: np.ndarray) -> np.ndarray:
        """The score where the spline knows it."""
        slopes = np.stack([ruler.slope(x[:, i]) for i, ruler in enumerate(self.rulers)], -1)
        found = self._spline.gradient(self._to_u(x)) * slopes
        for i, end, sign, power in self._ends():
            with np.errstate(divide="ignore"):
                found[:, i] += sign * power / np.abs(x[:, i] - end)
        return found

    @cached_property
    def _edges(self) -> tuple[np.ndarray, ...]:
        """u of the edges of cells: nodes, but the outermost at the domain's ends where u gets there."""
        found = []
        for i, (u, ruler) in enumerate(zip(self._u, self.rulers, strict=True)):
            edges = u.copy()
            if self.domain.periodic(i):  # once round
                found.append(np.append(edges, edges[0] + self.domain.upper[i] - self.domain.lower[i]))
                continue
            for k, end, side in zip(
                (0, -1), (self.domain.lower[i], self.domain.upper[i]), self._powers[i], strict=True
            ):
                if side is not None and ruler == Ruler(None, None):
                    edges[k] = end
            found.append(edges)
        return tuple(found)

    def _within(self, i: int, cell: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """u at shares of the way through cells of axis i, and log du / dshare: next to a pole in shares of its mass."""
        edges = self._edges[i]
        width = np.diff(edges)[cell]
        u, slope = edges[cell] + width * share, np.log(width)
        for k, power in zip((0, len(edges) - 2), self._powers[i], strict=True):
            rows = cell == k
            if power is not None and power < 0 and rows.any():
                way = share[rows] if k == 0 else 1 - share[rows]
                z = width[rows] * way ** (1 / (power + 1))
                u[rows] = edges[0] + z if k == 0 else edges[-1] - z
                slope[rows] = np.log(z / (power + 1) / way)
        return u, slope

    def quadrature(self) -> Quadrature:
        """See `Density`: a Gauss rule in every cell."""
        points, weights = np.polynomial.legendre.leggauss(_GAUSS[self.dim])
        axes, parts = [], []
        for i, edges in enumerate(self._edges):
            cell = np.repeat(np.arange(len(edges) - 1), len(points))
            u, slope = self._within(i, cell, np.tile(0.5 * (points + 1), len(edges) - 1))
            axes.append(u)
            parts.append(0.5 * np.tile(weights, len(edges) - 1) * np.exp(slope))
        u, share = grid_points(tuple(axes)), np.prod(grid_points(tuple(parts)), -1)
        x = self._to_x(u)
        return Quadrature(x, np.exp(self._log_q(u)) * share)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """By rejection: a cell by the greatest of its corners, a place in it, kept with the density there."""
        shape = tuple(len(edges) - 1 for edges in self._edges)
        cells = grid_points(tuple(np.arange(m) for m in shape))
        corners = [
            self._log_share(cells, np.full(cells.shape, 1.0) * at)[0] for at in product(_CORNERS, repeat=self.dim)
        ]
        most = np.max(corners, axis=0) + np.log(_BOUND)
        share = np.exp(most - most.max())
        found, count = [np.zeros((0, self.dim))], 0
        while count < n:
            cell = rng.choice(len(share), max(2 * n, 64), p=share / share.sum())
            log_q, u = self._log_share(cells[cell], rng.random((len(cell), self.dim)))
            u = u[np.log(rng.random(len(u))) < log_q - most[cell]]
            found.append(self._to_x(u))
            count += len(u)
        return self._wrapped(np.concatenate(found)[:n])

    def _log_share(self, cells: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm of the density with respect to shares of cells, each (n, d), and u there."""
        places = [self._within(i, cells[:, i], share[:, i]) for i in range(self.dim)]
        u = np.stack([u for u, _ in places], -1)
        return self._log_q(u) + sum(slope for _, slope in places), u

    def _log_q(self, u: np.ndarray) -> np.ndarray:
        """The logarithm of the density with respect to u."""
        x = self._to_x(u)
        return self._spline(u) + self._log_vanishing(x) - self._log_slopes(x)

    def _log_slopes(self, x: np.ndarray) -> np.ndarray:
        """log of the volume in u over that in x, (n,)."""
        return np.sum([np.log(ruler.slope(x[:, i])) for i, ruler in enumerate(self.rulers)], axis=0)

    def _ends(self) -> list[tuple[int, float, float, float]]:
        """Axis, end, the sign of the way inside, and the power of the distance with which p begins."""
        found = []
        for i, powers in enumerate(self._powers):
            ends = ((self.domain.lower[i], 1.0), (self.domain.upper[i], -1.0))
            found += [(i, end, sign, power) for (end, sign), power in zip(ends, powers, strict=True) if power]
        return found

    def _log_vanishing(self, x: np.ndarray) -> np.ndarray:
        found = np.zeros(len(x))
        with np.errstate(divide="ignore"):
            for i, end, _, power in self._ends():
                found += power * np.log(np.abs(x[:, i] - end))
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
    powers = default_powers(domain)
    if grid is not None and hasattr(grid, "walls"):  # the grid begins half a cell away from them
        low, high = (None if wall is None else wall.power for wall in grid.walls)
        powers = ((low, high),)
        ends = [() if wall is None else (wall.end,) for wall in grid.walls]
        nodes = (np.concatenate([ends[0], nodes[0], ends[1]]),)
    nodes = tuple(_moved_inside(x, domain, i, powers[i]) for i, x in enumerate(nodes))
    log_p = density.log_values(grid_points(nodes))
    log_p = np.maximum(log_p, log_p[np.isfinite(log_p)].max() - _FLOOR).reshape([len(x) for x in nodes])
    found = TabulatedDensity(nodes, log_p, domain, density.error, powers)
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


def _moved_inside(x: np.ndarray, domain: Domain, i: int, powers: tuple[float | None, float | None]) -> np.ndarray:
    found = np.array(x, dtype=float)
    cells = (found[1] - found[0], found[-2] - found[-1])
    for k, end, power, cell in zip((0, -1), (domain.lower[i], domain.upper[i]), powers, cells, strict=True):
        if power != 0 and abs(found[k] - end) < _INSIDE * abs(cell):
            found[k] = end + _INSIDE * cell
    return found


def default_powers(domain: Domain) -> Powers:
    """One at absorbing sides, none at others that are reached."""
    powers = {"absorbing": 1.0, "reflecting": 0.0, "periodic": 0.0, "natural": None}
    return tuple((powers[low], powers[high]) for low, high in domain.sides)


def grid_points(axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """All points of a tensor grid, (N, d)."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


__all__ = ["Ruler", "TabulatedDensity", "default_powers", "grid_points", "tabulate"]
