"""Hollow functions: f_i = tau(x_i, h_i) with h_i independent of x_i, known by two methods, not by a class."""

import math
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call
from pdekit.operators.contract import once
from pdekit.operators.following import Refusal, follow
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Jet, Run

_PROBES = 3


def is_hollow(function: Any) -> bool:
    """Whether a function declares itself hollow: it has `condition(*args, x)` and `transform(x, h)`."""
    return callable(getattr(function, "condition", None)) and callable(getattr(function, "transform", None))


def hollow_jet(call: Call, order: int, *, check: bool) -> tuple[Any, list[Any]]:
    """f and its dimension-wise derivatives up to `order`: one series along x through the transformer, h held.

    Raises:
        OperatorError: If the function has no such methods, or turns out not to be hollow.
    """
    if not is_hollow(call.function):
        raise OperatorError(
            f"{call.operator}: Hollow() needs a function with methods condition(*args, x) -> h and transform(x, h), "
            f"such as pdekit.nets.HollowNet; got {type(call.function).__name__}. Use Exact() for any other function."
        )
    h = call.function.condition(*call.leading, call.x, **call.context)
    transform = Call(lambda x: call.function.transform(x, h), (), call.x, {}, call.operator)
    run = Run(order, directions=False, level=call.level)
    ones = torch.ones((1,) * call.x.ndim, dtype=call.x.dtype, device=call.x.device)
    jet = follow(transform, run, [ones, *[None] * (order - 1)])
    if isinstance(jet, Refusal):
        output, derivatives = _nested(transform, order)
    else:
        output, derivatives = jet.value, [_derivative(jet, k) for k in range(1, order + 1)]
    if check and isinstance(call.x, Tensor) and once("hollow", call.function):
        _check_hollow(call, h, derivatives[0])
    return output, derivatives


def _derivative(jet: Jet, k: int) -> Any:
    c = jet.full(k)
    return torch.zeros_like(jet.value) if c is None else c if k == 1 else math.factorial(k) * c


def _nested(transform: Call, order: int) -> tuple[Any, list[Any]]:
    # The transformer acts on each dimension by itself: the direction (1, ..., 1) gives all derivatives at once.
    output, derivatives, _ = directional_jets(transform, torch.ones_like(transform.x).unsqueeze(0), order)
    return output, [d[0] for d in derivatives]


def _check_hollow(call: Call, h: Any, first: Any) -> None:
    """Compares bits of h after replacing x_i where h has an axis for i, else derivatives along single dimensions."""
    if call.batch.numel() == 0:
        return
    for i in sorted({0, call.dim // 2, call.dim - 1})[:_PROBES]:
        unit = torch.zeros(call.dim, dtype=call.x.dtype, device=call.x.device)
        unit[i] = 1.0
        with torch.no_grad():
            moved = call.x + (1.0 + call.x.abs()) * unit
            other = call.function.condition(*call.leading, moved, **call.context)
        if isinstance(h, Tensor) and h.shape[: call.x.ndim] == call.x.shape:
            axis = len(call.batch)
            before, after = h.detach().select(axis, i), other.select(axis, i)
            if not bool(torch.equal(before.nan_to_num(), after.nan_to_num())):
                _refuse(call, i, f"h_{i} moves by {float((after - before).abs().max()):.3g} when x_{i} changes")
        else:
            with torch.enable_grad():
                derivative = directional_jets(call, unit.expand(call.x.shape).unsqueeze(0), 1)[1][0][0]
            true, claimed = derivative.select(len(call.batch), i), first.select(len(call.batch), i)
            error = float((true - claimed).detach().abs().max())
            if error > 1e4 * torch.finfo(call.x.dtype).eps * (1 + float(true.detach().abs().max())):
                _refuse(call, i, f"d f_{i} / d x_{i} is off by {error:.3g}")


def _refuse(call: Call, i: int, what: str) -> None:
    raise OperatorError(
        f"{call.operator}: {type(call.function).__name__} is declared hollow (it has condition and transform), but "
        f"{what}. h_i must not depend on x_i: look for a stack of two hollow layers, a sum minus its own term, or a "
        "normalisation over dimensions. To differentiate the function as it is, use method=Dense()."
    )
