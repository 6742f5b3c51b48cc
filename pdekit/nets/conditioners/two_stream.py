"""The hollow transformer: two deep causal streams that meet where each has seen everything but x_i."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pdekit.nets.activation import check_activation, gain, initialise
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count, check_heads
from pdekit.nets.masked_attention import AttentionBlock, MaskedAttention, Tokens
from pdekit.nets.modulation import Modulation, ModulationKind
from pdekit.nets.pointwise import pointwise

ReadoutKind = Literal["pointwise", "attention"]


@dataclass(frozen=True)
class HollowTransformerConditioner:
    """A left-to-right and a right-to-left causal transformer, shifted by one, and a read-out of both at each position.

        L_i = stream(e(x_1), ..., e(x_{i-1})),   R_i = stream(e(x_{i+1}), ..., e(x_d)),   h_i = network(L_i, R_i, z).

    Self-attention inside a stream may be stacked as deep as one likes: it never mixes a later state into an earlier
    position, and the shift by one, done once at the entrance, leaves x_i out of both. With `readout="attention"` h_i
    also looks at L_j for j <= i and R_j for j >= i, none of which has seen x_i. The order of the states matters. Cost
    and memory are those of attention, quadratic in d.

    Args:
        features: The number of features per dimension.
        width: The number of features in each stream, at least 2.
        heads: The number of attention heads; it divides `width`.
        layers: The number of layers of each stream.
        readout: `"pointwise"`, or `"attention"` for a masked attention over both streams before it.
        activation: Of the tokens and the pointwise networks, see `Activation`.
        modulation: How z enters, see `Modulation`.

    Raises:
        ModelError: If an option is not of this kind.

    Source: H. Sun et al., Score-based continuous-time discrete diffusion models, ICLR 2023, arXiv 2211.16750.

    Example:
        >>> import torch
        >>> conditioner = HollowTransformerConditioner(layers=3).build(dim=6)
        >>> conditioner(torch.zeros(5, 6)).shape
        torch.Size([5, 6, 8])
    """

    features: int = 8
    width: int = 32
    heads: int = 2
    layers: int = 2
    readout: ReadoutKind = "pointwise"
    activation: str = "tanh"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        check_count("features", self.features)
        check_heads(self.width, self.heads)
        check_count("layers", self.layers)
        check_choice("readout", self.readout, get_args(ReadoutKind))
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    def build(self, dim: int, conditioning_dim: int = 0) -> "HollowTransformerConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        return HollowTransformerConditionerModule(self, dim, conditioning_dim)


class HollowTransformerConditionerModule(Conditioner):
    """The network that `HollowTransformerConditioner` describes."""

    def __init__(self, options: HollowTransformerConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        width, activation = options.width, options.activation
        self.left = CausalStream(options, dim, conditioning_dim)
        self.right = CausalStream(options, dim, conditioning_dim)
        self.attention = None
        if options.readout == "attention":
            later = torch.ones(dim, dim, dtype=torch.bool).triu(1)
            self.attention = MaskedAttention(width, options.heads, torch.cat([later, later.mT], dim=1))
            self.norm = nn.LayerNorm(width)
        # At either end one stream has seen all there is and the other nothing: one alone must fill the scale.
        self.first = initialise(nn.Linear(2 * width, width), 2.0)
        self.modulation = Modulation(width, conditioning_dim, options.modulation)
        self.network = pointwise((width,), activation)
        self.out = initialise(nn.Linear(width, options.features), gain(activation))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        left, right = self.left(x, z), self.right(x.flip(-1), z).flip(-2)
        a = self.first(torch.cat([left, right], dim=-1))
        if self.attention is not None:
            a = a + self.attention(self.norm(a), torch.cat([left, right], dim=-2))
        return self.out(self.network(self.modulation(a, z)))


class CausalStream(nn.Module):
    """A causal transformer of which position i has seen x_1, ..., x_{i-1} and nothing else.

    Args:
        options: Those of the conditioner.
        dim: The number of states d.
        conditioning_dim: The length of z.
    """

    def __init__(self, options: HollowTransformerConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__()
        width = options.width
        self.tokens = Tokens(dim - 1, width, options.activation)
        self.positions = nn.Parameter(torch.randn(dim, width) / 2)
        later = torch.ones(dim, dim, dtype=torch.bool).triu(1)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, options.heads, later, conditioning_dim, options.activation, options.modulation)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        """Features (*batch, d, width) of x (*batch, d)."""
        # The empty token in front shifts the states by one; the last state is seen by nobody.
        r = self.tokens(x[..., :-1]) + self.positions
        for block in self.blocks:
            r = block(r, z)
        return self.norm(r)


__all__ = ["HollowTransformerConditioner", "HollowTransformerConditionerModule"]
