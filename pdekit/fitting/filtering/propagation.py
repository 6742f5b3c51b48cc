"""Laws on a grid, carried by the Fokker-Planck equation: many rows at once, each over a step of its own.

exp(A dt) = U exp(lam dt) U^T acts on rows without being formed, so that irregular steps cost no more than equal ones,
and modes that die within the shortest step are left out. The gradient in A is U (F * (U^T G U)) U^T with the divided
differences F of Daleckii and Krein, summed over all steps of a record before the one product with U. In the backward
pass a mode that was left out still stands beside those kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.fokker_planck.spectral import decompose

# exp(-40) is below rounding.
_DEAD = -40.0
# As in the spectral kernel: eigenvalues this close (times dt) are divided as a derivative.
_CLOSE = 1e-3


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A decomposed generator.

    Attributes:
        values: The eigenvalues kept, (m,).
        vectors: Their eigenvectors, (N, m).
        close: Pairs (2, c) of kept eigenvalues too close for a quotient.
        sink: Three zeros through which the steps hand their share of the gradient back.
    """

    values: Tensor
    vectors: Tensor
    close: Tensor
    sink: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, diagonal: Tensor, off_diagonal: Tensor, shortest: float, longest: float) -> "Spectrum":
        """Decomposes a symmetric tridiagonal matrix, (N,) and (N - 1,), for steps between these."""
        values, vectors = decompose(diagonal.detach(), off_diagonal.detach())
        kept = values * shortest > _DEAD
        gaps = values[kept][:, None] - values[kept][None]
        close = torch.stack((gaps.abs() * longest < _CLOSE).nonzero(as_tuple=True))
        plan = _Plan(values, vectors, kept, close)
        sink = _Decomposition.apply(diagonal, off_diagonal, plan)
        return cls(values[kept], vectors[:, kept].contiguous(), close, sink)  # type: ignore[arg-type]

    def carry(self, rows: Tensor, steps: Tensor) -> Tensor:
        """exp(A dt_r) applied to each row (R, N) over its step (R,)."""
        return _Carry.apply(rows, steps, self.values, self.vectors, self.close, *self.sink)  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class _Plan:
    values: Tensor
    vectors: Tensor
    kept: Tensor
    close: Tensor


class _Decomposition(torch.autograd.Function):
    """Has no value of its own: turns what `_Carry` gathers into the gradient in the entries of A."""

    @staticmethod
    def forward(ctx, diagonal: Tensor, off_diagonal: Tensor, plan: _Plan):  # type: ignore[override]
        ctx.plan = plan
        n, m = len(plan.values), int(plan.kept.sum())
        return diagonal.new_zeros(m, n), diagonal.new_zeros(n, m), diagonal.new_zeros(plan.close.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, ahead: Tensor, behind: Tensor, at_close: Tensor):  # type: ignore[override]
        plan: _Plan = ctx.plan
        values, vectors, kept = plan.values, plan.vectors, plan.kept
        gaps = values[:, None] - values[None]
        total = torch.zeros_like(vectors)
        total[kept] += ahead @ vectors
        total[:, kept] -= vectors.T @ behind
        total /= torch.where(gaps == 0, torch.ones_like(gaps), gaps)
        position = kept.nonzero().flatten()
        total[position[plan.close[0]], position[plan.close[1]]] = at_close
        turned = vectors @ total
        off_diagonal = (turned[:-1] * vectors[1:]).sum(-1) + (turned[1:] * vectors[:-1]).sum(-1)
        return (turned * vectors).sum(-1), off_diagonal, None


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, steps, values, vectors, close, *sink):  # type: ignore[override]
        ctx.save_for_backward(rows, steps, values, vectors, close)
        return ((rows @ vectors) * torch.exp(values * steps[:, None])) @ vectors.T

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):  # type: ignore[override]
        rows, steps, values, vectors, close = ctx.saved_tensors
        decay = torch.exp(values * steps[:, None])
        left, right = rows @ vectors, gradient @ vectors
        carried = right * decay
        mean = 0.5 * (values[close[0]] + values[close[1]])
        derivative = steps[:, None] * torch.exp(mean * steps[:, None])
        at_close = (left[:, close[0]] * right[:, close[1]] * derivative).sum(0)
        return (
            *(carried @ vectors.T, None, None, None, None),
            *((left * decay).T @ gradient, rows.T @ carried, at_close),
        )


__all__ = ["Spectrum"]
