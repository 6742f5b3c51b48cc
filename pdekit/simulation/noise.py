"""Brownian increments from a seed, drawn in blocks that stay in the processor's cache."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

# Normals per block (2 MB in float64), and steps per block at most: the states of a block are alive together.
# Both are part of what a seed means: changing them changes every simulation.
_BLOCK = 2**18
_LONGEST = 2**12


@dataclass(frozen=True)
class Increments:
    """Increments of m Brownian motions over n steps.

    Args:
        dw: W(t + h) - W(t), shape (n, paths, m).
        dz: The integral of W(s) - W(t) over the step, I_(1,0), of the same shape; None where a scheme needs none.
    """

    dw: Tensor
    dz: Tensor | None

    def coarsened(self, h: float) -> "Increments":
        """The same Brownian paths seen with steps twice as long; `h` is the present step. Needs an even n."""
        dw = self.dw[0::2] + self.dw[1::2]
        dz = None if self.dz is None else self.dz[0::2] + self.dz[1::2] + h * self.dw[0::2]
        return Increments(dw, dz)


class BrownianStream:
    """The Brownian motions that belong to a seed, block after block.

    The stream depends on the seed, the number of paths, states, motions and draws, the dtype and the kind of device;
    not on the number of threads, the step, or which times are kept.

    Args:
        seed: Seed of the generator.
        paths: Number of independent copies.
        motions: Number m of Brownian motions per path.
        integrals: Whether `dz` is needed besides `dw`.
        like: The state (paths, d): increments take its dtype and device, and blocks of either fit the cache.
    """

    def __init__(self, seed: int, paths: int, motions: int, *, integrals: bool, like: Tensor) -> None:
        self.draws = 2 if integrals else 1
        self.shape = (paths, motions)
        self.like = like.detach()
        self.generator = torch.Generator(device=like.device).manual_seed(seed)
        self.block_length = min(_LONGEST, max(1, _BLOCK // max(self.draws * paths * motions, like.numel())))

    def draw(self, h: Tensor) -> Increments:
        """Increments over the next steps, of lengths `h` (n,)."""
        z = self.like.new_empty((len(h), self.draws, *self.shape)).normal_(generator=self.generator)
        # Row by row: one product over the block would wake torch's other threads, which on busy cores costs more.
        for row, length in zip(z.unbind(), h.tolist(), strict=True):
            row.mul_(sqrt(length))
            if self.draws == 2:
                # Kloeden & Platen, (10.4.3): dz = h^(3/2) (z1 + z2/sqrt(3)) / 2.
                row[1].mul_(1 / sqrt(3)).add_(row[0]).mul_(length / 2)
        return Increments(z[:, 0], z[:, 1] if self.draws == 2 else None)
