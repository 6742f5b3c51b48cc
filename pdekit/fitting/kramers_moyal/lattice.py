"""A fine lattice of sites and a coarser grid of nodes, for one or two states; boxes, for estimates in bins.

Each increment is shared among the corners of its cell (linear binning; Fan and Marron 1994, J. Comput. Graph. Stat. 3).
The kernel is a product over axes, so that sums around all nodes are a few small matrix products, whatever the number of
increments.
"""

from itertools import product

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, uniform_filter

from pdekit.fitting.kramers_moyal.design import Design, kernel
from pdekit.fitting.kramers_moyal.functions import Axes, SplineTable
from pdekit.fitting.kramers_moyal.polynomials import exponents
from pdekit.fitting.kramers_moyal.steps import FOLDS

_SITES = {1: 512, 2: 96}
_NODES = {1: 128, 2: 32}
_BINS = {1: 30, 2: 15, 3: 8}
# A node with fewer increments around it takes the value of the nearest that has them.
_FEWEST, _FEWEST_IN_BIN = 10.0, 3.0


class Lattice(Design):
    """Sites and nodes on the box of the data.

    Args:
        u: Scaled states, (N, d).
        sites: Per axis.
        nodes: Per axis.
        nearest: Whether an increment counts at the nearest site alone; sites and nodes are then the middles of boxes.
    """

    def __init__(self, u: np.ndarray, sites: int, nodes: int, *, nearest: bool = False) -> None:
        self.dim, self.sites, self.nearest = u.shape[1], sites, nearest
        low, high = u.min(0), u.max(0)
        if nearest:
            half = 0.5 * (high - low) / sites
            low, high = low + half, high - half
        self.low, self.high = low, high
        self.axes: Axes = tuple((float(a), float(b), nodes) for a, b in zip(low, high, strict=True))
        self.nodes = _grid(low, high, nodes)
        self.position = np.tile(_grid(low, high, sites), (FOLDS, 1))
        rows = sites**self.dim
        self.folds = [slice(k * rows, (k + 1) * rows) for k in range(FOLDS)]
        number = self._number(u)
        self.share = number.ravel() / len(u)
        self.supported = self._supported(number)
        self._to_rows = None if nearest else [_spline_matrix(axis, sites) for axis in self.axes]

    @classmethod
    def for_kernel(cls, u: np.ndarray, points: int | None) -> "Lattice":
        """Fine enough that binning does not count beside the kernel."""
        dim = u.shape[1]
        return cls(u, _SITES[dim], points or _NODES[dim])

    @classmethod
    def of_bins(cls, u: np.ndarray, points: int | None) -> "Lattice":
        """Equal boxes from the smallest to the largest value."""
        bins = points or _BINS[u.shape[1]]
        return cls(u, bins, bins, nearest=True)

    def deposit(self, u: np.ndarray, fold: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sums of columns at the sites, (rows, k)."""
        y = np.clip((u - self.low) * ((self.sites - 1) / (self.high - self.low)), 0.0, self.sites - 1.0)
        size = FOLDS * self.sites**self.dim
        out = np.zeros((size, columns.shape[1]))
        cell = np.rint(y).astype(int) if self.nearest else np.minimum(y.astype(int), self.sites - 2)
        part = y - cell
        for corner in product((0,) if self.nearest else (0, 1), repeat=self.dim):
            index, weight = fold.astype(int), np.ones(len(u))
            for j, k in enumerate(corner):
                index = index * self.sites + cell[:, j] + k
                weight = weight if self.nearest else weight * (part[:, j] if k else 1.0 - part[:, j])
            for column in range(columns.shape[1]):
                out[:, column] += np.bincount(index, weight * columns[:, column], size)
        return out

    def moments(self, weights: np.ndarray, width: np.ndarray, degree: int, power: int = 1) -> np.ndarray:
        """As in `Design`; monomials of (u - node) / width."""
        if self.nearest:
            return weights.reshape(FOLDS, -1, weights.shape[1])[..., None]
        found: dict[tuple[int, ...], np.ndarray] = {}
        matrices = [self._kernel_matrices(j, width[j], degree, power) for j in range(self.dim)]

        def contract(part: np.ndarray, done: tuple[int, ...]) -> None:
            if len(done) == self.dim:
                found[done] = part
                return
            for k in range(degree - sum(done) + 1):
                contract(np.tensordot(part, matrices[len(done)][k], (2, 1)), (*done, k))

        shape = (FOLDS, *(self.sites,) * self.dim, weights.shape[1])
        contract(np.moveaxis(weights.reshape(shape), -1, 1), ())
        stacked = np.stack([found[powers] for powers in exponents(self.dim, degree)], -1)
        return np.swapaxes(stacked.reshape(FOLDS, weights.shape[1], -1, stacked.shape[-1]), 1, 2)

    def basis(self, degree: int) -> np.ndarray:
        """One and zeros: monomials are counted from the node."""
        out = np.zeros((len(self.nodes), len(exponents(self.dim, degree))))
        out[:, 0] = 1.0
        return out

    def at_rows(self, values: np.ndarray) -> np.ndarray:
        """As in `Design`."""
        count, _, columns = values.shape
        if self._to_rows is not None:
            part = values.reshape(count, *(axis[2] for axis in self.axes), columns)
            for j, matrix in enumerate(self._to_rows):
                part = np.moveaxis(np.tensordot(matrix, part, (1, j + 1)), 0, j + 1)
            values = part.reshape(count, -1, columns)
        repeated = np.broadcast_to(values, (FOLDS, *values.shape[1:]))
        return repeated.reshape(-1, columns)

    def interpolant(self, values: np.ndarray) -> SplineTable:
        """As in `Design`."""
        return SplineTable.through(self.axes, values)

    def stand_ins(self) -> np.ndarray:
        """The nearest supported node in scaled states."""
        shape = tuple(axis[2] for axis in self.axes)
        spacing = [(high - low) / (count - 1) for low, high, count in self.axes]
        index = distance_transform_edt(
            ~self.supported.reshape(shape), sampling=spacing, return_distances=False, return_indices=True
        )
        return np.ravel_multi_index(tuple(index), shape).ravel()  # pyright: ignore

    def _kernel_matrices(self, axis: int, width: float, degree: int, power: int) -> list[np.ndarray]:
        low, high, count = self.axes[axis]
        t = (np.linspace(low, high, self.sites)[None, :] - np.linspace(low, high, count)[:, None]) / width
        matrices = [kernel(t * t, power)]
        for _ in range(degree):
            matrices.append(matrices[-1] * t)
        return matrices

    def _number(self, u: np.ndarray) -> np.ndarray:
        """How many increments begin nearest to each node."""
        count = self.axes[0][2]
        index = np.rint((u - self.low) * ((count - 1) / (self.high - self.low))).astype(int).clip(0, count - 1)
        shape = (count,) * self.dim
        return np.bincount(np.ravel_multi_index(tuple(index.T), shape), minlength=count**self.dim).reshape(shape)

    def _supported(self, number: np.ndarray) -> np.ndarray:
        if self.nearest:
            return (number >= min(_FEWEST_IN_BIN, number.max())).ravel()
        around = uniform_filter(number.astype(float), 3, mode="constant") * 3**self.dim
        return (around >= min(_FEWEST, around.max())).ravel()


def _grid(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _spline_matrix(axis: tuple[float, float, int], sites: int) -> np.ndarray:
    """Values at nodes to values at sites of one axis, (sites, nodes)."""
    low, high, count = axis
    x = torch.linspace(low, high, sites, dtype=torch.float64)[:, None]
    return SplineTable.through((axis,), np.eye(count))(x).numpy()


__all__ = ["Lattice"]
