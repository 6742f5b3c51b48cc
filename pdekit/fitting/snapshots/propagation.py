"""Masses of a chain of cells at many times: from one eigendecomposition, or by sums of positive terms.

exp(A t_k) v for a symmetric tridiagonal A has an exact backward pass. With A = U diag(lam) U^T and a loss with gradient
g_k in the k-th result, the gradient in v is sum_k exp(A t_k) g_k, and that in A is
U (sum_k F_k * (U^T g_k)(U^T v)^T) U^T with the divided differences F_k of exp(lam t_k); see
`pdekit.fokker_planck.spectral`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from pdekit.errors import NumericalError
from pdekit.fokker_planck.spectral import decompose

# Eigenvalues closer than this (times t) are divided as a derivative.
_CLOSE = 1e-5
# exp(-c t) is applied in portions of this size, so that it does not underflow.
_PORTION = 64.0
_MOST_JUMPS = 20_000.0
_FARTHEST = 30.0  # cells that mass crosses within a portion, where more can't be noticed


def propagate(diagonal: Tensor, off_diagonal: Tensor, start: Tensor, times: Tensor) -> Tensor:
    """exp(A t_k) v, (K, n), differentiable in A and v.

    Args:
        diagonal: The diagonal of A, (n,), 1/time.
        off_diagonal: Its off-diagonal, (n - 1,), 1/time.
        start: v, (n,).
        times: t_k >= 0, (K,).

    Raises:
        NumericalError: If the decomposition does not converge or A is not finite.
    """
    return _Propagate.apply(diagonal, off_diagonal, start, times)[0]  # type: ignore[no-any-return]


def propagate_positive(up: Tensor, down: Tensor, mass: Tensor, times: Tensor) -> Tensor:
    """Masses at every time, (K, n), by uniformization: slow, but accurate in every entry however small.

    Args:
        up: Rates from cell i to i + 1, (n - 1,), 1/time.
        down: Rates from cell i + 1 to i, (n - 1,), 1/time.
        mass: At time zero, (n,).
        times: t_k >= 0, increasing, (K,).

    Raises:
        NumericalError: If the rates are so large that it would take for ever.
    """
    exits = pad(up, (0, 1)) + pad(down, (1, 0))
    fastest = float(exits.detach().max())
    if not fastest * float(times[-1]) < _MOST_JUMPS:
        raise NumericalError("The rates of the grid are too large for masses to be followed jump by jump.")
    stay, rise, fall = 1.0 - exits / fastest, up / fastest, down / fastest
    found, before = [], 0.0
    for t in times.tolist():
        jumps = fastest * (t - before)
        portions = max(1, math.ceil(jumps / _PORTION))
        for _ in range(portions):
            mass = _after(mass, stay, rise, fall, jumps / portions)
        found.append(mass)
        before = t
    return torch.stack(found)


def _after(mass: Tensor, stay: Tensor, rise: Tensor, fall: Tensor, mean: float) -> Tensor:
    """sum_k Poisson(k; mean) (I + Q / c)^k mass."""
    typical = math.hypot(mean, _FARTHEST)
    weight = math.exp(-mean)
    power, total = mass, mass * weight
    for k in range(1, math.ceil(typical + 9.0 * math.sqrt(typical)) + 1):
        power = power * stay + pad(power[:-1] * rise, (1, 0)) + pad(power[1:] * fall, (0, 1))
        weight *= mean / k
        total = total + weight * power
    return total


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(diagonal: Tensor, off_diagonal: Tensor, start: Tensor, times: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        values, vectors = decompose(diagonal.detach(), off_diagonal.detach())
        spectral = vectors.T @ start
        return (torch.exp(times[:, None] * values) * spectral) @ vectors.T, values, vectors, spectral

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, values, vectors, spectral = output
        ctx.mark_non_differentiable(values, vectors, spectral)
        ctx.save_for_backward(inputs[3], values, vectors, spectral)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor, *_: Tensor):
        times, values, vectors, spectral = ctx.saved_tensors
        turned = gradient @ vectors
        decay = torch.exp(times[:, None] * values)
        at_start = vectors @ (decay * turned).sum(0)
        gaps = values[:, None] - values[None, :]
        # sum_k g_kl (e^(lam_l t_k) - e^(lam_m t_k)) / (lam_l - lam_m) v_m, and the limit where the two meet.
        apart = (decay * turned).sum(0)[:, None] - turned.T @ decay
        mean = 0.5 * (values[:, None] + values[None, :])
        near = gaps.abs() * times.max() < _CLOSE
        quotient = apart / torch.where(near, torch.ones_like(gaps), gaps)
        rows, columns = near.nonzero(as_tuple=True)
        limit = (times[:, None] * torch.exp(times[:, None] * mean[rows, columns]) * turned[:, rows]).sum(0)
        quotient[rows, columns] = limit
        right = vectors @ (quotient * spectral[None, :])
        on_diagonal = (right * vectors).sum(-1)
        off_diagonal = (right[:-1] * vectors[1:]).sum(-1) + (right[1:] * vectors[:-1]).sum(-1)
        return on_diagonal, off_diagonal, at_start, None


__all__ = ["propagate", "propagate_positive"]
