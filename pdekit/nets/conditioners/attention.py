"""Attention to all other dimensions: what matters to one dimension is looked up among the others by content."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from pdekit.nets.activation import check_activation, initialise
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count, check_heads
from pdekit.nets.masked_attention import AttentionBlock, Tokens
from pdekit.nets.modulation import Modulation, ModulationKind


@dataclass(frozen=True)
class AttentionConditioner:
    """Layers of attention without the diagonal: a query that never saw x_i looks at tokens of all x_j but x_i.

        r^0_i     = position_i, modulated by z
        r^(l+1)_i = network(r^l_i + attention(query r^l_i, keys and values from e(x_j, j) for j != i), z)
        h_i       = W norm(r^L_i)

    Every layer looks at the raw states again, so each r^l_i is free of x_i at any depth; self-attention among the r_j
    would not be, because r_j has seen x_i. From the second layer on, what a dimension looks for depends on the state.
    Cost and memory are those of attention, quadratic in d. An empty token is always there to be looked at, also for
    d = 1.

    Args:
        features: The number of features per dimension.
        width: The number of features of queries and tokens, at least 2.
        heads: The number of attention heads; it divides `width`.
        layers: The number of layers.
        activation: Of the tokens and the pointwise networks, see `Activation`.
        modulation: How z enters, see `Modulation`.

    Raises:
        ModelError: If an option is not of this kind.

    Source: A. Vaswani et al., Attention is all you need, NeurIPS 2017, here without its diagonal; hollow conditioners:
    R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019.

    Example:
        >>> import torch
        >>> conditioner = AttentionConditioner(heads=4).build(dim=6)
        >>> conditioner(torch.zeros(5, 6)).shape
        torch.Size([5, 6, 8])
    """

    features: int = 8
    width: int = 32
    heads: int = 2
    layers: int = 2
    activation: str = "tanh"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        check_count("features", self.features)
        check_heads(self.width, self.heads)
        check_count("layers", self.layers)
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    def build(self, dim: int, conditioning_dim: int = 0) -> "AttentionConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        return AttentionConditionerModule(self, dim, conditioning_dim)


class AttentionConditionerModule(Conditioner):
    """The network that `AttentionConditioner` describes."""

    def __init__(self, options: AttentionConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        width = options.width
        self.tokens = Tokens(dim, width, options.activation)
        self.positions = nn.Parameter(torch.randn(dim, width) / 2)
        self.modulation = Modulation(width, conditioning_dim, options.modulation)
        # The first column is the empty token, which everyone may see.
        itself = torch.cat([torch.zeros(dim, 1, dtype=torch.bool), torch.eye(dim, dtype=torch.bool)], dim=1)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, options.heads, itself, conditioning_dim, options.activation, options.modulation)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = initialise(nn.Linear(width, options.features), 2**0.5)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        tokens = self.tokens(x)
        r = self.modulation(self.positions.expand(*x.shape, -1), z)
        for block in self.blocks:
            r = block(r, z, tokens)
        return self.out(self.norm(r))


__all__ = ["AttentionConditioner", "AttentionConditionerModule"]
