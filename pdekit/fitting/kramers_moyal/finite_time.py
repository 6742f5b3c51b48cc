"""From moments over a finite step to drift and diffusion tensor in the limit dt -> 0.

Over a step, mean m and covariance P of the process from x follow m' = E f, P' = E[(X - m) f^T] + (transposed) + 2 E D.
With expectations over the normal law of that mean and covariance, in 2 d points of equal weight, this is exact for
linear systems, and right to second order in dt in general, that is one order more than f dt and 2 D dt. The pair (f, D)
whose moments are the ones observed is found by fixed-point iteration: the finite-time corrections of Gottschall and
Peinke (2008), New J. Phys. 10, and Honisch and Friedrich (2011), Phys. Rev. E 83, without derivatives of estimates.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.fitting.kramers_moyal.design import Design
from pdekit.fitting.kramers_moyal.functions import Interpolant

_SUBSTEPS = 2
_ITERATIONS = 12
# What is left relative to the observed moments, averaged over the data. The iteration undoes a smoothing by the step's
# own noise, so that in the end it blows up what is rough: it stops where the rest no longer falls.
_ENOUGH, _TOLERATED, _FALLING = 1e-4, 0.02, 0.7


@dataclass(frozen=True, eq=False)
class Limit:
    """Drift (C, d) and diffusion tensor (C, d, d) at the nodes, brought to dt -> 0.

    Attributes:
        drift: f.
        tensor: D.
        residual: By how much its moments over the step still miss the observed ones, relative to their size.
    """

    drift: np.ndarray
    tensor: np.ndarray
    residual: float

    @property
    def converged(self) -> bool:
        """Whether the observed moments were met; otherwise the step is too coarse."""
        return self.residual < _TOLERATED


def log_cholesky(tensor: np.ndarray) -> np.ndarray:
    """Tensors (C, d, d) to the entries of L, L L^T = 2 D, diagonal first, as logarithms, (C, d (d + 1) / 2)."""
    factor = np.linalg.cholesky(2.0 * tensor)
    dim = tensor.shape[-1]
    i, j = np.tril_indices(dim, -1)
    return np.concatenate([np.log(np.diagonal(factor, axis1=-2, axis2=-1)), factor[:, i, j]], -1)


def factor_from(entries: Tensor, dim: int) -> Tensor:
    """L (n, d, d), lower triangular, from the entries of `log_cholesky`; of diagonal noise d entries are enough."""
    factor = torch.diag_embed(entries[:, :dim].exp())
    if entries.shape[1] > dim:
        i, j = np.tril_indices(dim, -1)
        lower = torch.zeros_like(factor)
        lower[:, i, j] = entries[:, dim:]
        factor = factor + lower
    return factor


def moments(
    drift: Interpolant, noise: Interpolant, pull: np.ndarray, x: np.ndarray, step: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(E X - x) / dt for the first of two steps, and Cov X / (2 dt) for the second, from states x (C, d)."""
    start, kappa = torch.from_numpy(x), torch.from_numpy(pull)
    dim = x.shape[1]
    axes = np.sqrt(dim) * torch.eye(dim, dtype=torch.float64)
    points = torch.cat([axes, -axes])

    def slopes(m: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(p)
        root = vectors * values.clamp_min(0.0).sqrt()[:, None, :]
        offset = points @ root.transpose(1, 2)
        flat = (m[:, None] + offset).reshape(-1, dim)
        inside = drift.within_reach(flat)
        f = (drift(inside) - kappa * (flat - inside)).reshape(offset.shape)
        factor = factor_from(noise(inside), dim)
        cross = offset.transpose(1, 2) @ f / len(points)
        added = (factor @ factor.transpose(1, 2)).reshape(len(m), -1, dim, dim).mean(1)
        return f.mean(1), cross + cross.transpose(1, 2) + added

    def over(dt: float) -> tuple[Tensor, Tensor]:
        h = dt / _SUBSTEPS
        m, p = start, start.new_zeros(len(x), dim, dim)
        for _ in range(_SUBSTEPS):
            a = slopes(m, p)
            b = slopes(m + 0.5 * h * a[0], p + 0.5 * h * a[1])
            c = slopes(m + 0.5 * h * b[0], p + 0.5 * h * b[1])
            d = slopes(m + h * c[0], p + h * c[1])
            m = m + h / 6.0 * (a[0] + 2.0 * b[0] + 2.0 * c[0] + d[0])
            p = p + h / 6.0 * (a[1] + 2.0 * b[1] + 2.0 * c[1] + d[1])
        return m, p

    first, second = step
    m, p = over(first)
    if second != first:
        p = over(second)[1]
    return ((m - start) / first).numpy(), (p / (2.0 * second)).numpy()


def bring_to_limit(
    design: Design,
    drift: np.ndarray,
    tensor: np.ndarray,
    pull: np.ndarray,
    step: tuple[float, float],
    share: np.ndarray,
) -> Limit:
    """Finds the drift and tensor whose moments over a step are `drift` (C, d) and `tensor` (C, d, d).

    Args:
        design: Its nodes.
        drift: E[dX] / dt at the nodes.
        tensor: Cov[dX] / (2 dt) at the nodes.
        pull: Toward the data, beyond their reach, (d,).
        step: The steps that first and second moments were taken over.
        share: Of the data at each node, (C,).
    """
    diagonal = not tensor[:, ~np.eye(tensor.shape[-1], dtype=bool)].any()
    dim, stand_in = drift.shape[1], design.stand_ins()
    size = np.sqrt(share @ drift**2 + share @ np.diagonal(tensor, axis1=1, axis2=2))  # of either, in units of f
    share = np.where(design.supported, share, 0.0)
    share = share / share.sum()
    wanted = np.linalg.cholesky(tensor)
    best = Limit(drift, tensor, np.inf)
    f, d = drift, tensor
    for _ in range(_ITERATIONS):
        entries = log_cholesky(d)
        functions = design.interpolant(f), design.interpolant(entries[:, :dim] if diagonal else entries)
        first, second = moments(*functions, pull, design.nodes, step)
        second = second * np.eye(dim) if diagonal else second
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            break
        try:
            ratio = wanted @ np.linalg.inv(np.linalg.cholesky(second))
        except np.linalg.LinAlgError:
            break
        miss, missed = drift - first, np.abs(np.diagonal(tensor - second, axis1=1, axis2=2))
        residual = max(
            np.max(np.sqrt(share @ miss**2) / size),
            np.max(share @ missed / (share @ np.diagonal(tensor, axis1=1, axis2=2))),
        )
        before = best.residual
        if residual < before:
            best = Limit(f, d, float(residual))
        if residual < _ENOUGH or not residual < _FALLING * before:
            break
        # Nodes without data go along with those that stand in for them.
        f, d = f + miss[stand_in], ratio[stand_in] @ d @ np.swapaxes(ratio[stand_in], 1, 2)
    return best


__all__ = ["Limit", "bring_to_limit", "factor_from", "log_cholesky", "moments"]
