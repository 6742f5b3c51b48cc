"""The networks that Neural ODEs were compared with on images: a perceptron, a residual network, and ODEs between."""

from typing import Any

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.flows.block import ODEBlock
from pdekit.flows.images import check_shape
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.field import seeded
from pdekit.ode.backsolve import Backsolve
from pdekit.ode.control import Fixed
from pdekit.ode.gradients import Discrete
from pdekit.ode.methods import RK4, Tsit5

CLASSIFIERS = ("mlp", "resnet", "rk-net", "ode-net")
_IN_GROUP = 2  # channels normed together: 32 groups of 64, as in the paper


def image_classifier(
    kind: str,
    shape: tuple[int, int],
    classes: int = 10,
    *,
    channels: int = 64,
    halvings: int | None = None,
    blocks: int = 6,
    hidden: int = 300,
    rtol: float = 1e-3,
    seed: int | None = 0,
) -> nn.Sequential:
    """A network from images (n, height * width) to logits (n, classes).

    `"resnet"` has convolutions that halve the images, residual blocks, and a linear map of what is left on average;
    `"ode-net"` has an ODE in place of the blocks, with gradients by the adjoint equation, in memory that does not
    depend on the number of evaluations; `"rk-net"` the same field with the gradients of four Runge-Kutta steps;
    `"mlp"` is one hidden layer. Images of 28 x 28 pixels and the defaults give the paper's sizes.

    Args:
        kind: One of `CLASSIFIERS`.
        shape: Height and width of the images.
        classes: How many.
        channels: Of the convolutions, an even number.
        halvings: How often height and width are halved; by default twice, for images of less than 16 pixels once.
        blocks: Residual blocks.
        hidden: Units of the perceptron.
        rtol: Of the ODE, and its absolute tolerance.
        seed: Of the initial parameters.

    Raises:
        InputError: If there is no such kind, the images are too small, or channels are odd.
        ModelError: If a number is none.

    Source: R. T. Q. Chen et al., Neural ordinary differential equations, NeurIPS 2018, arXiv 1806.07366, section 3.

    Example:
        >>> net = image_classifier("ode-net", (8, 8), channels=8)
        >>> net(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
        >>> sum(p.numel() for p in image_classifier("resnet", (28, 28)).parameters())
        576778
    """
    if kind not in CLASSIFIERS:
        raise InputError(f"kind must be one of {', '.join(CLASSIFIERS)}, got {kind!r}.")
    shape = check_shape(shape)
    for name, value in (("classes", classes), ("hidden", hidden)):
        check_count(name, value)
    check_count("channels", channels, least=2)
    check_count("blocks", blocks)
    if channels % _IN_GROUP:
        raise InputError(f"channels must be even, got {channels}.")
    with seeded(seed):
        if kind == "mlp":
            return nn.Sequential(nn.Linear(shape[0] * shape[1], hidden), nn.ReLU(), nn.Linear(hidden, classes))
        halvings = (2 if min(shape) >= 16 else 1) if halvings is None else halvings
        check_count("halvings", halvings, least=0)
        left = tuple(_halved(size - 2, halvings) for size in shape)
        if min(left) < 1:
            raise InputError(f"Images of {shape[0]} x {shape[1]} pixels can't be halved {halvings} times.")
        first: list[nn.Module] = [nn.Unflatten(1, (1, *shape)), nn.Conv2d(1, channels, 3)]
        for _ in range(halvings):
            first += [_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 4, 2, 1)]
        last = [_norm(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
        return nn.Sequential(*first, *_middle(kind, channels, blocks, (channels, *left), rtol), *last)


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))).

    Args:
        channels: Of x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [(_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1, bias=False)) for _ in range(2)]
        self.layers = nn.Sequential(*layers[0], *layers[1])

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width)."""
        return x + self.layers(x)


class ConvolutionField(nn.Module):
    """f(t, x) of images: two convolutions that are told the time as a channel, with norms before and after.

    Args:
        channels: Of x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(_norm(channels) for _ in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels + 1, channels, 3, 1, 1) for _ in range(2))

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """At times that are a number or (n, 1), and x (n, channels, height, width)."""
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        time = time.expand(len(x), 1, *x.shape[2:])
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            x = convolution(torch.cat([torch.relu(norm(x)), time], 1))
        return self.norms[-1](x)


def _middle(kind: str, channels: int, blocks: int, shape: tuple[int, ...], rtol: float) -> list[nn.Module]:
    if kind == "resnet":
        return [ResidualBlock(channels) for _ in range(blocks)]
    if kind == "rk-net":
        steps: dict[str, Any] = {"method": RK4(), "control": Fixed(0.25), "gradient": Discrete()}
    else:
        steps = {"method": Tsit5(), "rtol": rtol, "atol": rtol, "gradient": Backsolve()}
    return [ODEBlock(ConvolutionField(channels), shape=shape, **steps)]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // _IN_GROUP), channels)


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = (size + 2 - 4) // 2 + 1
    return size


__all__ = ["CLASSIFIERS", "ConvolutionField", "ResidualBlock", "image_classifier"]
