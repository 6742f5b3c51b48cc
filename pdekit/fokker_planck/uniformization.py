"""Rows of a transition kernel by uniformization: slow for whole matrices, but accurate in every entry.

With c at least the largest exit rate, P = I + L / c has no negative entry and exp(L dt) = sum_k Poisson(k; c dt) P^k
is a sum of positive terms (Jensen 1953). Nothing cancels, so that entries of 1e-200 are as accurate as those of order
one, where an eigendecomposition leaves noise of 1e-15.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from pdekit.fokker_planck.spectral import Entries

# exp(-c dt) is applied in portions of this size, so that it does not underflow.
_PORTION = 64.0
# Beyond this many portions whole kernels are squared instead: their number grows with the logarithm of c dt only.
_MOST_PORTIONS = 8


def positive_blocks(up: Tensor, down: Tensor, entries: Entries) -> Tensor:
    """4 x 4 blocks of exp(L dt), shape (n_blocks, 4, 4); rows are starts, columns ends.

    Args:
        up: Rates from cell i to i + 1, (n - 1,), 1/time.
        down: Rates from cell i + 1 to i, (n - 1,), 1/time.
        entries: The blocks wanted.
    """
    offsets = torch.arange(4)
    out = []
    order = []
    for index, step in enumerate(entries.steps.tolist()):
        chosen = (entries.step_index == index).nonzero().flatten()
        starts = entries.rows[chosen, None] + offsets
        distinct, position = torch.unique(starts, return_inverse=True)
        columns = entries.columns[chosen, None] + offsets
        farthest = int((starts[:, :, None] - columns[:, None, :]).abs().max())
        rows = kernel_rows(up, down, distinct, step, farthest)
        out.append(rows[position[:, :, None], columns[:, None, :]])
        order.append(chosen)
    return torch.cat(out)[torch.argsort(torch.cat(order))]


def kernel_rows(up: Tensor, down: Tensor, starts: Tensor, step: float, farthest: int) -> Tensor:
    """Rows of exp(L dt), (len(starts), n), differentiable in the rates.

    Args:
        up: Rates from cell i to i + 1, (n - 1,), 1/time.
        down: Rates from cell i + 1 to i, (n - 1,), 1/time.
        starts: Which rows.
        step: dt > 0.
        farthest: How many cells away entries must still be accurate.
    """
    jump = _JumpMatrix(up, down)
    jumps = jump.rate * step
    rows = torch.zeros(len(starts), len(up) + 1, dtype=up.dtype)
    rows[torch.arange(len(starts)), starts] = 1.0
    if jumps > _PORTION * _MOST_PORTIONS:
        return rows @ _by_squaring(jump, jumps, farthest)
    portions = max(1, math.ceil(jumps / _PORTION))
    for _ in range(portions):
        rows = jump.advance(rows, jumps / portions, farthest / portions)
    return rows


def _by_squaring(jump: "_JumpMatrix", jumps: float, farthest: int) -> Tensor:
    """The whole kernel, (n, n), from that of a step with about one jump; products of positive matrices lose nothing."""
    squarings = math.ceil(math.log2(jumps))
    kernel = torch.eye(len(jump.stay), dtype=jump.stay.dtype)
    kernel = jump.advance(kernel, jumps / 2**squarings, farthest / 2**squarings)
    for _ in range(squarings):
        kernel = kernel @ kernel
    return kernel


class _JumpMatrix:
    """P = I + L / c, tridiagonal without negative entries."""

    def __init__(self, up: Tensor, down: Tensor) -> None:
        exit_rate = pad(up, (0, 1)) + pad(down, (1, 0))
        self.rate = float(exit_rate.detach().max())
        self.stay, self.rise, self.fall = 1.0 - exit_rate / self.rate, up / self.rate, down / self.rate

    def advance(self, rows: Tensor, mean: float, farthest: float) -> Tensor:
        """rows @ sum_k Poisson(k; mean) P^k, (r, n)."""
        # A path that gets m cells away makes about sqrt(mean^2 + m^2) jumps rather than `mean` of them.
        typical = math.hypot(mean, farthest)
        weight = math.exp(-mean)
        power, total = rows, rows * weight
        for k in range(1, math.ceil(typical + 9.0 * math.sqrt(typical) + 12.0) + 1):
            power = power * self.stay + pad(power[:, :-1] * self.rise, (1, 0)) + pad(power[:, 1:] * self.fall, (0, 1))
            weight *= mean / k
            total = total + weight * power
        return total
