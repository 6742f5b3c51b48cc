"""One state's share of a grid: nodes, the coordinate in which they are equidistant, and their widths."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from pdekit.fokker_planck.sides import Side

# What the trapezoidal rule's weights of one lack at an end, by J. Gregory (1670), to differences of the fourth order.
_GREGORY = np.array([95 / 288, 317 / 240, 23 / 30, 793 / 720, 157 / 160]) - 1.0


class Coordinate(Protocol):
    """A monotone map between a state x and a coordinate y, (n,) -> (n,)."""

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """y(x)."""
        ...

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """x(y)."""
        ...

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """log dx/dy."""
        ...


@dataclass(frozen=True)
class Linear:
    """y = x."""

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return x

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return y

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return np.zeros_like(y)


@dataclass(frozen=True)
class Logarithmic:
    """y = log((x - end) / scale) for x > end, or y = -log((end - x) / scale) for x < end.

    For states that grow and shrink in proportion to themselves, and never reach the end.
    """

    end: float
    upward: bool = True

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(x - self.end) if self.upward else -np.log(self.end - x)

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return self.end + np.exp(y) if self.upward else self.end - np.exp(-y)

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return y if self.upward else -y


@dataclass(frozen=True)
class Stretched:
    """x = center + scale sinh(y): even in the middle, ever coarser outwards, for laws with heavy tails."""

    center: float
    scale: float

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return np.arcsinh((x - self.center) / self.scale)

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return self.center + self.scale * np.sinh(y)

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """See `Coordinate`."""
        return np.log(self.scale * np.cosh(y))


@dataclass(frozen=True)
class Axis:
    """Equidistant nodes in y from `low` to `high`, both included unless the axis is periodic.

    Args:
        low: y of the first node.
        high: y of the last node; one period after the first if periodic.
        cells: How many steps there are between them.
        sides: What happens at the ends.
        coordinate: y(x).
    """

    low: float
    high: float
    cells: int
    sides: tuple[Side, Side]
    coordinate: Coordinate = Linear()

    @property
    def step(self) -> float:
        """h."""
        return (self.high - self.low) / self.cells

    @property
    def periodic(self) -> bool:
        """Whether the last node is the first."""
        return self.sides[0] == "periodic"

    @property
    def size(self) -> int:
        """The number of nodes."""
        return self.cells if self.periodic else self.cells + 1

    @cached_property
    def y(self) -> np.ndarray:
        """The nodes, (size,)."""
        return self.low + self.step * np.arange(self.size)

    @cached_property
    def x(self) -> np.ndarray:
        """The nodes as states."""
        return self.coordinate.from_y(self.y)

    @cached_property
    def width(self) -> np.ndarray:
        """The width in y that belongs to each node: half a step at ends."""
        width = np.full(self.size, self.step)
        if not self.periodic:
            width[[0, -1]] *= 0.5
        return width

    @cached_property
    def rule(self) -> np.ndarray:
        """Weights of integrals over y: of order six, for what is smooth as far as the ends."""
        weights = np.full(self.size, self.step)
        if not self.periodic:
            count = min(len(_GREGORY), self.size)
            weights[:count] += self.step * _GREGORY[:count]
            weights[self.size - count :] += self.step * _GREGORY[:count][::-1]
        return weights

    @property
    def reached(self) -> tuple[bool, bool]:
        """Which ends are sides of the domain, as far as the coordinate goes."""
        return self.sides[0] != "natural", self.sides[1] != "natural"

    @cached_property
    def absorbed(self) -> np.ndarray:
        """Which nodes lie on an absorbing side: nothing is ever there."""
        return np.array([i == 0 and self.sides[0] == "absorbing" for i in range(self.size)]) | np.array(
            [i == self.size - 1 and self.sides[1] == "absorbing" for i in range(self.size)]
        )


__all__ = ["Axis", "Coordinate", "Linear", "Logarithmic", "Stretched"]
