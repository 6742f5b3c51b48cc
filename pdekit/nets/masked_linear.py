"""Linear maps, one per block, whose units see what a mask lets through."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Sources(NamedTuple):
    """Inputs of one kind: which units see them, (inputs, units), and the gain that gives their sum unit variance."""

    seen: Tensor
    gain: float = 1.0


def seen_by_all(count: int, units: int, gain: float = 1.0) -> Sources:
    """Inputs that no unit is kept from."""
    return Sources(torch.ones(count, units, dtype=torch.bool), gain)


class MaskedLinear(nn.Module):
    """y_b = (W_b * M) a_b + beta_b for each block b, with one mask M for all.

    A mask hides inputs exactly, to the bit, as long as they are finite. Every kind of input that a unit sees starts
    with the same share of its unit variance, however many there are of each: few are not drowned by many.

    Args:
        blocks: The number of blocks.
        sources: The inputs by kind, in the order in which they come.
        bias: Whether there is a beta_b.
    """

    mask: Tensor

    def __init__(self, blocks: int, sources: Sequence[Sources], *, bias: bool = True) -> None:
        super().__init__()
        counts = torch.stack([seen.sum(0) for seen, _ in sources])
        kinds = (counts > 0).sum(0).clamp(min=1)
        stds = [
            (gain / (kinds * count.clamp(min=1)).sqrt()).expand(seen.shape)
            for (seen, gain), count in zip(sources, counts, strict=True)
        ]
        std = torch.cat(stds)
        self.weight = nn.Parameter(torch.randn(blocks, *std.shape) * std)
        self.bias = None
        if bias:
            width = counts.sum(0).clamp(min=1).rsqrt()
            self.bias = nn.Parameter((2 * torch.rand(blocks, 1, std.shape[1]) - 1) * width)
        mask = torch.cat([seen for seen, _ in sources])
        # A number, because filling by a mask of truth values takes ten times as long on CPUs.
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)

    def forward(self, a: Tensor) -> Tensor:
        """Values (blocks, n, units) of inputs (blocks, n, inputs)."""
        weight = self.weight * self.mask
        return torch.bmm(a, weight) if self.bias is None else torch.baddbmm(self.bias, a, weight)


__all__ = ["MaskedLinear", "Sources", "seen_by_all"]
