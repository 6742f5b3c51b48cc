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
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid, SpeedDensity, power_cells
from pdekit.fokker_planck.grid.assembly import Rates, assemble
from pdekit.fokker_planck.grid.equilibrium import stationary
from pdekit.fokker_planck.grid.mesh import Mesh
from pdekit.fokker_planck.grid.spline import LimitedSpline
from pdekit.fokker_planck.grid.weights import Weights
from pdekit.operators.convention import to_ito
from pdekit.sde import SDE, Field

_GAUSS, _GRADED, _POWER = 4, 48, 6


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
    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Points y (m, d) and weights (m,) for integrals over y."""

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

    def log_measure(self, y: np.ndarray) -> np.ndarray:
        """log of r dx/dy: the density with respect to y is u times this, (n,)."""
        return np.zeros(len(y))

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

    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """The trapezoidal rule: for what vanishes at free ends as good as any."""
        return self.mesh.y, self.mesh.volume

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
        """The rates, masses and speed density."""
        with torch.no_grad():
            return self.grid.assemble(self._coefficients)

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
        middle = self.grid.coordinate.from_y(torch.tensor([0.5 * (self.grid.y_lower + self.grid.y_upper)]).double())[0]
        with torch.no_grad():
            return float(SpeedDensity(self.grid, middle).log(self.chain, self._coefficients))

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
        return self.grid.coordinate.to_y(torch.as_tensor(x[:, 0])).numpy()[:, None]

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        least, greatest = self.grid.coordinate.range
        return self.grid.coordinate.from_y(torch.as_tensor(y[:, 0].clip(least, greatest)))[0].numpy()[:, None]

    def log_reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`."""
        with torch.no_grad():
            state = torch.as_tensor(x[:, 0])
            return SpeedDensity(self.grid, state).log(self.chain, self._coefficients).numpy() - self._constant

    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss points in every cell, many more next to closed ends, where densities are powers of the distance."""
        grid, (nodes, weights) = self.grid, np.polynomial.legendre.leggauss(_GAUSS)
        faces = np.linspace(grid.y_lower, grid.y_upper, grid.cells + 1)
        count = power_cells(grid.cells)
        first, last = count * grid.closed_lower, grid.cells - count * grid.closed_upper
        middle = 0.5 * (faces[first:last] + faces[first + 1 : last + 1])
        y = [(middle[:, None] + 0.5 * grid.step * nodes).reshape(-1)]
        w = [np.tile(0.5 * grid.step * weights, len(middle))]
        nodes, weights = np.polynomial.legendre.leggauss(_GRADED)
        share, reach = 0.5 * (nodes + 1.0), count * grid.step
        part, part_weight = reach * share**_POWER, reach * _POWER * share ** (_POWER - 1) * 0.5 * weights
        for closed, end, sign in ((grid.closed_lower, grid.y_lower, 1.0), (grid.closed_upper, grid.y_upper, -1.0)):
            if closed:
                y.append(end + sign * part)
                w.append(part_weight)
        return np.concatenate(y)[:, None], np.concatenate(w)

    @property
    def least_error(self) -> float:
        """See `Discretisation`; where power laws at an end meet the rest, powers of the cell width are not even."""
        return 3e-7 if self.grid.closed_lower or self.grid.closed_upper else 1e-8

    def log_measure(self, y: np.ndarray) -> np.ndarray:
        """See `Discretisation`; dx/dy is |g|."""
        x = self.from_y(y)
        with torch.no_grad():
            noise = self._coefficients(torch.as_tensor(x[:, 0]))[1].abs().numpy()
        return self.log_reference(x, y) + np.log(noise)


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
