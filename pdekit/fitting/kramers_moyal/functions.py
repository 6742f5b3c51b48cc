"""Smooth functions of the state through values at nodes, differentiable in torch: splines and radial functions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.fitting.kramers_moyal.polynomials import exponents

Axes = tuple[tuple[float, float, int], ...]

# Coefficients of 1, t, t^2, t^3 in each of the four B-splines of a cell.
_POWERS = torch.tensor([[1.0, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]], dtype=torch.float64) / 6.0


class Interpolant(ABC):
    """States (n, d), scaled, to values (n, r); linear in the values at nodes."""

    @abstractmethod
    def __call__(self, u: Tensor) -> Tensor:
        """Values (n, r) at scaled states (n, d)."""

    @abstractmethod
    def within_reach(self, u: Tensor) -> Tensor:
        """The point within reach of the data that stands for u, (n, d); u itself where it is within reach."""

    @abstractmethod
    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `from_record` needs."""


@dataclass(frozen=True, eq=False)
class SplineTable(Interpolant):
    """A tensor product of cubic splines with equally spaced knots.

    Args:
        axes: (first node, last node, number of nodes) of each axis.
        coefficients: Of the B-splines, (n_1 + 2, ..., n_d + 2, r).
    """

    axes: Axes
    coefficients: Tensor

    @classmethod
    def through(cls, axes: Axes, values: np.ndarray) -> "SplineTable":
        """The spline with these values (C, r) at the nodes, the last axis running fastest.

        Polynomials of degree three are reproduced: the third derivative has no jump at the second node of an end.
        """
        grid = values.reshape(*(count for _, _, count in axes), -1)
        for axis, (_, _, count) in enumerate(axes):
            grid = np.moveaxis(np.tensordot(_not_a_knot(count), grid, (1, axis)), 0, axis)
        return cls(axes, torch.from_numpy(np.ascontiguousarray(grid)))

    @cached_property
    def _cells(self) -> Tensor:
        """The last axis in powers of the place within a cell, (..., cells, 4, r): one look-up instead of four."""
        knots = self.coefficients.unfold(-2, 4, 1)  # (..., cells, r, 4 B-splines)
        return torch.einsum("...rk,kp->...pr", knots, _POWERS.to(knots)).contiguous()

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high, _ = zip(*self.axes, strict=True)
        return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)

    def __call__(self, u: Tensor) -> Tensor:
        """Values (n, r) at scaled states (n, d)."""
        cells = self._cells.to(u)
        sizes = cells.shape[:-2]
        places = [_place(u[:, j], axis) for j, axis in enumerate(self.axes)]
        *others, (last, t) = places
        weights = [_b_splines(t) for _, t in others]
        flat, found = cells.flatten(0, -3), 0.0
        for corner in product(range(4), repeat=len(others)):
            index, weight = 0, 1.0
            for (first, _), w, k, size in zip(others, weights, corner, sizes[:-1], strict=True):
                index, weight = index * size + first + k, weight * w[:, k]
            row = flat[index * sizes[-1] + last]
            found = row if not others else found + weight[:, None, None] * row  # pyright: ignore
        c, t = found, t[:, None]
        return ((c[:, 3] * t + c[:, 2]) * t + c[:, 1]) * t + c[:, 0]  # pyright: ignore

    def within_reach(self, u: Tensor) -> Tensor:
        """The nearest point of the box of nodes."""
        low, high = self._ends
        return torch.minimum(torch.maximum(u, low.to(u)), high.to(u))

    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `from_record` needs."""
        return {"form": "spline", "axes": [list(axis) for axis in self.axes]}, {"coefficients": self.coefficients}


@dataclass(frozen=True, eq=False)
class RadialTable(Interpolant):
    """Sum of a_c |u - c|^3 over centres, and a polynomial; beyond an ellipsoid the value on it.

    Args:
        centres: (C, d).
        coefficients: Of the centres and then of the monomials, (C + p, r).
        shape: W, with |W u| = 1 on the ellipsoid of the data's reach, (d, d).
    """

    centres: Tensor
    coefficients: Tensor
    shape: Tensor

    @classmethod
    def through(cls, centres: np.ndarray, values: np.ndarray, shape: np.ndarray) -> "RadialTable":
        """The function with these values (C, r) at the centres; polynomials of the tail's degree are reproduced."""
        count, dim = centres.shape
        degree = max(q for q in range(4) if q <= 1 or 2 * math.comb(dim + q, q) <= count)
        tail = _monomials(torch.from_numpy(centres), degree).numpy()
        distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
        system = np.block([[distance**3, tail], [tail.T, np.zeros((tail.shape[1],) * 2)]])
        right = np.concatenate([values, np.zeros((tail.shape[1], values.shape[1]))])
        solved = np.linalg.lstsq(system, right, rcond=1e-13)[0]
        return cls(torch.from_numpy(centres), torch.from_numpy(solved), torch.from_numpy(shape))

    def __call__(self, u: Tensor) -> Tensor:
        """Values (n, r) at scaled states (n, d)."""
        count, dim = self.centres.shape
        p = len(self.coefficients) - count
        degree = next(q for q in range(4) if math.comb(dim + q, q) == p)
        centres, coefficients = self.centres.to(u), self.coefficients.to(u)
        # |u - c|^2 from its parts: no array of (n, C, d), and no root whose gradient is infinite at a centre.
        square = (u.square().sum(-1, True) - 2.0 * u @ centres.T + centres.square().sum(-1)).clamp_min(1e-30)
        return (square * square.sqrt()) @ coefficients[:count] + _monomials(u, degree) @ coefficients[count:]

    def within_reach(self, u: Tensor) -> Tensor:
        """The point of the ellipsoid on the way to the middle."""
        length = (u @ self.shape.to(u).T).square().sum(-1, True).clamp_min(1e-30).sqrt()
        return u / length.clamp_min(1.0)

    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `from_record` needs."""
        arrays = {"centres": self.centres, "coefficients": self.coefficients, "shape": self.shape}
        return {"form": "radial"}, arrays


def interpolant_from_record(record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Interpolant:
    """The interpolant that `to_record` described.

    Raises:
        InputError: If something is missing or does not fit together.
    """
    try:
        coefficients = arrays["coefficients"]
        if record["form"] == "radial":
            return RadialTable(arrays["centres"], coefficients, arrays["shape"])
        if record["form"] != "spline":
            raise ValueError(f"unknown form {record['form']!r}")
        axes = tuple((float(low), float(high), int(count)) for low, high, count in record["axes"])
        if coefficients.shape[:-1] != tuple(count + 2 for _, _, count in axes):
            raise ValueError(f"coefficients of shape {tuple(coefficients.shape)} for axes {axes}")
    except (KeyError, TypeError, ValueError) as cause:
        raise InputError(f"The record of a tabulated function is incomplete or damaged ({cause}).") from cause
    return SplineTable(axes, coefficients)


def _place(x: Tensor, axis: tuple[float, float, int]) -> tuple[Tensor, Tensor]:
    """The cell of each x, (n,), and the place within it, 0 to 1."""
    low, high, count = axis
    y = (x - low) * ((count - 1) / (high - low))
    first = y.detach().floor().clamp(0, count - 2)
    return first.long(), y - first


def _b_splines(t: Tensor) -> Tensor:
    """The four B-splines that are not zero at this place within a cell, (n, 4)."""
    s = 1.0 - t
    t2, s2 = t * t, s * s
    return torch.stack([s2 * s, 3.0 * t2 * t - 6.0 * t2 + 4.0, 3.0 * s2 * s - 6.0 * s2 + 4.0, t2 * t], -1) / 6.0


def _not_a_knot(count: int) -> np.ndarray:
    """Values at the nodes to coefficients of the B-splines, (count + 2, count)."""
    system = np.zeros((count + 2, count + 2))
    rows = np.arange(count)
    for offset, weight in enumerate((1.0, 4.0, 1.0)):
        system[rows + 1, rows + offset] = weight / 6.0
    system[0, :5] = system[-1, -5:] = (1.0, -4.0, 6.0, -4.0, 1.0)
    return np.linalg.inv(system)[:, 1:-1]


def _monomials(u: Tensor, degree: int) -> Tensor:
    columns = [torch.ones_like(u[:, 0])]
    for powers in exponents(u.shape[1], degree)[1:]:
        j = next(k for k, power in enumerate(powers) if power)
        column = u[:, j] ** int(powers[j])
        for k in range(j + 1, u.shape[1]):
            column = column * u[:, k] ** int(powers[k]) if powers[k] else column
        columns.append(column)
    return torch.stack(columns, -1)


__all__ = ["Axes", "Interpolant", "RadialTable", "SplineTable", "interpolant_from_record"]
