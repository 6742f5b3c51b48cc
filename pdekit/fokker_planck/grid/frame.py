"""Where a grid is laid: coordinates of the states, and the part of an unbounded domain that is covered."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch

from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import FiniteVolumeGrid, power_cells
from pdekit.fokker_planck.grid.axis import Axis, Coordinate, Linear, Logarithmic, Stretched
from pdekit.fokker_planck.grid.discretisation import Box, Discretisation, Line, as_scalar
from pdekit.fokker_planck.grid.mesh import Mesh
from pdekit.fokker_planck.grid.weights import Weights
from pdekit.fokker_planck.sides import Domain
from pdekit.sde import SDE

_TAILS = 0.001  # quantiles that a pilot knows
_BEYOND = 0.8  # of the distance between them: how far the first grid reaches further
_POINT, _NEAR = 1e-6, 1e-12  # of a state: half the width of a point, and how far from a side it is at least
_SPLIT = 32  # cells from which on halves have enough
_HEAVY = 15.0  # times the distance between quartiles: 4.6 for a normal law, 9 for Laplace's, 318 for Cauchy's


class Frame(ABC):
    """A family of grids.

    Attributes:
        ends: The ends in y that are covered, (d, 2).
        limits: As far as they can be moved, (d, 2).
    """

    ends: np.ndarray
    limits: np.ndarray

    @abstractmethod
    def grid(self, cells: tuple[int, ...]) -> Discretisation:
        """The grid with so many cells along each axis."""

    @abstractmethod
    def moved(self, ends: np.ndarray) -> "Frame":
        """The same between other ends."""

    @property
    def free(self) -> np.ndarray:
        """Which ends are cuts, not sides of the domain, (d, 2)."""
        return self.ends != self.limits

    def __str__(self) -> str:
        grid = self.grid((8,) * len(self.ends))
        low, high = (grid.from_y(self.ends[:, side][None])[0] for side in (0, 1))
        return " x ".join(f"[{a:.4g}, {b:.4g}]" for a, b in zip(low, high, strict=True))


@dataclass(frozen=True, eq=False)
class BoxFrame(Frame):
    """Tensor grids.

    Args:
        sde: The equation.
        domain: The states' domain.
        coordinates: Of each state.
        ends: See `Frame`.
        weights: How rates are chosen.
        anchor: y of a point that should be a node, (d,), or None.
    """

    sde: SDE
    domain: Domain
    coordinates: tuple[Coordinate, ...]
    ends: np.ndarray
    weights: Weights = "blended"
    anchor: np.ndarray | None = None

    @classmethod
    def around(
        cls, sde: SDE, domain: Domain, x: np.ndarray, weights: Weights, point: np.ndarray | None = None
    ) -> "BoxFrame":
        """A frame that covers samples (n, d) generously."""
        coordinates = tuple(_coordinate(domain, i, x[:, i]) for i in range(domain.dim))
        y = np.stack([c.to_y(x[:, i]) for i, c in enumerate(coordinates)], -1)
        low, high = np.quantile(y, (_TAILS, 1 - _TAILS), axis=0)
        reach = np.maximum(high - low, 1e-9 * np.maximum(1.0, np.abs(high)))
        ends = np.stack([low - _BEYOND * reach, high + _BEYOND * reach], -1)
        anchor = None if point is None else np.array([c.to_y(point[i : i + 1])[0] for i, c in enumerate(coordinates)])
        found = cls(sde, domain, coordinates, ends, weights, anchor)
        closed = np.isfinite(found.limits)
        return replace(found, ends=np.where(closed, found.limits, ends))

    @property
    def limits(self) -> np.ndarray:  # type: ignore[override]
        """See `Frame`."""
        pairs = zip(self.domain.lower, self.domain.upper, self.coordinates, strict=True)
        found = [[c.to_y(np.array([end]))[0] for end in (low, high)] for low, high, c in pairs]
        return np.array(found, dtype=float)

    def moved(self, ends: np.ndarray) -> "BoxFrame":
        """See `Frame`."""
        return replace(self, ends=np.where(np.isfinite(self.limits), self.limits, ends))

    def grid(self, cells: tuple[int, ...]) -> Box:
        """See `Frame`."""
        return Box(self.sde, Mesh(tuple(self._axis(i, n) for i, n in enumerate(cells))), self.weights)

    def _axis(self, i: int, cells: int) -> Axis:
        (low, high), coordinate = self.ends[i], self.coordinates[i]
        if self.anchor is not None and self.free[i].all() and low < self.anchor[i] < high:
            step = (high - low) / cells
            low += (self.anchor[i] - low) % step - (step if (self.anchor[i] - low) % step > step / 2 else 0.0)
            high = low + step * cells
        return Axis(float(low), float(high), cells, self.domain.sides[i], coordinate)


def _coordinate(domain: Domain, i: int, x: np.ndarray) -> Coordinate:
    """Linear, but logarithmic from an end that is never reached, and stretched under heavy tails."""
    natural = [side == "natural" and np.isfinite(end) for side, end in _side_ends(domain, i)]
    if natural[0] and not np.isfinite(domain.upper[i]):
        return Logarithmic(domain.lower[i])
    if natural[1] and not np.isfinite(domain.lower[i]):
        return Logarithmic(domain.upper[i], upward=False)
    if np.isfinite(domain.lower[i]) or np.isfinite(domain.upper[i]):
        return Linear()
    if heavy(x):
        quarter, middle, three = np.quantile(x, (0.25, 0.5, 0.75))
        return Stretched(float(middle), float(three - quarter))
    return Linear()


def heavy(x: np.ndarray) -> bool:
    """Whether samples (n,) have heavy tails."""
    low, quarter, three, high = np.quantile(x, (_TAILS, 0.25, 0.75, 1 - _TAILS))
    return bool(high - low > _HEAVY * (three - quarter) > 0)


def _side_ends(domain: Domain, i: int) -> list[tuple[str, float]]:
    return [(domain.sides[i][0], domain.lower[i]), (domain.sides[i][1], domain.upper[i])]


@dataclass(frozen=True, eq=False)
class LineFrame(Frame):
    """Grids in the Lamperti coordinate of one state.

    Args:
        sde: The equation, in Ito's sense.
        span: The ends of the domain.
        reach: States that surely lie within.
        coordinate: y(x).
        ends: See `Frame`.
    """

    sde: SDE
    span: tuple[float, float]
    reach: tuple[float, float]
    coordinate: LampertiCoordinate
    ends: np.ndarray

    @classmethod
    def around(cls, sde: SDE, domain: Domain, x: np.ndarray) -> "LineFrame":
        """A frame that covers samples (n, 1) generously."""
        sde, span = as_scalar(sde), (domain.lower[0], domain.upper[0])
        low, high = (float(q) for q in np.quantile(x, (_TAILS, 1 - _TAILS)))
        if not low < high:
            low, high = low - _POINT * max(1.0, abs(low)), high + _POINT * max(1.0, abs(high))
        low, high = (_off_sides(end, span) for end in (low, high))
        near = LampertiCoordinate(_diffusion(sde), span, (low, high), 1e-3)
        width = float(np.ptp(_both(near, (low, high))))
        found = cls(sde, span, (low, high), near, _both(near, (low, high))[None])
        return found.moved(found.ends + np.array([[-_BEYOND, _BEYOND]]) * width)

    @property
    def limits(self) -> np.ndarray:  # type: ignore[override]
        """See `Frame`."""
        low = -np.inf if self.coordinate.lower is None else self.coordinate.lower
        high = np.inf if self.coordinate.upper is None else self.coordinate.upper
        return np.array([[low, high]])

    def moved(self, ends: np.ndarray) -> "LineFrame":
        """See `Frame`; the table of the coordinate is made longer where it has to be."""
        least, greatest = self.coordinate.range
        low, high = ends[0]
        found = self
        if (low < least and self.coordinate.lower is None) or (high > greatest and self.coordinate.upper is None):
            ends_of_reach = _both(self.coordinate, self.reach)
            padding = 1.5 * max(ends_of_reach[0] - low, high - ends_of_reach[1])
            wider = LampertiCoordinate(_diffusion(self.sde), self.span, self.reach, padding)
            ends = ends + _both(wider, self.reach)[0] - ends_of_reach[0]  # y begins where its table does
            found = replace(self, coordinate=wider)
        return replace(found, ends=np.clip(ends, *found.coordinate.range))

    def grid(self, cells: tuple[int, ...]) -> Line:
        """See `Frame`."""
        low, high = (float(end) for end in self.ends[0])
        return Line(self.sde, FiniteVolumeGrid(self.coordinate, low, high, cells[0], nested_cells(cells[0])))


def nested_cells(cells: int) -> int:
    """About a tenth of the cells, and twice as many where there are twice as many cells: the same stretch exactly."""
    return 2 * nested_cells(cells // 2) if cells % 2 == 0 and cells >= _SPLIT else power_cells(cells)


def _off_sides(x: float, span: tuple[float, float]) -> float:
    """A state strictly inside: at a side the coordinate has no value."""
    low, high = (end + sign * _NEAR * max(1.0, abs(end)) for end, sign in zip(span, (1.0, -1.0), strict=True))
    return min(max(x, low), high)


def _both(coordinate: LampertiCoordinate, x: tuple[float, float]) -> np.ndarray:
    return coordinate.to_y(torch.tensor(x, dtype=torch.float64)).numpy()


def _diffusion(sde: SDE):
    return lambda x: sde.diffusion(0.0, x[:, None]).reshape(len(x))


__all__ = ["BoxFrame", "Frame", "LineFrame", "heavy"]
