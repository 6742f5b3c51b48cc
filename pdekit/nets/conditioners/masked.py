"""The masked conditioner: two autoregressive streams in blocks, so that width is not paid for once per dimension."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdekit.nets.activation import Activation, check_activation, gain
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count, counts
from pdekit.nets.masked_linear import MaskedLinear, Sources, seen_by_all
from pdekit.nets.modulation import Modulation, ModulationKind


@dataclass(frozen=True)
class MaskedConditioner:
    """Two masked autoregressive networks, one in natural and one in reversed order, read together at each dimension.

    A unit of degree m sees the entries before position m and feeds units of degree m or more. h_i is a linear map of

        the natural stream's units of degree <= i (they have seen x_j, j < i),
        the reversed stream's units that have seen x_j, j > i only,   and every x_j itself but x_i,

    so that h_i sees all other entries, at any depth. The direct x_j matter: without them products of neighbours are
    hard to learn. A plain mask wants at least d units in every layer and d^2 weights between two of them, half of which
    are zeros. Here the dimensions lie in ordered blocks, each with layers of its own; what a layer knows of the blocks
    before it is `rank` numbers, the normalised sum of one linear map of each of them. Weights grow linearly in d, and
    so does the cost until that sum, rank (d / block)^2, takes over beyond d = 10,000. `block=d` with hidden layers
    of at least d units is the plain mask.

    Args:
        features: The number of features per dimension.
        hidden: The number of units per block and stream in each hidden layer.
        block: The number of dimensions in a block, at most; a block is never longer than the narrowest layer is wide,
            because some dimension would be overlooked.
        rank: How many numbers a layer knows of all earlier blocks.
        activation: Of the hidden layers, see `Activation`.
        modulation: How z enters the hidden layers, see `Modulation`; all blocks share it.

    Raises:
        ModelError: If an option is not of this kind.

    Source: the masks are those of M. Germain et al., MADE: masked autoencoder for distribution estimation, ICML 2015,
    arXiv 1502.03509; two of them as a hollow network: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap
    differential operators, NeurIPS 2019, arXiv 1912.03579.

    Example:
        >>> import torch
        >>> conditioner = MaskedConditioner(features=4).build(dim=100)
        >>> x = torch.zeros(5, 100)
        >>> moved = x.clone()
        >>> moved[:, 50] = 1e30
        >>> same = (conditioner(x) == conditioner(moved)).all(-1).all(0)
        >>> bool(same[50]), int(same.sum())
        (True, 1)
    """

    features: int = 8
    hidden: tuple[int, ...] = (64, 64)
    block: int = 32
    rank: int = 16
    activation: str = "silu"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        check_count("features", self.features)
        object.__setattr__(self, "hidden", counts("hidden", self.hidden))
        check_count("block", self.block)
        check_count("rank", self.rank)
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    def build(self, dim: int, conditioning_dim: int = 0) -> "MaskedConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        return MaskedConditionerModule(self, dim, conditioning_dim)


class MaskedConditionerModule(Conditioner):
    """The network that `MaskedConditioner` describes.

    Inside, both streams are worked on at once as (2 blocks, n, units): first the natural one's blocks, then those of
    the reversed one, which is the natural one of x reversed. `length` is the number of dimensions in a block; the last
    block may end in zeros that no dimension sees.
    """

    def __init__(self, options: MaskedConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        self.blocks = -(-dim // min(options.block, *options.hidden))
        self.length = -(-dim // self.blocks)
        rank = options.rank if self.blocks > 1 else 0
        entries = torch.arange(self.length) + 1
        degrees = [entries, *(torch.arange(width) * self.length // width for width in options.hidden)]
        gains = [1.0] + [gain(options.activation)] * len(options.hidden)
        self.layers = nn.ModuleList(
            CausalLayer(self.blocks, source, target, rank, scale)
            for (source, target), scale in zip(pairwise(degrees), gains, strict=False)
        )
        self.modulations = nn.ModuleList(
            Modulation(width, conditioning_dim, options.modulation) for width in options.hidden
        )
        self.activation = Activation(options.activation)
        self.readout = Readout(self.blocks, degrees[-1], self.length, rank, options.features, gains[-1])

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        padded = F.pad(x.reshape(-1, self.dim), (0, self.blocks * self.length - self.dim))
        one_way = padded.unflatten(-1, (self.blocks, self.length)).transpose(0, 1)
        entries = a = torch.cat([one_way, one_way.flip(0, 2)])
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            a = self.activation(self._modulated(modulation, layer(a), z))
        h = self.readout(a, entries)[:, : self.dim]
        return h.reshape(*x.shape, self.features)

    def _modulated(self, modulation: nn.Module, a: Tensor, z: Tensor | None) -> Tensor:
        if self.conditioning_dim == 0:
            return a
        rows = None if z is None else z.reshape(-1, self.conditioning_dim)
        return modulation(a.transpose(0, 1), rows).transpose(0, 1)


class CausalLayer(nn.Module):
    """A linear layer of both streams whose units see sources of at most their own degree, and all earlier blocks.

    Args:
        blocks: The number of blocks.
        source: The degree of each source in a block.
        target: The degree of each unit in a block.
        rank: The number of features that summarise the earlier blocks; 0 if there is one block.
        scale: The gain of the activation that the sources come from.
    """

    def __init__(self, blocks: int, source: Tensor, target: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.earlier = EarlierBlocks(blocks, [(len(source), scale)], rank) if rank else None
        own = Sources(source.unsqueeze(-1) <= target, scale)
        self.linear = MaskedLinear(2 * blocks, [own, seen_by_all(rank, len(target))])

    def forward(self, a: Tensor) -> Tensor:
        """Pre-activations (2 blocks, n, units) of a (2 blocks, n, sources)."""
        return self.linear(a if self.earlier is None else torch.cat([a, self.earlier(a)], dim=-1))


class Readout(nn.Module):
    """The linear map from both streams and from the entries themselves to the features of each dimension.

    Args:
        blocks: The number of blocks.
        source: The degree of each unit in a block.
        length: The number of dimensions in a block.
        rank: The number of features that summarise the earlier (later) blocks; 0 if there is one block.
        features: The number of features per dimension.
        scale: The gain of the activation.
    """

    def __init__(self, blocks: int, source: Tensor, length: int, rank: int, features: int, scale: float) -> None:
        super().__init__()
        self.blocks, self.length, self.features = blocks, length, features
        self.earlier = EarlierBlocks(blocks, [(len(source), scale), (length, 1.0)], rank) if rank else None
        before = source.unsqueeze(-1) <= torch.arange(length).repeat_interleave(features)
        behind = source.unsqueeze(-1) <= torch.arange(length).flip(0).repeat_interleave(features)
        others = ~torch.eye(length, dtype=torch.bool).repeat_interleave(features, dim=-1)
        outside = seen_by_all(rank, length * features)
        self.linear = MaskedLinear(
            blocks, [Sources(before, scale), outside, Sources(behind, scale), outside, Sources(others)]
        )

    def forward(self, a: Tensor, entries: Tensor) -> Tensor:
        """Features (n, blocks * length, features) of units and entries (2 blocks, n, ...) of both streams."""
        if self.earlier is not None:
            a = torch.cat([a, self.earlier(torch.cat([a, entries], dim=-1))], dim=-1)
        sources = torch.cat([a[: self.blocks], a[self.blocks :].flip(0), entries[: self.blocks]], dim=-1)
        h = self.linear(sources).transpose(0, 1)
        return h.reshape(-1, self.blocks * self.length, self.features)


class EarlierBlocks(nn.Module):
    """What a block may know of those before it: s_b = b^(-1/2) sum over c < b of W_c a_c, in R^rank.

    Args:
        blocks: The number of blocks, at least 2.
        sources: For each kind of source in a block, how many there are and the gain that they need.
        rank: The length of s_b.
    """

    weights: Tensor

    def __init__(self, blocks: int, sources: Sequence[tuple[int, float]], rank: int) -> None:
        super().__init__()
        self.linear = MaskedLinear(
            2 * blocks, [seen_by_all(count, rank, scale) for count, scale in sources], bias=False
        )
        weights = torch.ones(blocks, blocks).tril(-1) / torch.arange(blocks).clamp(min=1).sqrt().unsqueeze(-1)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, a: Tensor) -> Tensor:
        """Summaries (2 blocks, n, rank) of a (2 blocks, n, sources)."""
        s = self.linear(a)
        # What overflowed, here or in the next layer, would reach other blocks as 0 * inf = NaN. A running sum takes ten
        # times as long.
        limit = torch.finfo(s.dtype).max ** 0.75
        s = s.clamp(-limit, limit)
        blocks, rows = len(self.weights), s.shape[1] * s.shape[2]
        return torch.matmul(self.weights, s.reshape(2, blocks, rows)).reshape(s.shape)


__all__ = ["MaskedConditioner", "MaskedConditionerModule"]
