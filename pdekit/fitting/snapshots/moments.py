"""Test functions phi of the state and their images L phi under the generator: what weak equations are made of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from scipy.spatial import KDTree
from torch import Tensor

from pdekit.data.snapshots import Snapshots

_BUMPS = {1: 5, 2: 10}
_MOST = 40
_SAMPLES_EACH = 8  # samples of the smallest snapshot for each function
_CLUSTERED = 5000
_WIDTH = 1.5  # of a bump, in distances to the nearest: narrow ones pass between two snapshots


@dataclass(frozen=True, eq=False)
class TestFunctions:
    """Gaussian bumps exp(-|z - c|^2 / 2 w^2), and z_i and z_i z_j, of the standardised state z.

    Args:
        center: Of the state, (d,).
        scale: Of the state, (d,).
        places: Middles c of the bumps in z, (F_b, d).
        width: w.
        linear: Whether z_i are among them.
        quadratic: Whether z_i z_j are.
    """

    __test__ = False

    center: Tensor
    scale: Tensor
    places: Tensor
    width: float
    linear: bool
    quadratic: bool

    @classmethod
    def placed(cls, data: Snapshots, seed: int = 0) -> "TestFunctions":
        """As many as the samples of the smallest snapshot can bear, spread over where the states are."""
        states, _ = data.pooled()
        d = data.dim
        center, scale = states.mean(0), states.std(0)
        budget = max(d, min(data.counts) // _SAMPLES_EACH)
        quadratic = budget >= 2 * (d + d * (d + 1) // 2)
        spent = d + (d * (d + 1) // 2) * quadratic
        bumps = min(_BUMPS.get(d, min(5 * d, _MOST)), max(budget - spent, 0))
        z = ((states - center) / scale).numpy()
        if bumps < 2:
            return cls(center, scale, states.new_zeros(0, d), 1.0, True, quadratic)
        if d == 1:
            places = np.quantile(z, np.linspace(0.02, 0.98, bumps), axis=0)
        else:
            some = z[np.linspace(0, len(z) - 1, min(len(z), _CLUSTERED)).astype(int)]
            places = kmeans2(some, bumps, minit="++", rng=seed)[0]
            places = places[np.isfinite(places).all(-1)]
        near = np.maximum(KDTree(places).query(places, 2)[0][:, -1].mean(), 0.1)
        return cls(center, scale, torch.from_numpy(places), float(1.2 * near), True, quadratic)

    @property
    def count(self) -> int:
        """F."""
        return len(self.places) + len(self.center) * self.linear + len(self._pairs[0]) * self.quadratic

    @cached_property
    def _pairs(self) -> Tensor:
        return torch.triu_indices(len(self.center), len(self.center))

    def values(self, x: Tensor) -> Tensor:
        """phi(x), (n, F)."""
        z = (x - self.center) / self.scale
        rows, columns = self._pairs
        parts = [self._bumps(z)]
        parts += [z] if self.linear else []
        parts += [z[:, rows] * z[:, columns]] if self.quadratic else []
        return torch.cat(parts, -1)

    def generated(self, x: Tensor, drift: Tensor, tensor: Tensor, bumps: Tensor | None = None) -> Tensor:
        """L phi = f . grad phi + tr(D hess phi), (n, F), for f (n, d) and D (n, d, d) at states x.

        `bumps` are the values of the bumps there, where they are known, (n, F_b).
        """
        z, f = (x - self.center) / self.scale, drift / self.scale
        spread = tensor / (self.scale[:, None] * self.scale)
        rows, columns = self._pairs
        parts = [self._generated_bumps(z, f, spread, self._bumps(z) if bumps is None else bumps)]
        parts += [f] if self.linear else []
        if self.quadratic:
            parts.append(f[:, rows] * z[:, columns] + f[:, columns] * z[:, rows] + 2.0 * spread[:, rows, columns])
        return torch.cat(parts, -1)

    def _bumps(self, z: Tensor) -> Tensor:
        return torch.exp(-0.5 * torch.cdist(z, self.places).square() / self.width**2)

    def _generated_bumps(self, z: Tensor, f: Tensor, spread: Tensor, bumps: Tensor) -> Tensor:
        c, square = self.places, self.width**2
        towards = torch.einsum("nij,nj->ni", spread, z)
        on_row = ((towards / square - f) * z).sum(-1, keepdim=True) - spread.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None]
        mixed = (f - 2.0 * towards / square) @ c.T
        bent = spread.flatten(1) @ (c[:, :, None] * c[:, None, :]).flatten(1).T / square
        return bumps * (on_row + mixed + bent) / square


__all__ = ["TestFunctions"]
