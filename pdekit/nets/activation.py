"""Activations by name, with the gain that keeps variance, and a guard that keeps what they return finite."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdekit.errors import ModelError

# Pre-activations beyond this are clamped where the activation is unbounded. A hidden unit that overflowed would reach
# other dimensions as 0 * inf = NaN through a mask; 1e4 is far outside of use and fits into half precision.
LIMIT = 1e4


class _Kind(NamedTuple):
    module: type[nn.Module]
    gain: float  # 1 / sqrt(E phi(z)^2) for z ~ N(0, 1)
    bounded: bool
    smooth: bool


class Sine(nn.Module):
    """sin(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """The sine of each element."""
        return torch.sin(x)


_KINDS = {
    "tanh": _Kind(nn.Tanh, 1.593, True, True),
    "sigmoid": _Kind(nn.Sigmoid, 1.846, True, True),
    "sine": _Kind(Sine, 1.521, False, True),
    "silu": _Kind(nn.SiLU, 1.677, False, True),
    "gelu": _Kind(nn.GELU, 1.534, False, True),
    "softplus": _Kind(nn.Softplus, 1.042, False, True),
    "mish": _Kind(nn.Mish, 1.487, False, True),
    "relu": _Kind(nn.ReLU, 1.414, False, False),
}


def check_activation(name: str) -> None:
    """Refuse a name that is no activation.

    Raises:
        ModelError: With the names that exist.
    """
    if name not in _KINDS:
        raise ModelError(f"activation must be one of {', '.join(_KINDS)}, got {name!r}.")


def gain(name: str) -> float:
    """The factor by which weights of variance 1 / fan_in must grow so that the activation keeps unit variance."""
    return _KINDS[name].gain


class Activation(nn.Module):
    """An activation; unbounded ones clamp their argument to [-1e4, 1e4], so that no finite input overflows.

    Args:
        name: One of tanh, sigmoid, sine, silu, gelu, softplus, mish, relu. ReLU has no second derivative: operators of
            second order refuse a net built with it.
        guarded: False leaves the clamp out: for networks in which no mask multiplies what comes out.

    Raises:
        ModelError: If the name is unknown.
    """

    def __init__(self, name: str, *, guarded: bool = True) -> None:
        super().__init__()
        check_activation(name)
        self.name = name
        self.function = _KINDS[name].module()
        self.clamps = guarded and not _KINDS[name].bounded

    def forward(self, x: Tensor) -> Tensor:
        """The activation of each element."""
        return self.function(saturate(x) if self.clamps else x)

    def extra_repr(self) -> str:
        """The name."""
        return self.name


def saturate(x: Tensor) -> Tensor:
    """`x` clamped to [-1e4, 1e4]: whatever finite state comes in, sums of such numbers stay finite."""
    return torch.clamp(x, -LIMIT, LIMIT)


def initialise(layer: nn.Linear, weight_gain: float = 1.0) -> nn.Linear:
    """Weights N(0, gain^2 / fan_in), biases uniform in +-1/sqrt(fan_in): sums keep their scale at any width."""
    fan_in = max(1, layer.in_features)
    nn.init.normal_(layer.weight, std=weight_gain / fan_in**0.5)
    if layer.bias is not None:
        nn.init.uniform_(layer.bias, -(fan_in**-0.5), fan_in**-0.5)
    return layer


__all__ = ["Activation", "Sine", "check_activation", "gain", "initialise", "saturate"]
