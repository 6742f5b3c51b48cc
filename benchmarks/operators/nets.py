"""The nets that are measured: hollow nets with every conditioner, and plain multilayer perceptrons."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from pdekit import nets

DEFAULT = "masked"  # the conditioner that a HollowNet has if none is named
# By the name used in tables; each from the number of states to its options, at their defaults where there are some.
CONDITIONERS: dict[str, Callable[[int], Any]] = {
    "masked": lambda dim: nets.MaskedConditioner(),
    "scan": lambda dim: nets.ScanConditioner(),
    "pooling": lambda dim: nets.PoolingConditioner(),
    "attention": lambda dim: nets.AttentionConditioner(),
    "transformer": lambda dim: nets.HollowTransformerConditioner(),
    "convolution": lambda dim: nets.ConvolutionConditioner(shape=(dim,)),
}


def hollow(conditioner: str, dim: int, *, time: bool = False, seed: int = 0) -> nn.Module:
    """A fresh hollow net f(x), or f(t, x), with default options."""
    return nets.HollowNet(dim, conditioner=CONDITIONERS[conditioner](dim), time=time, seed=seed)


def mlp(dim: int, out: int, *, width: int = 256, depth: int = 3, seed: int = 0) -> nn.Sequential:
    """A plain perceptron: `depth` hidden tanh layers of one width."""
    torch.manual_seed(seed)
    sizes = (dim, *[width] * depth)
    layers: list[nn.Module] = []
    for inward, outward in pairwise(sizes):
        layers += [nn.Linear(inward, outward), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, out))


def scalar(net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function (*batch, d) -> (*batch,) of a net with one output."""
    return lambda x: net(x).squeeze(-1)


def states(batch: int, dim: int, seed: int = 1) -> torch.Tensor:
    """Standard normal states (batch, dim)."""
    return torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed))


def parameter_count(net: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def describe(net: nn.Module) -> str:
    """The width d_h of a hollow net's features, and the number of parameters."""
    count = f"{parameter_count(net):,} parameters"
    return f"d_h {net.features}, {count}" if isinstance(net, nets.HollowNet) else count


def width_for(parameters: int, dim: int, out: int, depth: int = 3) -> int:
    """The width whose perceptron comes nearest to a number of parameters."""

    def count(width: int) -> int:
        return (dim + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * out

    width = 1
    while count(width + 1) <= parameters:
        width += 1
    return min((width, width + 1), key=lambda w: abs(count(w) - parameters))
