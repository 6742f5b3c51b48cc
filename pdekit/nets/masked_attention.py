"""Attention in which forbidden pairs do not exist, and whose scale does not depend on how many sources there are."""

import torch
from torch import Tensor, nn

from pdekit.nets.activation import Activation, gain, initialise
from pdekit.nets.modulation import Modulation, ModulationKind
from pdekit.nets.pointwise import pointwise


class MaskedAttention(nn.Module):
    """Multi-head attention from queries r_i to sources s_j, where blocked pairs get the weight 0 exactly.

        a_ij = softmax over allowed j of (Q r_i . K s_j / sqrt(width / heads)),   v_j = V (g_j * s_j),
        o_i  = O (sum_j a_ij v_j / sqrt(sum_j a_ij^2)).

    A weighted mean of n independent values varies by the root of sum_j a_ij^2 (one over Kish's effective sample size),
    which is 1 / sqrt(n) for even weights; divided by that root it keeps its scale at any n. The position gates g_j
    start out normal with mean zero, so that what all sources have in common does not add up to sqrt(n) of it.

    Softmax is written out: the fused kernels have no second derivative on CPUs. Blocked scores are replaced, not added
    to, so that no query receives so much as a rounding error from a source it must not see.

    Args:
        width: The number of features of queries, sources and outputs.
        heads: The number of heads; it divides `width`.
        blocked: (queries, sources), true where a query must not see a source. Every query must see one source at least.

    Source: A. Vaswani et al., Attention is all you need, NeurIPS 2017; L. Kish, Survey sampling, 1965, for the
    effective sample size.
    """

    blocked: Tensor

    def __init__(self, width: int, heads: int, blocked: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("blocked", blocked, persistent=False)
        self.gates = nn.Parameter(torch.randn(blocked.shape[1], width))
        # Biases of keys cancel in the softmax; biases of values are common to all sources.
        self.query, self.out = initialise(nn.Linear(width, width)), initialise(nn.Linear(width, width))
        self.key, self.value = (initialise(nn.Linear(width, width, bias=False)) for _ in range(2))

    def forward(self, queries: Tensor, sources: Tensor) -> Tensor:
        """Outputs (*batch, n, width) for queries (*batch, n, width) and sources (*batch, m, width)."""
        q, k = self._split(self.query(queries)), self._split(self.key(sources))
        v = self._split(self.value(self.gates * sources))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = torch.softmax(scores.masked_fill(self.blocked, -torch.inf), dim=-1)
        weights = weights / weights.square().sum(-1, keepdim=True).sqrt()
        return self.out((weights @ v).transpose(-2, -3).flatten(-2))

    def _split(self, features: Tensor) -> Tensor:
        return features.unflatten(-1, (self.heads, -1)).transpose(-2, -3)


class AttentionBlock(nn.Module):
    """One transformer layer: r <- r + attention(norm(r), sources), then r <- r + network(norm(r), z), pointwise.

    Args:
        width: The number of features.
        heads: The number of heads.
        blocked: See `MaskedAttention`.
        conditioning_dim: The length of z.
        activation: Of the pointwise network.
        modulation: How z enters the pointwise network.

    Source: R. Xiong et al., On layer normalization in the transformer architecture, ICML 2020 (norm before the layer).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        blocked: Tensor,
        conditioning_dim: int,
        activation: str,
        modulation: ModulationKind,
    ) -> None:
        super().__init__()
        self.norm_attention, self.norm_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MaskedAttention(width, heads, blocked)
        self.first = initialise(nn.Linear(width, 2 * width))
        self.modulation = Modulation(2 * width, conditioning_dim, modulation)
        self.network = pointwise((2 * width,), activation)
        self.last = initialise(nn.Linear(2 * width, width), gain(activation))

    def forward(self, r: Tensor, z: Tensor | None, sources: Tensor | None = None) -> Tensor:
        """The new r (*batch, n, width); sources (*batch, m, width) are norm(r) itself if none are given."""
        queries = self.norm_attention(r)
        r = r + self.attention(queries, queries if sources is None else sources)
        return r + self.last(self.network(self.modulation(self.first(self.norm_network(r)), z)))


class Tokens(nn.Module):
    """A vector for each state and one that stands for nothing, in front: e_0 = b, e_j = W activation(s_j x_j + p_j).

    With that first vector a query that may see no state still sees something.

    Args:
        dim: The number of states d.
        width: The number of features.
        activation: Its name.
    """

    def __init__(self, dim: int, width: int, activation: str) -> None:
        super().__init__()
        self.empty = nn.Parameter(torch.randn(1, width) / 2)
        self.slopes = nn.Parameter(torch.randn(dim, width))
        self.positions = nn.Parameter(torch.randn(dim, width) / 2)
        self.activation = Activation(activation)
        self.out = initialise(nn.Linear(width, width), gain(activation))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (*batch, d + 1, width) of x (*batch, d)."""
        tokens = self.out(self.activation(self.slopes * x.unsqueeze(-1) + self.positions))
        return torch.cat([self.empty.expand(*x.shape[:-1], 1, -1), tokens], dim=-2)


__all__ = ["AttentionBlock", "MaskedAttention", "Tokens"]
