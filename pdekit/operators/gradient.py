"""The gradient of a scalar function in its state, and its derivative in time."""

from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError, UnsupportedError
from pdekit.operators.call import Call, check_scalar, in_transform, rounding
from pdekit.operators.contract import check_rows
from pdekit.operators.diagonal import first_layer
from pdekit.operators.following import Refusal, follow
from pdekit.operators.memory import Memory
from pdekit.operators.nested import directional_jets, reverse_gradient, tangent
from pdekit.operators.propagation import Conflict, Diagonal, Jet, Run, Unsupported

_TIMED = Memory()


def gradient(call: Call) -> tuple[Any, Any]:
    """u and grad u, (*batch,) and (*batch, d).

    Reverse mode costs one backward in any dimension. In a compiled graph and under another transform, where it is not
    available, the gradient goes forward.

    Raises:
        OperatorError: If u is not scalar, or mixes rows.
    """
    if torch.compiler.is_compiling() or isinstance(call.x, Jet) or in_transform():
        return _forward_gradient(call)
    output, slope = reverse_gradient(call)
    check_rows(call, output)
    return output, slope


def _forward_gradient(call: Call) -> tuple[Any, Any]:
    try:
        found = _series(call, "auto")
    except Conflict:
        found = _series(call, "never")
    if isinstance(found, Refusal):
        if isinstance(call.x, Jet):
            raise Unsupported(found.reason)
        if torch.compiler.is_compiling():
            raise UnsupportedError(
                f"{call.operator}: series can't follow the function ({found.reason}), and a compiled graph has no "
                "other way. Call it without torch.compile."
            )
        return _nested_gradient(call)
    run, jet = found
    check_scalar(call, jet)
    c = jet.full(1)
    if c is None:
        return jet.value, torch.zeros_like(call.x)
    if run.input_map is None or jet.system == 0:
        return jet.value, c.movedim(0, -1)
    return jet.value, (c.unsqueeze(-1) * first_layer(run, c.ndim)).sum(0)


def _series(call: Call, compression: str) -> tuple[Run, Jet] | Refusal:
    run = Run(1, directions=True, compression=compression, level=call.level)
    jet = follow(call, run, [Diagonal(call.dim)])
    return jet if isinstance(jet, Refusal) else (run, jet)


def _nested_gradient(call: Call) -> tuple[Any, Any]:
    eye = torch.eye(call.dim, dtype=call.x.dtype, device=call.x.device)
    directions = eye.reshape(call.dim, *(1,) * len(call.batch), call.dim).expand(call.dim, *call.x.shape)
    output, (slopes,), _ = directional_jets(call, directions, 1)
    check_scalar(call, output)
    return output, slopes.movedim(0, -1)


def time_derivative(call: Call) -> Any:
    """d u / dt for u(t, x), (*batch,).

    Raises:
        OperatorError: If u loses the time on the way, as `float(t)`, `math.exp(t)` and `torch.full_like(x, t)` do.
    """
    t = call.leading[0]
    if not isinstance(t, Tensor | Jet):
        t = torch.tensor(float(t), dtype=call.x.dtype, device=call.x.device)
    elif not t.dtype.is_floating_point:
        t = t.to(call.x.dtype)
    one: Any = torch.ones((), dtype=t.dtype, device=t.device).expand(t.shape)
    swapped = Call(lambda s: call.function(s, call.x, **call.context), (), t, {}, call.operator)
    level = max(call.level, t.run.level + 1 if isinstance(t, Jet) else 1)
    jet = follow(swapped, Run(1, directions=False, level=level), [one])
    if isinstance(jet, Refusal):
        rate = tangent(swapped)
    else:
        c = jet.full(1)
        rate = torch.zeros_like(jet.value) if c is None else c
    _check_rate(call, t, rate)
    return rate


def _check_rate(call: Call, t: Any, rate: Any) -> None:
    """Compares with finite differences, once for each function, where these agree with one another."""
    if not isinstance(t, Tensor) or not call.readable or rate.numel() == 0:
        return
    entry = _TIMED.about(call.function)
    if entry.known:
        return
    with torch.no_grad():
        eps = max(rounding(z) for z in (t, rate))
        step = eps ** (1 / 3) * max(float(t.abs().max()), 1e-3)
        (one, size), (two, _) = (_central_difference(call, t, h) for h in (step, 3 * step))
        settled = ((one - two).abs() <= 0.01 * one.abs()) & (one.abs() > 1e2 * eps * size / step)
        off = settled & ((rate.detach() - one).abs() > 0.1 * (one.abs() + rate.detach().abs()))
    if bool(off.any()):
        i = int(off.reshape(-1).nonzero()[0])
        told, found = (float(values.detach().reshape(-1)[i]) for values in (rate, one))
        raise OperatorError(
            f"{call.operator}: the derivative in time is {told:.3g}, but finite differences give {found:.3g}. "
            "The function turns the time into a plain number on the way, as float(t), math.exp(t) and "
            "torch.full_like(x, t) do: use torch.exp(t) and t * torch.ones_like(x)."
        )
    if bool(settled.any()):  # a function that is zero at first sight has shown nothing
        entry.keep(True)


def _central_difference(call: Call, t: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """The derivative in time, and the size of what it is the difference of."""
    after, before = (call.function(t + h, call.x, **call.context) for h in (step, -step))
    return (after - before) / (2 * step), after.abs()
