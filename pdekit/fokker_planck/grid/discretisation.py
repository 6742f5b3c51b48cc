"""What the grid solver needs of a grid: nodes, rates, and how masses of nodes are a density.

Masses P and densities p are P_i = u_i w_i and p(x) = u(y) r(x): weights w, a reference r whose integral over the part
of the domain that belongs to a node is w, and a smooth ratio u, which is refined, extrapolated and interpolated.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from pdekit.fokker_planck.equation import AtTime
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid, SpeedDensity
from pdekit.fokker_planck.grid.assembly import Rates, assemble
from pdekit.fokker_planck.grid.equilibrium import stationary
from pdekit.fokker_planck.grid.mesh import Mesh
from pdekit.fokker_planck.grid.spline import LimitedSpline
from pdekit.fokker_planck.grid.wall import Wall
from pdekit.fokker_planck.grid.weights import Weights
from pdekit.operators.convention import to_ito
from pdekit.sde import SDE, Field

_GAUSS = 6  # points of a rule in each cell of a line
_STEP = 1e-3  # of a cell: for derivatives


class Discretisation(ABC):
    """A grid for one equation."""

    @property
    @abstractmethod
    def nodes(self) -> tuple[np.ndarray, ...]:
        """y of the nodes, axis by axis."""

    @property
    @abstractmethod
    def states(self) -> np.ndarray:
        """The nodes as states, (N, d)."""

    @property
    @abstractmethod
    def coordinates(self) -> np.ndarray:
        """The nodes as y, (N, d)."""

    @property
    @abstractmethod
    def log_weight(self) -> np.ndarray:
        """log w, (N,)."""

    @property
    @abstractmethod
    def alive(self) -> np.ndarray:
        """Where there can be mass, (N,)."""

    @abstractmethod
    def rates(self, t: float) -> Rates:
        """The rates of jumps between nodes."""

    def equilibrium(self) -> np.ndarray:
        """Masses that don't change, (N,)."""
        return stationary(self.rates(0.0), self.dim)

    @abstractmethod
    def to_y(self, x: np.ndarray) -> np.ndarray:
        """y(x), (n, d)."""

    @abstractmethod
    def from_y(self, y: np.ndarray) -> np.ndarray:
        """x(y), (n, d)."""

    @abstractmethod
    def log_reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """log r at states x with coordinates y, (n,)."""

    def crude(self) -> "Discretisation":
        """The same grid with rates that are robust rather than accurate."""
        return self

    @abstractmethod
    def quadrature(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points, as states (m, d) and as y (m, d), and weights (m,) for integrals over states."""

    @abstractmethod
    def placed(self, node: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points at shares (n, d) of the way through the cells of nodes (n,).

        Returns:
            States (n, d), y (n, d), and log of dx / dshare, (n,), minus infinity for what is beyond the grid.
        """

    @property
    def ends(self) -> np.ndarray:
        """y of the ends of what is covered, (d, 2)."""
        return np.array([nodes[[0, -1]] for nodes in self.nodes])

    @property
    @abstractmethod
    def reached(self) -> np.ndarray:
        """Which ends of what is covered are sides of the domain, (d, 2); the others are cuts."""

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """log of the volume in x over that in y, (n,)."""
        return -self.log_reference(self.from_y(y), y)

    def score(self, slopes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """grad log p from the gradient of log u in y, (n, d); what u is multiplied with by differences."""
        found = np.empty_like(x)
        for i, nodes in enumerate(self.nodes):
            step = np.zeros(self.dim)
            step[i] = (nodes[1] - nodes[0]) * _STEP
            sides = [(y + sign * step, self.from_y(y + sign * step)) for sign in (1, -1)]
            rest = [self.log_reference(x_, y_) + np.log(self.vanishing(y_)) for y_, x_ in sides]
            width = sides[0][1][:, i] - sides[1][1][:, i]
            found[:, i] = (2 * step[i] * slopes[:, i] + rest[0] - rest[1]) / width
        return found

    @property
    def least_error(self) -> float:
        """A relative error that finer grids don't mend: of rounding, tables and splines."""
        return 3e-9

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes along each axis."""
        return tuple(len(nodes) for nodes in self.nodes)

    @property
    def dim(self) -> int:
        """d."""
        return len(self.nodes)

    def __str__(self) -> str:
        return " x ".join(str(n) for n in self.shape) + " nodes"

    @property
    def period(self) -> tuple[float | None, ...]:
        """The period of each axis in y, or None."""
        return (None,) * self.dim

    def vanishing(self, y: np.ndarray) -> np.ndarray:
        """A function that goes to zero as the density does at absorbing sides, elsewhere one, (n,)."""
        return np.ones(len(y))

    def spline(self, log_ratio: np.ndarray) -> LimitedSpline:
        """log u, less the log of `vanishing`, between the nodes."""
        return LimitedSpline(self.nodes, log_ratio.reshape(self.shape), self.period)


@dataclass(frozen=True, eq=False)
class Box(Discretisation):
    """A tensor grid in one to three dimensions; r is 1 in its coordinates.

    Args:
        sde: The equation.
        mesh: The grid.
        weights: How rates are chosen.
        is_crude: See `crude`.
    """

    sde: SDE
    mesh: Mesh
    weights: Weights = "blended"
    is_crude: bool = False

    @property
    def nodes(self) -> tuple[np.ndarray, ...]:
        """See `Discretisation`."""
        return tuple(axis.y for axis in self.mesh.axes)

    @property
    def states(self) -> np.ndarray:
        """See `Discretisation`."""
        return self.mesh.x

    @property
    def coordinates(self) -> np.ndarray:
        """See `Discretisation`."""
        return self.mesh.y

    @cached_property
    def log_weight(self) -> np.ndarray:
        """See `Discretisation`."""
        return np.log(self.mesh.volume)

    @property
    def alive(self) -> np.ndarray:
        """See `Discretisation`."""
        return ~self.mesh.absorbed

    @property
    def period(self) -> tuple[float | None, ...]:
        """See `Discretisation`."""
        return tuple(axis.high - axis.low if axis.periodic else None for axis in self.mesh.axes)

    def rates(self, t: float) -> Rates:
        """See `Discretisation`."""
        return assemble(self.mesh, AtTime(self.sde, t), self.weights, crude=self.is_crude)

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        return self.mesh.to_y(x)

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        return self.mesh.from_y(y)

    def log_reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        return -self.mesh.log_slope_at(y)

    def quadrature(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gregory's rule: the trapezoidal one, corrected at ends."""
        return self.mesh.x, self.mesh.y, self.mesh.rule * np.exp(self.mesh.log_slope)

    def placed(self, node: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Discretisation`."""
        y = self.coordinates[node] + self.mesh.steps * (share - 0.5)
        periodic = np.array([axis.periodic for axis in self.mesh.axes])
        inside = ((y >= self.ends[:, 0]) & (y <= self.ends[:, 1]) | periodic).all(-1)
        volume = self.mesh.log_slope_at(y) + np.log(self.mesh.steps).sum()
        return self.from_y(y), y, np.where(inside, volume, -np.inf)

    @property
    def reached(self) -> np.ndarray:
        """See `Discretisation`."""
        return np.array([axis.reached for axis in self.mesh.axes])

    def vanishing(self, y: np.ndarray) -> np.ndarray:
        """The distance from absorbing sides, in units of the box."""
        found = np.ones(len(y))
        for i, axis in enumerate(self.mesh.axes):
            share = (y[:, i] - axis.low) / (axis.high - axis.low)
            for side, distance in zip(axis.sides, (share, 1 - share), strict=True):
                if side == "absorbing":
                    found = found * np.maximum(distance, 0.0)
        return found

    def crude(self) -> "Box":
        """See `Discretisation`."""
        return replace(self, weights="chang-cooper", is_crude=True)


@dataclass(frozen=True, eq=False)
class Line(Discretisation):
    """The generator of the likelihood: one state, no explicit time, r the speed density, its powers at ends included.

    Args:
        sde: The equation, in Ito's sense.
        grid: Cells of equal width in the Lamperti coordinate.
    """

    sde: SDE
    grid: FiniteVolumeGrid

    @cached_property
    def chain(self) -> Chain:
        """The rates, masses and speed density; next to walls with masses that are integrals of it."""
        gain = torch.as_tensor(self._wall_masses() - self._chain.log_mass.numpy())
        return replace(
            self._chain,
            up=self._chain.up - gain[:-1],
            down=self._chain.down - gain[1:],
            log_mass=self._chain.log_mass + gain,
        )

    @cached_property
    def _chain(self) -> Chain:
        with torch.no_grad():
            return self.grid.assemble(self._coefficients)

    @cached_property
    def walls(self) -> tuple[Wall | None, Wall | None]:
        """What is known of the speed density at the ends that are sides of the domain."""
        grid, base = self.grid, self.grid.coordinate.base
        found: list[Wall | None] = []
        for closed, end, sign, k in (
            (grid.closed_lower, base.lower, 1.0, 0),
            (grid.closed_upper, base.upper, -1.0, -1),
        ):
            center, face = (sign * (float(x) - end) for x in (grid.centers[k], grid.faces[1:-1][k]))
            wall = Wall(end, sign, center, face, self._arrays) if closed else None
            found.append(wall if wall is not None and wall.holds else None)
        return found[0], found[1]

    def _arrays(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            f, g = self._coefficients(torch.as_tensor(x))
        return f.numpy(), g.numpy()

    def _wall_masses(self) -> np.ndarray:
        """log masses of cells."""
        found, count = self._chain.log_mass.numpy().copy(), self.grid.beside
        for wall, first, others in (
            (self.walls[0], 0, np.arange(1, count)),
            (self.walls[1], self.grid.cells - 1, np.arange(self.grid.cells - count, self.grid.cells - 1)),
        ):
            if wall is not None:
                x, weights = self._rule(others)
                found[others] = (
                    np.log((np.exp(self._log_speed(x) - found[others, None]) * weights).sum(-1)) + found[others]
                )
                found[first] = float(self._chain.log_speed[first]) + wall.log_mass()
        return found

    def _rule(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gauss points x and weights dx in cells (k,), each (k, 6)."""
        nodes, weights = np.polynomial.legendre.leggauss(_GAUSS)
        y = self.grid.y_lower + self.grid.step * (cells[:, None] + 0.5 * (nodes + 1))
        x = self.from_y(y.reshape(-1, 1))
        return x.reshape(y.shape), 0.5 * self.grid.step * weights * np.abs(self._arrays(x[:, 0])[1]).reshape(y.shape)

    def _log_speed(self, x: np.ndarray) -> np.ndarray:
        """log m at states of any shape, down to walls."""
        state = x.reshape(-1)
        beside = self._beside(state)
        with torch.no_grad():
            inner = torch.as_tensor(np.where(beside.any(0), self.states[0, 0], state))
            found = SpeedDensity(self.grid, inner).log(self._chain, self._coefficients).numpy()
        for rows, wall, center in zip(beside, self.walls, self._chain.log_speed[[0, -1]].tolist(), strict=True):
            if wall is not None:
                found[rows] = center + wall.log_speed(wall.distance(state[rows]))
        return found.reshape(x.shape)

    def _beside(self, x: np.ndarray) -> np.ndarray:
        """Which states (n,) lie in the cells next to walls, (2, n)."""
        return np.stack([np.zeros(len(x), dtype=bool) if w is None else w.distance(x) < w.face for w in self.walls])

    def _coefficients(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _column(self.sde.drift, x), _column(self.sde.diffusion, x)

    @cached_property
    def nodes(self) -> tuple[np.ndarray, ...]:
        """See `Discretisation`."""
        return (self.grid.y_lower + self.grid.step * (np.arange(self.grid.cells) + 0.5),)

    @property
    def states(self) -> np.ndarray:
        """See `Discretisation`."""
        return self.grid.centers.numpy()[:, None]

    @property
    def coordinates(self) -> np.ndarray:
        """See `Discretisation`."""
        return self.nodes[0][:, None]

    @property
    def log_weight(self) -> np.ndarray:
        """See `Discretisation`."""
        return self.chain.log_mass.numpy() - self._constant

    @cached_property
    def _constant(self) -> float:
        """log m at the middle of the grid: the same place on finer ones, so that their u can be compared."""
        middle = self.from_y(np.array([[0.5 * (self.grid.y_lower + self.grid.y_upper)]]))
        return float(self._log_speed(middle[:, 0])[0])

    @property
    def alive(self) -> np.ndarray:
        """See `Discretisation`."""
        return np.ones(self.grid.cells, dtype=bool)

    def rates(self, t: float) -> Rates:
        """See `Discretisation`."""
        up, down = self.chain.up.exp().numpy(), self.chain.down.exp().numpy()
        exits = np.concatenate([up, [0.0]]) + np.concatenate([[0.0], down])
        cells = np.arange(len(exits))
        rows = np.concatenate([cells[1:], cells, cells[:-1]])
        columns = np.concatenate([cells[:-1], cells, cells[1:]])
        matrix = sp.csr_array((np.concatenate([up, -exits, down]), (rows, columns)))
        return Rates(matrix, positive=True)

    def equilibrium(self) -> np.ndarray:
        """The speed measure."""
        return self.chain.stationary().numpy()

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        state, base = torch.as_tensor(x[:, 0]), self.grid.coordinate.base
        y = self.grid.coordinate.to_y(state).numpy()
        for side, (u, speed) in self._open_ends:
            further = base.to_base(state).numpy() - u
            y = y + np.where(further * side > 0, further, 0.0) * speed
        return y[:, None]

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        within = y[:, 0].clip(*self.grid.coordinate.range)
        x, u = self.grid.coordinate.from_y(torch.as_tensor(within))
        further = y[:, 0] - within
        for side, (_, speed) in self._open_ends:
            beyond = torch.as_tensor(further * side > 0)
            moved = u + torch.as_tensor(further / speed)
            x = torch.where(beyond, self.grid.coordinate.base.from_base(moved), x)
        return x.numpy()[:, None]

    @cached_property
    def _open_ends(self) -> list[tuple[float, tuple[float, float]]]:
        """The sign, the base variable u and dy/du at ends of the coordinate's table that are no sides of the domain.

        Beyond them y goes on as a straight line in u.
        """
        base, found = self.grid.coordinate.base, []
        for sign, y, reached in zip((-1.0, 1.0), self.grid.coordinate.range, self.reached[0], strict=True):
            if not reached:
                x, u = self.grid.coordinate.from_y(torch.tensor([y], dtype=torch.float64))
                speed = float(base.slope(u)) / abs(float(self._arrays(x.numpy())[1][0]))
                found.append((sign, (float(u), speed)))
        return found

    def log_reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        return self._log_speed(x[:, 0]) - self._constant

    @property
    def ends(self) -> np.ndarray:
        """See `Discretisation`."""
        return np.array([[self.grid.y_lower, self.grid.y_upper]])

    @property
    def reached(self) -> np.ndarray:
        """See `Discretisation`."""
        return np.array([[self.grid.closed_lower, self.grid.closed_upper]])

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`: dx/dy is |g| as far as the coordinate has a table."""
        x = self.from_y(y)[:, 0]
        within = y[:, 0].clip(*self.grid.coordinate.range)
        found = np.log(np.abs(self._arrays(np.where(y[:, 0] == within, x, self.states[0, 0]))[1]))
        base = self.grid.coordinate.base
        for side, (_, speed) in self._open_ends:
            slope = np.log(base.slope(base.to_base(torch.as_tensor(x))).numpy()) - np.log(speed)
            found = np.where((y[:, 0] - within) * side > 0, slope, found)
        return found

    def spline(self, log_ratio: np.ndarray) -> LimitedSpline:
        """See `Discretisation`: u is flat at walls, where mass is turned back."""
        ends = zip(self.ends[0], self.walls, strict=True)
        walls = tuple(None if wall is None else float(end) for end, wall in ends)
        return LimitedSpline(self.nodes, log_ratio, self.period, (walls,))  # type: ignore[arg-type] - a pair

    def score(self, slopes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`: d log m / dx is that of the powers and of the rest, next to walls."""
        state, lower, upper = x[:, 0], *self.grid.coordinate.range
        rise = np.empty(len(x))
        inner = ~self._beside(state).any(0)
        moved = [np.clip(y[inner] + sign * _STEP * self.grid.step, lower, upper) for sign in (1, -1)]
        high, low = (self.from_y(part)[:, 0] for part in moved)
        rise[inner] = (self._log_speed(high) - self._log_speed(low)) / (high - low)
        for rows, wall in zip(self._beside(state), self.walls, strict=True):
            if wall is not None:
                rise[rows] = wall.slope(wall.distance(state[rows]))
        return (slopes[:, 0] * self._stretch(state) + rise)[:, None]

    def _stretch(self, x: np.ndarray) -> np.ndarray:
        """dy/dx; at walls where it is infinite, that of states beside them: there the slope of u falls to zero."""
        for wall in self.walls:
            if wall is not None:
                x = wall.state(np.maximum(wall.distance(x), _STEP * wall.face))
        return 1 / np.abs(self._arrays(x)[1])

    def quadrature(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gauss points in every cell; next to walls those that are meant for a power of the distance."""
        cells = np.arange(self.grid.cells)
        parts = [
            part.reshape(-1)
            for part in self._rule(cells[self.walls[0] is not None : len(cells) - (self.walls[1] is not None)])
        ]
        x, weights = [parts[0]], [parts[1]]
        for wall in self.walls:
            if wall is not None:
                z, share = wall.rule()
                x.append(wall.state(z))
                weights.append(share)
        states = np.concatenate(x)[:, None]
        return states, self.to_y(states), np.concatenate(weights)

    def placed(self, node: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Discretisation`; next to walls in shares of a mass that is a power of the distance."""
        y = self.grid.y_lower + self.grid.step * (node[:, None] + share)
        x = self.from_y(y)
        volume = np.log(self.grid.step) + np.log(np.abs(self._arrays(x[:, 0])[1]))
        for wall, cell in zip(self.walls, (0, self.grid.cells - 1), strict=True):
            if wall is not None:
                rows = node == cell
                z = wall.place(share[rows, 0])
                x[rows, 0], y[rows] = wall.state(z), self.to_y(wall.state(z)[:, None])
                volume[rows] = np.log(z / (wall.power + 1) / share[rows, 0])
        return x, y, volume

    @property
    def least_error(self) -> float:
        """See `Discretisation`; where power laws at an end meet the rest, powers of the cell width are not even."""
        return 3e-7 if self.grid.closed_lower or self.grid.closed_upper else 1e-8


def _column(field: Field, x: torch.Tensor) -> torch.Tensor:
    return field(0.0, x[:, None]).reshape(len(x))


def as_scalar(sde: SDE) -> SDE:
    """One state in Ito's sense with one noise: several become one of the same strength."""
    sde = to_ito(sde)
    if sde.noise_dim == 1:
        return sde

    def diffusion(t: Any, x: torch.Tensor) -> torch.Tensor:
        return sde.diffusion(t, x).square().sum(-1).sqrt()

    return replace(sde, diffusion=diffusion, noise_type="diagonal", noise_dim=1)


__all__ = ["Box", "Discretisation", "Line", "as_scalar"]
