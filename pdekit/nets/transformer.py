"""The transformer of a hollow network: one small network tau(x_i, h_i), shared by all dimensions."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdekit.errors import ModelError
from pdekit.nets.activation import Activation, check_activation, gain, initialise
from pdekit.nets.conditioners.checks import check_count, counts

_TILE = 2**15  # entries of the state that go through the network together where no gradient is recorded


@dataclass(frozen=True)
class MLPTransformer:
    """f_i = tau(x_i, h_i): a multilayer perceptron whose weights all dimensions share; what differs is in h_i.

        first layer   a = phi(w x_i + U h_i + b),   gated:  a = phi(w x_i + U h_i + b) * (w' x_i + U' h_i + b')
        further ones  a = phi(W a + b)
        read-out      f_i = V a + b + s x_i + S h_i

    The gate makes products of what x_i and h_i carry, which most equations of motion are made of; s and S make every
    affine function of x_i and h_i exact.

    Args:
        hidden: The number of units in each hidden layer. On CPUs the first one sets the cost of the whole network: it
            is the one array of (batch, d, units).
        activation: Of the hidden layers, see `Activation`. With a bounded gate f grows linearly; `"silu"` fits
            polynomials better but grows quadratically, so that solutions may explode. tanh takes several times as long
            as either on CPUs.
        gated: Whether the first layer is gated.

    Raises:
        ModelError: If an option is not of this kind.

    Source: the gate is that of Y. Dauphin et al., Language modeling with gated convolutional networks, ICML 2017.

    Example:
        >>> transformer = MLPTransformer(hidden=(16, 16)).build(features=8)
        >>> transformer(torch.zeros(5, 3), torch.zeros(5, 3, 8)).shape
        torch.Size([5, 3])
    """

    hidden: tuple[int, ...] = (16,)
    activation: str = "sigmoid"
    gated: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", counts("hidden", self.hidden))
        check_activation(self.activation)
        if not isinstance(self.gated, bool):
            raise ModelError(f"gated must be True or False, got {self.gated!r}.")

    def build(self, features: int, channels: int = 1) -> "MLPTransformerModule":
        """The module for `features` hollow features and `channels` functions per dimension."""
        check_count("features", features)
        check_count("channels", channels)
        return MLPTransformerModule(self, features, channels)


class MLPTransformerModule(nn.Module):
    """The network that `MLPTransformer` describes."""

    def __init__(self, options: MLPTransformer, features: int, channels: int) -> None:
        super().__init__()
        self.features, self.channels = features, channels
        first, phi = options.hidden[0], gain(options.activation)
        # On (x_i, h_i); one layer for each part, since parts of a wider one would not be contiguous.
        self.gates = nn.ModuleList(initialise(nn.Linear(1 + features, first)) for _ in range(1 + options.gated))
        self.direct = initialise(nn.Linear(1 + features, channels), 0.5)
        nn.init.normal_(self.direct.weight[:, 0], std=0.5)
        self.activation = Activation(options.activation, guarded=False)
        self.layers = nn.ModuleList(initialise(nn.Linear(*widths), phi) for widths in pairwise(options.hidden))
        self.readout = initialise(nn.Linear(options.hidden[-1], channels), phi / 2**0.5)

    def forward(self, x: Tensor, h: Tensor, channel: int | None = None) -> Tensor:
        """f (*batch, d), or (*batch, d, channels) if there are several, of x (*batch, d) and h (*batch, d, features).

        Args:
            x: The state.
            h: The features of a conditioner.
            channel: Compute this one alone, (*batch, d).
        """
        if not _in_tiles(x):
            return self._tau(x, h, channel)
        tiles = zip(x.flatten().split(_TILE), h.flatten(0, -2).split(_TILE), strict=True)
        f = torch.cat([self._tau(entries, features, channel) for entries, features in tiles])
        return f.reshape(*x.shape, *f.shape[1:])

    def _tau(self, x: Tensor, h: Tensor, channel: int | None) -> Tensor:
        z = torch.cat([x.unsqueeze(-1), h], -1)
        a = self.activation(self.gates[0](z))
        for gate in self.gates[1:]:
            a = a * gate(z)
        for layer in self.layers:
            a = self.activation(layer(a))
        keep = slice(None) if channel is None else slice(channel, channel + 1)
        f = F.linear(a, self.readout.weight[keep], self.readout.bias[keep])
        f = f + F.linear(z, self.direct.weight[keep], self.direct.bias[keep])
        return f.squeeze(-1) if self.channels == 1 or channel is not None else f


def _in_tiles(x: Tensor) -> bool:
    # Fresh memory for (batch, d, units) costs several times the arithmetic on CPUs; small tiles use the same again.
    # Series and whatever else is not a plain tensor come through whole.
    small = type(x) is not Tensor or x.device.type != "cpu" or x.numel() <= _TILE
    return not (small or torch.is_grad_enabled() or torch.compiler.is_compiling())


__all__ = ["MLPTransformer", "MLPTransformerModule"]
