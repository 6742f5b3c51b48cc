"""GMRES for a batch of linear systems, each with its own number of iterations."""

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.nonlinear.equation import Map


def gmres(
    product: Map, right: Tensor, inverse: Map, weights: Tensor, *, rtol: np.ndarray, most: int
) -> tuple[Tensor, Tensor]:
    """Solve P A x = P b for each sample, until the residual's weighted norm has shrunk by rtol (n,).

    Args:
        product: v -> A v.
        right: b, (n, m).
        inverse: r -> P r, the preconditioner, on the left.
        weights: The weights of the norm, (n, m).
        rtol: See above.
        most: The most iterations.

    Returns:
        x (n, m), and for each sample the residual relative to P b, (n,).

    Source: Y. Saad and M. H. Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7 (1986) 856.
    """
    b = inverse(right) * weights  # the basis lives in weighted coordinates: its inner product is that of the norm
    n, m = b.shape
    beta = torch.linalg.vector_norm(b, dim=-1, dtype=torch.float64)
    safe = beta.clamp_min(torch.finfo(torch.float64).tiny)
    target = torch.as_tensor(rtol, dtype=torch.float64, device=b.device)
    basis = b.new_empty(n, most + 1, m)
    basis[:, 0] = b / safe.to(b.dtype).unsqueeze(-1)
    hessenberg = torch.zeros(n, most + 1, most, dtype=torch.float64, device=b.device)
    x = torch.zeros_like(b)
    relative = torch.where(beta > 0, 1.0, 0.0).to(torch.float64)
    running = relative > target
    for k in range(most):
        if not bool(running.any()):
            break
        known = basis[:, : k + 1]
        w = inverse(product(basis[:, k] / weights)) * weights
        for _ in range(2):  # orthogonalising twice is enough
            overlap = known @ w.unsqueeze(-1)
            hessenberg[:, : k + 1, k] += overlap.squeeze(-1).double()
            w = w - (known.mT @ overlap).squeeze(-1)
        size = torch.linalg.vector_norm(w, dim=-1, dtype=torch.float64)
        hessenberg[:, k + 1, k] = size
        basis[:, k + 1] = torch.where(size > 0, 1 / size.clamp_min(1e-300), 0.0).to(w.dtype).unsqueeze(-1) * w
        y, residual = _least_squares(hessenberg[:, : k + 2, : k + 1])
        relative = torch.where(running, residual, relative)
        finished = running & ((relative <= target) | (k + 1 == most) | ~torch.isfinite(relative) | (size == 0))
        if bool(finished.any()):
            coefficients = (y * safe.unsqueeze(-1)).to(b.dtype)
            x = torch.where(finished.unsqueeze(-1), (known.mT @ coefficients.unsqueeze(-1)).squeeze(-1), x)
        running = running & ~finished
    return x / weights, relative


def _least_squares(h: Tensor) -> tuple[Tensor, Tensor]:
    """min |e_1 - H y| and its value."""
    q, r = torch.linalg.qr(h, mode="complete")
    columns = h.shape[-1]
    first = q[:, 0, :]  # Q^T e_1
    y = torch.linalg.solve_triangular(r[:, :columns], first[:, :columns].unsqueeze(-1), upper=True).squeeze(-1)
    return torch.nan_to_num(y), first[:, columns].abs()


__all__ = ["gmres"]
