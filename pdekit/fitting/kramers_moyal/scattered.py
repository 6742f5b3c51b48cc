"""Every increment as its own site, and nodes in the middle of clusters of states: for three to six states."""

from itertools import pairwise

import numpy as np
import torch

from pdekit.fitting.kramers_moyal.design import Design, kernel
from pdekit.fitting.kramers_moyal.functions import RadialTable
from pdekit.fitting.kramers_moyal.polynomials import monomials
from pdekit.fitting.kramers_moyal.steps import FOLDS

_NODES = 200
_CLUSTERED = 20_000  # states, evenly spaced, among which clusters are looked for
_CHUNK = 4_000_000  # entries of an array


class Scattered(Design):
    """Sites at the increments themselves.

    Args:
        u: Scaled states, (N, d).
        fold: (N,).
        points: The number of nodes; by default 200.
        seed: Of the clusters.
    """

    def __init__(self, u: np.ndarray, fold: np.ndarray, points: int | None, seed: int) -> None:
        from sklearn.cluster import KMeans

        self._order = np.argsort(fold, kind="stable")
        self.position = u[self._order]
        edges = np.searchsorted(fold[self._order], np.arange(FOLDS + 1))
        self.folds = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        some = np.unique(u[:: max(1, len(u) // _CLUSTERED)], axis=0)
        count = min(points or _NODES, len(some) // 2)
        clusters = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(some)  # pyright: ignore[reportArgumentType]
        self.nodes = clusters.cluster_centers_
        self.share = np.bincount(clusters.predict(u), minlength=count) / len(u)
        self.supported = np.ones(len(self.nodes), dtype=bool)
        factor = np.linalg.cholesky(np.cov(u.T))
        self._shape = np.linalg.inv(factor)
        self._shape /= np.linalg.norm(u @ self._shape.T, axis=1).max()
        self._blocks = [
            slice(a, min(a + _CHUNK // count, part.stop))
            for part in self.folds
            for a in range(part.start, part.stop, _CHUNK // count)
        ]
        self._interpolation: np.ndarray | None = None

    def deposit(self, u: np.ndarray, fold: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The columns themselves, fold after fold."""
        return columns[self._order]

    def moments(self, weights: np.ndarray, width: np.ndarray, degree: int, power: int = 1) -> np.ndarray:
        """As in `Design`; monomials of u."""
        out = np.zeros((FOLDS, len(self.nodes), weights.shape[1] * monomials(self.nodes[:1], degree).shape[1]))
        for k, part in enumerate(self.folds):
            for rows in self._blocks:
                if not part.start <= rows.start < part.stop:
                    continue
                site = self.position[rows]
                near = kernel(_squares(self.nodes / width, site / width), power)
                terms = weights[rows, :, None] * monomials(site, degree)[:, None, :]
                out[k] += near @ terms.reshape(len(site), -1)
        return out.reshape(FOLDS, len(self.nodes), weights.shape[1], -1)

    def basis(self, degree: int) -> np.ndarray:
        """The monomials at the nodes."""
        return monomials(self.nodes, degree)

    def at_rows(self, values: np.ndarray) -> np.ndarray:
        """As in `Design`."""
        out = np.empty((len(self.position), values.shape[-1]))
        for k, part in enumerate(self.folds):
            function = self.interpolant(values[min(k, len(values) - 1)])
            for a in range(part.start, part.stop, _CHUNK // len(self.nodes)):
                rows = slice(a, min(a + _CHUNK // len(self.nodes), part.stop))
                out[rows] = function(torch.from_numpy(self.position[rows])).numpy()
        return out

    def interpolant(self, values: np.ndarray) -> RadialTable:
        """As in `Design`."""
        if self._interpolation is None:  # one factorisation for all functions
            self._interpolation = RadialTable.through(
                self.nodes, np.eye(len(self.nodes)), self._shape
            ).coefficients.numpy()
        tables = (self.nodes, self._interpolation @ values, self._shape)
        return RadialTable(*(torch.from_numpy(np.ascontiguousarray(part)) for part in tables))

    def stand_ins(self) -> np.ndarray:
        """Every node has data around."""
        return np.arange(len(self.nodes))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances, (C, n)."""
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    return np.maximum(square, 0.0)


__all__ = ["Scattered"]
