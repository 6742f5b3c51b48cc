"""Tensor splines of degree five through the nodes of a grid, with derivatives; those of logarithms with a limit."""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from scipy.interpolate import NdBSpline, make_interp_spline

_DEGREE = 5
_WRAP = 8  # nodes repeated beyond each end of a periodic axis
_BESIDE = 5  # nodes from which a value on a wall is found
BOUND = 1.15  # times the greatest of the nodes around: what a density is hardly ever above within a cell


@dataclass(frozen=True, eq=False)
class TensorSpline:
    """A smooth function through values at nodes; beyond the nodes it goes on as a straight line.

    Args:
        nodes: Strictly increasing nodes of each axis.
        values: (n_1, ..., n_d).
        period: The period of each axis, or None.
        walls: For each axis, where it ends half a step before the first node and after the last, with slope zero; None
            for ends at the nodes themselves.
    """

    nodes: tuple[np.ndarray, ...]
    values: np.ndarray
    period: tuple[float | None, ...]
    walls: tuple[tuple[float | None, float | None], ...] | None = None

    @cached_property
    def _spline(self) -> NdBSpline:
        coefficients, knots, degrees = self.values, [], []
        for axis, (nodes, period) in enumerate(zip(self.nodes, self.period, strict=True)):
            if period is not None:
                wrap = min(_WRAP, len(nodes))
                nodes = np.concatenate([nodes[-wrap:] - period, nodes, nodes[:wrap] + period])
                widths = [(wrap, wrap) if i == axis else (0, 0) for i in range(coefficients.ndim)]
                coefficients = np.pad(coefficients, widths, mode="wrap")
            for side, wall in zip((0, -1), self._walls(axis), strict=True):
                if wall is not None:
                    nodes, coefficients = _with_wall(nodes, coefficients, axis, side, wall)
            degree = min(_DEGREE, len(nodes) - 1 - len(nodes) % 2)  # odd
            one = make_interp_spline(nodes, coefficients, k=degree, axis=axis)
            coefficients = np.moveaxis(np.asarray(one.c), 0, axis)
            knots.append(one.t)
            degrees.append(degree)
        return NdBSpline(tuple(knots), np.ascontiguousarray(coefficients), tuple(degrees))

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Values at points (n, d)."""
        inside, beyond = self._split(y)
        found = self._spline(inside)
        if beyond.any():
            rows = np.flatnonzero(beyond.any(-1))
            found[rows] += (self._slopes(inside[rows]) * beyond[rows]).sum(-1)
        return found

    def gradient(self, y: np.ndarray) -> np.ndarray:
        """First derivatives, (n, d)."""
        return self._slopes(self._split(y)[0])

    def hessian(self, y: np.ndarray) -> np.ndarray:
        """Second derivatives, (n, d, d)."""
        inside, dim = self._split(y)[0], y.shape[1]
        found = np.empty((len(y), dim, dim))
        for i, j in combinations_with_replacement(range(dim), 2):
            order = tuple(int(k == i) + int(k == j) for k in range(dim))
            found[:, i, j] = found[:, j, i] = self._spline(inside, nu=order)
        return found

    def _slopes(self, y: np.ndarray) -> np.ndarray:
        dim = y.shape[1]
        return np.stack([self._spline(y, nu=tuple(int(i == j) for j in range(dim))) for i in range(dim)], -1)

    def _split(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nearest points within the nodes, and the rest of the way."""
        inside = np.array(y, dtype=float)
        for i, (nodes, period) in enumerate(zip(self.nodes, self.period, strict=True)):
            if period is None:
                low, high = self._walls(i)
                first, last = nodes[0] if low is None else low, nodes[-1] if high is None else high
                inside[:, i] = np.clip(inside[:, i], first, last)
        beyond = y - inside
        return inside, beyond

    def _walls(self, axis: int) -> tuple[float | None, float | None]:
        return (None, None) if self.walls is None else self.walls[axis]


def _with_wall(
    nodes: np.ndarray, values: np.ndarray, axis: int, side: int, wall: float
) -> tuple[np.ndarray, np.ndarray]:
    """One node more, on a wall, with the value there of the polynomial through the nodes beside it with slope zero."""
    count = min(_BESIDE, len(nodes))
    beside = np.arange(count) if side == 0 else np.arange(-1, -count - 1, -1)
    powers = np.array([0, *range(2, count + 1)])
    weights = np.linalg.solve((np.arange(count) + 0.5) ** powers[:, None], powers == 0)
    value = np.tensordot(weights, np.take(values, beside, axis), (0, axis))
    at = 0 if side == 0 else len(nodes)
    return np.insert(nodes, at, wall), np.insert(values, at, value, axis)


@dataclass(frozen=True, eq=False)
class LimitedSpline(TensorSpline):
    """The same, kept from rising above the nodes around where it swings between rough values, or beyond the last."""

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Values at points (n, d)."""
        index = []
        for i, (nodes, period) in enumerate(zip(self.nodes, self.period, strict=True)):
            nearest = np.rint((y[:, i] - nodes[0]) / (nodes[1] - nodes[0])).astype(int)
            index.append(nearest % len(nodes) if period is not None else np.clip(nearest, 0, len(nodes) - 1))
        return np.minimum(super().__call__(y), self._most[tuple(index)])

    @cached_property
    def _most(self) -> np.ndarray:
        return greatest_around(self.values, self.period) + np.log(BOUND)


def greatest_around(values: np.ndarray, period: tuple[float | None, ...]) -> np.ndarray:
    """The greatest of each node and its neighbours."""
    found = values.copy()
    for axis, p in enumerate(period):
        widths = [(1, 1) if i == axis else (0, 0) for i in range(values.ndim)]
        padded = np.pad(found, widths, mode="wrap" if p is not None else "edge")
        parts = [np.take(padded, range(k, k + values.shape[axis]), axis) for k in range(3)]
        found = np.maximum(np.maximum(parts[0], parts[1]), parts[2])
    return found


__all__ = ["BOUND", "LimitedSpline", "TensorSpline", "greatest_around"]
