"""GMRES for a batch of linear systems, each with its own number of iterations and an estimate of its error."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.nonlinear.equation import Map

_ROUNDING = 50  # times eps: a relative residual that can't shrink further


@dataclass(frozen=True)
class Solved:
    """The solutions of linear systems.

    Args:
        x: (n, m); NaN where something was not finite.
        error: The estimated error of x in the weighted root mean square, (n,); infinite where x is no solution.
        size: The size of x in the same norm, (n,).
        residual: |P (b - A x)| / |P b|, (n,).
    """

    x: Tensor
    error: np.ndarray
    size: np.ndarray
    residual: np.ndarray


def gmres(
    product: Map, right: Tensor, inverse: Map, weights: Tensor, *, rtol: float, atol: np.ndarray | float, most: int
) -> Solved:
    """Solve P A x = P b for each sample, until the error of x is below rtol |x| and below atol.

    A small residual proves little where P A has small singular values: what is left in their directions hardly shows.
    The error is therefore taken as |P (b - A x)| / s, s being the smallest singular value of the Hessenberg matrix,
    that is of P A on the directions so far.

    Args:
        product: v -> A v.
        right: b, (n, m).
        inverse: r -> P r, the preconditioner, on the left.
        weights: The weights of the norm, (n, m).
        rtol: See above.
        atol: See above, a number or (n,).
        most: The most iterations.

    Source: Y. Saad and M. H. Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7 (1986) 856.
    """
    b = inverse(right) * weights  # the basis lives in weighted coordinates: its inner product is that of the norm
    n, m = b.shape
    beta = torch.linalg.vector_norm(b, dim=-1, dtype=torch.float64)
    safe = beta.clamp_min(torch.finfo(torch.float64).tiny)
    allowed = torch.as_tensor(atol, dtype=torch.float64, device=b.device).expand(n) * m**0.5
    basis = b.new_empty(n, most + 1, m)
    basis[:, 0] = b / safe.to(b.dtype).unsqueeze(-1)
    hessenberg = torch.zeros(n, most + 1, most, dtype=torch.float64, device=b.device)
    x = torch.where((beta == 0).unsqueeze(-1), 0.0, torch.nan).to(b.dtype).expand_as(b).clone()
    residual = torch.where(beta == 0, 0.0, 1.0).to(torch.float64)
    error, size = torch.where(beta == 0, 0.0, torch.inf).to(torch.float64), torch.zeros_like(beta)
    running = (beta > 0) & torch.isfinite(beta)
    least = _ROUNDING * torch.finfo(b.dtype).eps
    for k in range(most):
        if not bool(running.any()):
            break
        known = basis[:, : k + 1]
        w = inverse(product(basis[:, k] / weights)) * weights
        for _ in range(2):  # orthogonalising twice is enough
            overlap = known @ w.unsqueeze(-1)
            hessenberg[:, : k + 1, k] += overlap.squeeze(-1).double()
            w = w - (known.mT @ overlap).squeeze(-1)
        length = torch.linalg.vector_norm(w, dim=-1, dtype=torch.float64)
        hessenberg[:, k + 1, k] = length
        basis[:, k + 1] = torch.where(length > 0, 1 / length.clamp_min(1e-300), 0.0).to(w.dtype).unsqueeze(-1) * w
        finite = torch.isfinite(hessenberg[:, : k + 2, k]).all(-1)
        running &= finite  # the others keep what they have: no solution
        hessenberg[~finite] = 0.0
        y, left, square = _least_squares(hessenberg[:, : k + 2, : k + 1])
        long = torch.linalg.vector_norm(y, dim=-1) * safe
        target = torch.minimum(rtol * long, allowed)
        # No entry of a triangle's diagonal is below its smallest singular value, which takes longer to find.
        off = left * safe / square.diagonal(dim1=1, dim2=2).abs().amin(-1)
        if k + 1 == most or bool((running & ((off <= target) | (left <= least) | (length == 0))).any()):
            off = left * safe / torch.linalg.svdvals(square)[:, -1]
        good = (off <= target) | (left <= least)
        finished = running & (good | (k + 1 == most) | (length == 0))
        if bool(finished.any()):
            coefficients = (y * safe.unsqueeze(-1)).to(b.dtype)
            x = torch.where(finished.unsqueeze(-1), (known.mT @ coefficients.unsqueeze(-1)).squeeze(-1), x)
            residual, size = torch.where(finished, left, residual), torch.where(finished, long, size)
            error = torch.where(finished, off.nan_to_num(nan=torch.inf), error)
        running = running & ~finished
    root = m**0.5
    return Solved(x / weights, (error / root).cpu().numpy(), (size / root).cpu().numpy(), residual.cpu().numpy())


def _least_squares(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """min |e_1 - H y|: y, its value, and the triangle R of H = Q R."""
    q, r = torch.linalg.qr(h, mode="complete")
    columns = h.shape[-1]
    first = q[:, 0, :]  # Q^T e_1
    square = r[:, :columns]
    y = torch.linalg.solve_triangular(square, first[:, :columns].unsqueeze(-1), upper=True).squeeze(-1)
    return y, first[:, columns].abs(), square


__all__ = ["Solved", "gmres"]
