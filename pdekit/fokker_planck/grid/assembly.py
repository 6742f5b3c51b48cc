"""The generator of a Fokker-Planck equation on a tensor grid: a sparse matrix of jump rates between neighbours.

The equation d_t p = -div(v p - D grad p) is a sum of one-dimensional ones along the offsets of Selling's decomposition
of D. Along each of them the density q in the grid's coordinates would be at equilibrium if it changed by e^a,

    a = int D^-1 v . dx + log S(end) - log S(start),   S = prod_i dx_i / dy_i,

which fixes the ratio of the two rates (see `weights`). What of v lies outside the range of D moves mass without
spreading it; see `transport`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from pdekit.fokker_planck.equation import AtTime
from pdekit.fokker_planck.grid.axis import Linear
from pdekit.fokker_planck.grid.mesh import Edges, Mesh
from pdekit.fokker_planck.grid.selling import decompose
from pdekit.fokker_planck.grid.transport import transport
from pdekit.fokker_planck.grid.weights import WEIGHTS, Weights

_QUADRATURE = {1: 3, 2: 2, 3: 1}  # Gauss nodes along an edge, by dimension
_RANK = 1e-12  # relative to the largest eigenvalue of D
_FEW = 64


@dataclass(frozen=True, eq=False)
class Rates:
    """dP/dt = matrix @ P for the masses of nodes.

    Args:
        matrix: (N, N); column j has the rates out of node j.
        positive: Whether no rate is negative: then no mass becomes so.
    """

    matrix: sp.csr_array
    positive: bool

    @property
    def size(self) -> int:
        """N."""
        return len(self.matrix.indptr) - 1


def assemble(mesh: Mesh, at: AtTime, weights: Weights, *, crude: bool = False) -> Rates:
    """The rates on a grid.

    Args:
        mesh: The grid.
        at: The coefficients.
        weights: How the rates of two neighbours are chosen.
        crude: Whether transport without diffusion is positive and of first order, rather than of third.

    Raises:
        UnsupportedError: If D is too anisotropic; see `decompose`.
    """
    constant = _constant_tensor(mesh, at)
    pieces = []
    for offset in _offsets(mesh, at, constant):
        edges = mesh.edges(offset)
        pieces.append(_along(mesh, edges, offset, at, constant, WEIGHTS[weights]))
    lost = _outside_range(mesh, at, constant)
    matrix = _matrix(mesh.size, pieces)
    if lost is not None:
        matrix = matrix + transport(mesh, lost, crude=crude)
    matrix = _without(matrix, mesh.absorbed)
    return Rates(matrix.tocsr(), positive=lost is None or crude)


def _constant_tensor(mesh: Mesh, at: AtTime) -> np.ndarray | None:
    """D where it is the same at nodes spread over the grid and at random points between, (d, d)."""
    rng = np.random.default_rng(0)
    chosen = mesh.y[rng.choice(mesh.size, min(_FEW, mesh.size), replace=False)]
    between = chosen + (rng.random(chosen.shape) - 0.5) * mesh.steps * 0.5
    ends = np.array([[axis.y[0], axis.y[-1]] for axis in mesh.axes]).T
    tensor = at(mesh.from_y(np.clip(between, *ends))).tensor
    scale = np.abs(tensor).max()
    return tensor[0] if np.abs(tensor - tensor[0]).max() <= 1e-14 * scale else None


def _in_cells(mesh: Mesh, tensor: np.ndarray, y: np.ndarray) -> np.ndarray:
    """D in units of the grid, D_ij / (s_i s_j h_i h_j), (n, d, d)."""
    slope = np.stack([np.exp(axis.coordinate.log_slope(y[:, i])) for i, axis in enumerate(mesh.axes)], -1) * mesh.steps
    return tensor / (slope[:, :, None] * slope[:, None, :])


def _offsets(mesh: Mesh, at: AtTime, constant: np.ndarray | None) -> list[tuple[int, ...]]:
    """All offsets along which mass spreads somewhere; of two opposite ones the first."""
    # Where D is the same in cells of the same size everywhere, one node stands for all.
    y = mesh.y[:1] if constant is not None and _linear(mesh) else mesh.y
    tensor = at(mesh.x).tensor if constant is None else np.broadcast_to(constant, (len(y), mesh.dim, mesh.dim))
    in_cells = _in_cells(mesh, tensor, y)
    off_diagonal = np.abs(in_cells * (1 - np.eye(mesh.dim))).max()
    if off_diagonal <= 1e-14 * np.abs(in_cells).max():
        return [tuple(int(i == j) for j in range(mesh.dim)) for i in range(mesh.dim) if in_cells[:, i, i].max() > 0]
    w, e = decompose(in_cells)
    return sorted({tuple(int(c) for c in row) for row in np.unique(_upward(e[w > 0]), axis=0)})


def _upward(offsets: np.ndarray) -> np.ndarray:
    """Each offset or its opposite, whichever has a positive first entry that is not zero."""
    first = np.take_along_axis(offsets, (offsets != 0).argmax(-1)[:, None], -1)
    return offsets * np.sign(first)


Pieces = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # start, end, rates there, rates back


def _along(
    mesh: Mesh,
    edges: Edges,
    offset: tuple[int, ...],
    at: AtTime,
    constant: np.ndarray | None,
    weight: Callable[[np.ndarray], np.ndarray],
) -> Pieces:
    fractions, shares = np.polynomial.legendre.leggauss(_QUADRATURE[mesh.dim])
    rise, strength = np.zeros(len(edges.start)), None
    for fraction, share in zip(fractions, shares, strict=True):
        y = edges.middle + 0.5 * fraction * edges.move
        if constant is None:
            found = at(mesh.from_y(y))
            force = _solved(found.tensor, found.velocity)
            if fraction == 0:
                strength = _strength(mesh, found.tensor, y, offset, None)
        else:
            force = _solved(constant, at.ito_drift(mesh.from_y(y)))
        if not _linear(mesh):
            force = force * np.stack([np.exp(a.coordinate.log_slope(y[:, i])) for i, a in enumerate(mesh.axes)], -1)
        rise += 0.5 * share * (force @ edges.move)
    if strength is None:
        tensor = at(mesh.from_y(edges.middle)).tensor if constant is None else np.empty(0)
        strength = _strength(mesh, tensor, edges.middle, offset, constant)
    if not _linear(mesh):
        rise += mesh.log_slope[edges.end] - mesh.log_slope[edges.start]
    strength = strength * edges.face * np.prod(mesh.steps)
    there, back = strength * weight(rise), strength * weight(-rise)
    return edges.start, edges.end, there / mesh.volume[edges.start], back / mesh.volume[edges.end]


def _linear(mesh: Mesh) -> bool:
    return all(isinstance(axis.coordinate, Linear) for axis in mesh.axes)


def _strength(
    mesh: Mesh, tensor: np.ndarray, y: np.ndarray, offset: tuple[int, ...], constant: np.ndarray | None
) -> np.ndarray:
    """The weight of this offset in the decomposition of D at each edge, (m,)."""
    if constant is not None and _linear(mesh):
        some = _in_cells(mesh, constant[None], y[:1])
        return np.full(len(y), _weight_of(some, offset)[0])
    tensor = np.broadcast_to(constant, (len(y), mesh.dim, mesh.dim)) if constant is not None else tensor
    return _weight_of(_in_cells(mesh, tensor, y), offset)


def _weight_of(in_cells: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    dim = in_cells.shape[-1]
    if np.abs(in_cells * (1 - np.eye(dim))).max() <= 1e-14 * np.abs(in_cells).max():
        (i,) = np.flatnonzero(offset) if np.count_nonzero(offset) == 1 else (None,)
        return np.zeros(len(in_cells)) if i is None else in_cells[:, i, i]
    w, e = decompose(in_cells)
    same = (_upward(e.reshape(-1, dim)).reshape(e.shape) == np.array(offset)).all(-1)
    return (w * same).sum(-1)


def _solved(tensor: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """D^-1 v, in the range of D, (n, d)."""
    if tensor.shape[-1] == 1:
        d = tensor.reshape(-1, 1)
        return np.where(d > 0, velocity / np.where(d > 0, d, 1.0), 0.0)
    if np.abs(tensor * (1 - np.eye(tensor.shape[-1]))).max() == 0.0:
        d = np.diagonal(tensor, axis1=-2, axis2=-1)
        return np.where(d > 0, velocity / np.where(d > 0, d, 1.0), 0.0)
    inverse = np.linalg.pinv(tensor, rcond=_RANK, hermitian=True)
    return np.einsum("...ij,...j->...i", inverse, velocity)


def _outside_range(mesh: Mesh, at: AtTime, constant: np.ndarray | None) -> np.ndarray | None:
    """The part of the velocity in y along which D does not spread, at nodes (N, d); None if there is none."""
    if constant is not None and np.linalg.eigvalsh(constant)[0] > _RANK * np.trace(constant):
        return None
    found = at(mesh.x)
    tensor = found.tensor
    rest = found.velocity - np.einsum("nij,nj->ni", tensor, _solved(tensor, found.velocity))
    slope = np.stack([np.exp(a.coordinate.log_slope(mesh.y[:, i])) for i, a in enumerate(mesh.axes)], -1)
    scale = np.abs(found.velocity).max()
    return rest / slope if np.abs(rest).max() > 1e-12 * scale else None


def _matrix(size: int, pieces: list[Pieces]) -> sp.csr_array:
    rows, columns, values = [], [], []
    for start, end, there, back in pieces:
        rows += [end, start]
        columns += [start, end]
        values += [there, back]
    index = np.arange(size)
    exits = sum((np.bincount(c, v, size) for c, v in zip(columns, values, strict=True)), np.zeros(size))
    rows.append(index)
    columns.append(index)
    values.append(-exits)
    return sp.coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
    ).tocsr()


def _without(matrix: sp.csr_array, absorbed: np.ndarray) -> sp.csr_array:
    """What gets to an absorbing node is gone, and nothing comes from there."""
    if not absorbed.any():
        return matrix
    keep = sp.diags_array((~absorbed).astype(float))
    return (keep @ matrix @ keep).tocsr()


__all__ = ["Rates", "assemble"]
