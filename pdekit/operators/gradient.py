"""The gradient of a scalar function in its state, and its derivative in time."""

from typing import Any

import torch
from torch import Tensor

from pdekit.operators.call import Call
from pdekit.operators.diagonal import first_layer
from pdekit.operators.following import Refusal, follow
from pdekit.operators.propagation import Conflict, Diagonal, Jet, Run


def gradient(call: Call) -> tuple[Any, Any]:
    """u and grad u, (*batch,) and (*batch, d).

    Reverse mode costs one backward in any dimension. In a compiled graph, where it is not available, and under another
    operator, the gradient goes forward.
    """
    if torch.compiler.is_compiling() or isinstance(call.x, Jet):
        return _forward_gradient(call)
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        x = call.x if call.x.requires_grad else call.x.detach().requires_grad_()
        x = x.view_as(x)  # a node of its own: the derivative is taken at this use of x only
        output = call.at(x)
        if not output.requires_grad:
            return output, torch.zeros_like(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=recording, allow_unused=True)
    slope = torch.zeros_like(x) if slope is None else slope
    return (output, slope) if recording else (output.detach(), slope.detach())


def _forward_gradient(call: Call) -> tuple[Any, Any]:
    try:
        run, jet = _series(call, "auto")
    except Conflict:
        run, jet = _series(call, "never")
    c = jet.full(1)
    if c is None:
        return jet.value, torch.zeros_like(call.x)
    if run.input_map is None:
        return jet.value, c.movedim(0, -1)
    return jet.value, (c.unsqueeze(-1) * first_layer(run, c.ndim)).sum(0)


def _series(call: Call, compression: str) -> tuple[Run, Jet]:
    run = Run(1, directions=True, compression=compression, level=call.level)
    jet = follow(call, run, [Diagonal(call.dim)])
    if isinstance(jet, Refusal):
        raise NotImplementedError(f"{call.operator}: series can't follow the function ({jet.reason})")
    return run, jet


def time_derivative(call: Call) -> Any:
    """d u / dt for u(t, x), (*batch,)."""
    t = call.leading[0]
    t = t if isinstance(t, Tensor | Jet) else torch.tensor(float(t), dtype=call.x.dtype, device=call.x.device)
    swapped = Call(lambda s: call.function(s, call.x, **call.context), (), t, {}, call.operator)
    run = Run(1, directions=False, level=max(call.level, t.run.level + 1 if isinstance(t, Jet) else 1))
    jet = follow(swapped, run, [torch.ones_like(t)])
    if isinstance(jet, Refusal):
        one = torch.ones_like(t)
        return torch.func.jvp(swapped.function, (t,), (one,))[1]
    c = jet.full(1)
    return torch.zeros_like(jet.value) if c is None else c
