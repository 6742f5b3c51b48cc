"""Float64 references that know nothing of pdekit's operators: torch.func on single rows, slow and plain."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import hessian, jacrev, jvp

ROWS = 4  # of a batch, that are compared with the truth
_CHUNK = 64  # directions that go together

Function = Callable[..., Tensor]
Net = TypeVar("Net", bound=nn.Module)


def double(net: Net) -> Net:
    """A copy of a net in float64."""
    return copy.deepcopy(net).double().requires_grad_(False)


def divergence(f: Function, x: Tensor) -> Tensor:
    """The trace of the whole Jacobian, row by row."""
    return torch.stack([jacrev(f, chunk_size=_CHUNK)(row).diagonal().sum() for row in x.double()])


def laplacian(u: Function, x: Tensor) -> Tensor:
    """The trace of the whole Hessian, row by row."""
    return torch.stack([hessian(u)(row).diagonal().sum() for row in x.double()])


def weighted_hessian(u: Function, x: Tensor, tensor: Tensor) -> Tensor:
    """sum_ij C_ij d_i d_j u, row by row."""
    return torch.stack([(tensor.double() * hessian(u)(row)).sum() for row in x.double()])


def biharmonic(u: Function, x: Tensor) -> Tensor:
    """The trace of the Hessian of the trace of the Hessian."""
    return laplacian(lambda row: hessian(u)(row).diagonal().sum(), x)


def slopes(f: Function, x: Tensor, directions: Tensor) -> Tensor:
    """J v of the whole function for one direction per row."""
    return jvp(f, (x.double(),), (directions.double(),))[1]


def along_dimension(f: Function, x: Tensor, i: int, order: int) -> Tensor:
    """d^k f_i / dx_i^k of the whole function for k = 0, ..., order: (order + 1, *batch), by nested forward mode."""
    x = x.double()
    unit = torch.zeros_like(x)
    unit[..., i] = 1.0
    curve: Function = lambda s: f(x + s * unit)[..., i]  # noqa: E731
    zero, values = torch.zeros((), dtype=x.dtype), []
    for _ in range(order + 1):
        values.append(curve(zero))
        curve = _derivative(curve)
    return torch.stack(values)


def _derivative(curve: Function) -> Function:
    return lambda s: jvp(curve, (s,), (torch.ones_like(s),))[1]


def through_transformer(net: Any, order: int, *args: Any) -> list[Tensor]:
    """f and its dimension-wise derivatives by nested autograd through the transformer, the features held.

    The recipe of R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019.
    """
    *leading, x = args
    with torch.enable_grad():
        h = net.condition(*leading, x)
        moving = x.detach().clone().requires_grad_()
        values = [net.transform(moving, h)]
        for _ in range(order):
            values.append(torch.autograd.grad(values[-1].sum(), moving, create_graph=True)[0])
    return values


def loss_slope(net: nn.Module, x: Tensor, direction: dict[str, Tensor], step: float = 1e-4) -> float:
    """Derivative of mean f^2 + mean (div f)^2 along a direction in parameter space, by central differences."""

    def loss(shift: float) -> Tensor:
        moved = double(net)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter += shift * direction[name].double()
            return moved(x.double()).square().mean() + divergence(moved, x).square().mean()

    return float(loss(step) - loss(-step)) / (2 * step)
