"""A tensor grid of nodes in one to three dimensions, and the pairs of neighbours on it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdekit.fokker_planck.grid.axis import Axis


@dataclass(frozen=True)
class Edges:
    """Pairs of nodes that are one offset apart.

    Args:
        start: Flat indices of first nodes, (m,).
        end: Those of second ones.
        middle: y halfway, (m, d).
        move: y from the first to the second, (d,).
        face: The share of a full face that two nodes at an edge of the box have in common, (m,).
    """

    start: np.ndarray
    end: np.ndarray
    middle: np.ndarray
    move: np.ndarray
    face: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """A tensor grid.

    Args:
        axes: One for each state.
    """

    axes: tuple[Axis, ...]

    @property
    def dim(self) -> int:
        """d."""
        return len(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """Nodes in all, N."""
        return int(np.prod(self.shape))

    @property
    def steps(self) -> np.ndarray:
        """h, (d,)."""
        return np.array([axis.step for axis in self.axes])

    @cached_property
    def y(self) -> np.ndarray:
        """Nodes, (N, d)."""
        return np.stack(np.meshgrid(*(axis.y for axis in self.axes), indexing="ij"), -1).reshape(-1, self.dim)

    @cached_property
    def x(self) -> np.ndarray:
        """Nodes as states, (N, d)."""
        return np.stack(np.meshgrid(*(axis.x for axis in self.axes), indexing="ij"), -1).reshape(-1, self.dim)

    @cached_property
    def volume(self) -> np.ndarray:
        """The volume in y that belongs to each node, (N,)."""
        found = np.ones(1)
        for axis in self.axes:
            found = np.multiply.outer(found, axis.width).reshape(-1)
        return found

    @cached_property
    def rule(self) -> np.ndarray:
        """Weights of integrals over y, (N,)."""
        found = np.ones(1)
        for axis in self.axes:
            found = np.multiply.outer(found, axis.rule).reshape(-1)
        return found

    @cached_property
    def log_slope(self) -> np.ndarray:
        """log of the volume in x over that in y, at nodes, (N,)."""
        return self.log_slope_at(self.y)

    def log_slope_at(self, y: np.ndarray) -> np.ndarray:
        """The same at any y (n, d)."""
        return sum(axis.coordinate.log_slope(y[:, i]) for i, axis in enumerate(self.axes))  # type: ignore[return-value]

    def from_y(self, y: np.ndarray) -> np.ndarray:
        """States (n, d)."""
        return np.stack([axis.coordinate.from_y(y[:, i]) for i, axis in enumerate(self.axes)], -1)

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """Coordinates of states (n, d); those of a periodic state lie in its period."""
        found = np.stack([axis.coordinate.to_y(x[:, i]) for i, axis in enumerate(self.axes)], -1)
        for i, axis in enumerate(self.axes):
            if axis.periodic:
                found[:, i] = axis.low + np.mod(found[:, i] - axis.low, axis.high - axis.low)
        return found

    @cached_property
    def absorbed(self) -> np.ndarray:
        """Which nodes lie on an absorbing side, (N,)."""
        found = np.zeros(self.shape, dtype=bool)
        for i, axis in enumerate(self.axes):
            found |= axis.absorbed.reshape([-1 if j == i else 1 for j in range(self.dim)])
        return found.reshape(-1)

    def edges(self, offset: tuple[int, ...]) -> Edges:
        """All pairs of nodes that are `offset` nodes apart; across periodic sides too."""
        index = np.arange(self.size).reshape(self.shape)
        start, end = index, index
        for i, (axis, o) in enumerate(zip(self.axes, offset, strict=True)):
            if axis.periodic:
                end = np.roll(end, -o, i)
            else:
                keep = axis.size - abs(o)
                first, second = (slice(0, max(keep, 0)), slice(abs(o), None))[:: 1 if o >= 0 else -1]
                at = lambda part, i=i: (slice(None),) * i + (part,)  # noqa: E731
                start, end = start[at(first)], end[at(second)]
        start, end = start.reshape(-1), end.reshape(-1)
        move = self.steps * np.array(offset)
        return Edges(start, end, self.y[start] + 0.5 * move, move, self._faces(offset)[start])

    def _faces(self, offset: tuple[int, ...]) -> np.ndarray:
        """Half for pairs that lie within a side of the box, (N,)."""
        found = np.ones(1)
        for axis, o in zip(self.axes, offset, strict=True):
            share = axis.width / axis.step if o == 0 else np.ones(axis.size)
            found = np.multiply.outer(found, share).reshape(-1)
        return found

    def __str__(self) -> str:
        return " x ".join(str(axis.cells) for axis in self.axes)


__all__ = ["Edges", "Mesh"]
