"""Activations of neural networks: smooth ones by their Taylor coefficients, kinked ones up to first order."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from pdekit.errors import OperatorError
from pdekit.operators.propagation.elementwise import (
    elementwise,
    integral,
    ndtr,
    reflected_sigmoid,
    sigmoid,
    tanh,
    tower_of,
)
from pdekit.operators.propagation.jet import Jet, Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import Tower

_SMOOTH = "Use a smooth activation: tanh, silu, gelu, softplus, mish, sin."


def _times_x(x: Any, tower: Tower, value: Any) -> Tower:
    # x phi(x): the k-th coefficient is x phi_k + phi_(k-1).
    return [value, *(x * tower[k] + tower[k - 1] for k in range(1, len(tower)))]


@elementwise("silu")
def silu(x: Any, order: int) -> Tower:
    """x sigmoid(x)."""
    return _times_x(x, sigmoid(x, order), functional.silu(x))


@elementwise("gelu")
def gelu(x: Any, order: int, approximate: str = "none") -> Tower:
    """x ndtr(x), or its approximation by tanh."""
    value = functional.gelu(x, approximate=approximate)
    if approximate == "none":
        return _times_x(x, ndtr(x, order), value)
    slope = math.sqrt(2 / math.pi)
    return [value, *tower_of(lambda z: 0.5 * z * (1 + torch.tanh(slope * (z + 0.044715 * z * z * z))), x, order)[1:]]


@elementwise("softplus")
def softplus(x: Any, order: int, beta: float = 1.0, threshold: float = 20.0) -> Tower:
    """log(1 + exp(beta x)) / beta; the slope is sigmoid(beta x), and 1 where torch goes over to x."""
    is_linear = beta * x > threshold
    slope = [s * beta**k for k, s in enumerate(sigmoid(beta * x, order - 1))]
    straight = [torch.where(is_linear, 0.0 if k else 1.0, s) for k, s in enumerate(slope)]
    return integral(functional.softplus(x, beta, threshold), straight)


@elementwise("logsigmoid")
def logsigmoid(x: Any, order: int) -> Tower:
    """log(sigmoid(x)); the slope is sigmoid(-x)."""
    return integral(functional.logsigmoid(x), reflected_sigmoid(x, order - 1))


@elementwise("mish")
def mish(x: Any, order: int) -> Tower:
    """x tanh(softplus(x))."""
    gate = tower_of(lambda z: torch.tanh(functional.softplus(z)), x, order)
    return _times_x(x, gate, functional.mish(x))


@elementwise("tanhshrink")
def tanhshrink(x: Any, order: int) -> Tower:
    """x - tanh(x), whose slope is tanh(x)^2."""
    tower = tanh(x, order)
    return [functional.tanhshrink(x), 1 - tower[1], *(-t for t in tower[2:])]


@rule("glu")
def glu(run: Run, x: Any, dim: int = -1) -> Any:
    """The first half times the sigmoid of the second."""
    a, b = torch.chunk(x, 2, dim)
    return a * torch.sigmoid(b)


# Continuous slopes, but second derivatives that jump: third ones would miss the jump.


def _refuse_beyond(highest: int, order: int, name: str, defect: str) -> None:
    if order > highest:
        ordinal = ("second", "third")[highest - 1]
        raise OperatorError(
            f"The activation {name} has no {ordinal} derivative ({defect}), so an operator of {ordinal} order is not "
            f"defined for this function. {_SMOOTH}"
        )


@elementwise("elu")
def elu(x: Any, order: int, alpha: float = 1.0) -> Tower:
    """x above 0, alpha (exp(x) - 1) below."""
    if alpha != 1.0:
        _refuse_beyond(1, order, "elu with alpha != 1", "a kink")
    _refuse_beyond(2, order, "elu", "its second one jumps")
    return _exponential_below(x, order, functional.elu(x, alpha), alpha, 1.0, 1.0)


@elementwise("celu")
def celu(x: Any, order: int, alpha: float = 1.0) -> Tower:
    """x above 0, alpha (exp(x / alpha) - 1) below."""
    _refuse_beyond(2, order, "celu", "its second one jumps")
    return _exponential_below(x, order, functional.celu(x, alpha), 1.0, 1.0 / alpha, 1.0)


@elementwise("selu")
def selu(x: Any, order: int) -> Tower:
    """The self-normalising ELU: a kink at 0."""
    _refuse_beyond(1, order, "selu", "a kink")
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return _exponential_below(x, order, functional.selu(x), alpha * scale, 1.0, scale)


def _exponential_below(x: Any, order: int, value: Any, slope: float, rate: float, above: float) -> Tower:
    below = slope * torch.exp(rate * torch.clamp(x, max=0.0))
    towers = [torch.where(x > 0, above, below)]
    towers += [torch.where(x > 0, 0.0, below * (rate**k / math.factorial(k + 1))) for k in range(1, order)]
    return [value, *towers]


@elementwise("softsign")
def softsign(x: Any, order: int) -> Tower:
    """x / (1 + |x|)."""
    _refuse_beyond(2, order, "softsign", "its second one jumps")
    return [functional.softsign(x), *tower_of(lambda z: z / (1 + torch.abs(z)), x, order)[1:]]


# Piecewise linear activations: a second derivative would be 0 nearly everywhere and hide the kinks.


def _kinked(name: str, slope: Callable[..., Any]) -> None:
    function = getattr(functional, name)

    @elementwise(name)
    def expand(x: Any, order: int, *args: Any, **kwargs: Any) -> Tower:
        _refuse_beyond(1, order, name, "a kink")
        return [function(x, *args, **kwargs), slope(x, *args, **kwargs).to(x.dtype)]


def _between(x: Any, low: float, high: float) -> Any:
    return (x > low) & (x < high)


_kinked("relu", lambda x: x > 0)
_kinked("leaky_relu", lambda x, negative_slope=0.01: torch.where(x > 0, torch.ones_like(x), negative_slope))
_kinked("relu6", lambda x: _between(x, 0.0, 6.0))
_kinked("hardtanh", lambda x, min_val=-1.0, max_val=1.0: _between(x, min_val, max_val))
_kinked("hardsigmoid", lambda x: _between(x, -3.0, 3.0) / 6)
_kinked("hardshrink", lambda x, lambd=0.5: torch.abs(x) > lambd)
_kinked("softshrink", lambda x, lambd=0.5: torch.abs(x) > lambd)
_kinked("hardswish", lambda x: torch.where(x >= 3, torch.ones_like(x), _between(x, -3.0, 3.0) * (2 * x + 3) / 6))
_kinked("threshold", lambda x, threshold, value: x > threshold)


@rule("prelu")
def prelu(run: Run, x: Any, weight: Any) -> Any:
    """x above 0, weight * x below, one weight in all or one per channel."""
    _refuse_beyond(1, run.order, "prelu", "a kink")
    if weight.numel() > 1 and x.ndim > 1:
        weight = weight.reshape(-1, *(1,) * (x.ndim - 2))
    return torch.where(x > 0, x, weight * x)


@rule("rrelu")
def rrelu(run: Run, x: Jet, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Any:
    """leaky_relu with the mean slope, in evaluation."""
    if training:
        raise Unsupported("rrelu in training mode")
    return functional.leaky_relu(x, 0.5 * (lower + upper))  # type: ignore[arg-type]
