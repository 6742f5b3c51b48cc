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
    n = len(up) + 1
    exit_rate = pad(up, (0, 1)) + pad(down, (1, 0))
    rate = float(exit_rate.detach().max())
    stay, rise, fall = 1.0 - exit_rate / rate, up / rate, down / rate
    portions = max(1, math.ceil(rate * step / _PORTION))
    mean = rate * step / portions
    # A path that gets m cells away makes about sqrt(mean^2 + m^2) jumps in each portion rather than `mean` of them.
    typical = math.hypot(mean, farthest / portions)
    terms = math.ceil(typical + 9.0 * math.sqrt(typical) + 12.0)
    rows = torch.zeros(len(starts), n, dtype=up.dtype)
    rows[torch.arange(len(starts)), starts] = 1.0
    for _ in range(portions):
        power, total, weight = rows, rows * math.exp(-mean), math.exp(-mean)
        for k in range(1, terms + 1):
            power = power * stay + pad(power[:, :-1] * rise, (1, 0)) + pad(power[:, 1:] * fall, (0, 1))
            weight *= mean / k
            total = total + weight * power
        rows = total
    return rows
