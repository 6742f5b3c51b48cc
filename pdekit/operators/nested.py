"""Derivatives of any callable by nested forward mode, and by reverse mode where forward mode is not available.

These routes know nothing of what is inside the function. They are exact and slower than series, and serve where the
function leaves the world of torch operations that series follow: custom autograd functions, in-place writes, autograd
inside the function.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdekit.operators.call import Call

_CHUNK = 2**24  # elements of tangents that go together


def directional_jets(call: Call, directions: Tensor, order: int) -> tuple[Tensor, list[Tensor], str]:
    """The output, and the derivatives of s -> f(x + s v) at 0 up to `order`, for each direction v.

    Args:
        call: The call.
        directions: (R, *batch, d).
        order: The highest derivative.

    Returns:
        The output, a list of `order` tensors (R, *output shape), and the route taken.
    """
    try:
        return *_forward(call, directions, order), "nested forward"
    except Exception:  # noqa: BLE001 - whatever forward mode can't do, reverse mode may
        return *_reverse(call, directions, order), "reverse"


def bilinear_sum(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor, str]:
    """The output, the derivatives along a_r, and sum_r D^2 u[a_r, b_r] (plus the derivative along `drift`).

    Args:
        call: The call of u.
        a: (R, *batch, d).
        b: (R, *batch, d).
        drift: (*batch, d) or None.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH):
            return *_forward_bilinear(call, a, b, drift), "nested forward"
    except Exception:  # noqa: BLE001
        return *_reverse_bilinear(call, a, b, drift), "reverse"


def _chunks(directions: Tensor) -> int:
    return max(1, _CHUNK // max(1, directions[:1].numel()))


def _forward(call: Call, directions: Tensor, order: int) -> tuple[Tensor, list[Tensor]]:
    output = call.at(call.x)

    def along(v: Tensor) -> tuple[Tensor, ...]:
        curve: Callable[[Tensor], Tensor] = lambda s: call.at(call.x + s * v)  # noqa: E731
        s = torch.zeros((), dtype=call.x.dtype, device=call.x.device)
        derivatives = []
        for _ in range(order):
            curve = _derivative(curve)
            derivatives.append(curve(s))
        return tuple(derivatives)

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward derivative
        return output, list(torch.vmap(along, chunk_size=_chunks(directions))(directions))


def _derivative(curve: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda s: torch.func.jvp(curve, (s,), (torch.ones_like(s),))[1]


def _forward_bilinear(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    output = call.at(call.x)
    # Forward mode refuses tangents whose rows share memory.
    x = call.x.contiguous()

    def pair(v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        first = lambda y: torch.func.jvp(call.at, (y,), (v,))[1]  # noqa: E731
        return torch.func.jvp(first, (x,), (w,))

    slope, second = torch.vmap(pair, chunk_size=_chunks(a))(a.contiguous(), b.contiguous())
    total = second.sum(0)
    if drift is not None:
        total = total + torch.func.jvp(call.at, (x,), (drift.contiguous(),))[1]
    return output, slope, total


def _reverse(call: Call, directions: Tensor, order: int) -> tuple[Tensor, list[Tensor]]:
    with torch.enable_grad():
        s = torch.zeros(call.batch, dtype=call.x.dtype, device=call.x.device, requires_grad=True)
        columns: list[list[Tensor]] = []
        for v in directions:
            output = call.at(call.x + s.unsqueeze(-1) * v)
            current, column = output, []
            for _ in range(order):
                current = _rowwise_derivative(current, s)
                column.append(current)
            columns.append(column)
    return output, [torch.stack([column[k] for column in columns]) for k in range(order)]


def _rowwise_derivative(output: Tensor, s: Tensor) -> Tensor:
    # Rows don't see one another, so the derivative of a sum over rows holds one derivative per row.
    features = output.reshape(*s.shape, -1)
    columns = [_gradient(features[..., k], s) for k in range(features.shape[-1])]
    return torch.stack(columns, -1).reshape(output.shape)


def _gradient(output: Tensor, at: Tensor) -> Tensor:
    if not output.requires_grad:
        return torch.zeros_like(at)
    (gradient,) = torch.autograd.grad(output.sum(), at, create_graph=True, allow_unused=True)
    return torch.zeros_like(at) if gradient is None else gradient


def _reverse_bilinear(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    with torch.enable_grad():
        x = call.x if call.x.requires_grad else call.x.detach().requires_grad_()
        x = x.view_as(x)
        output = call.at(x)
        features = output.reshape(*call.batch, -1)
        slopes, totals = [], []
        for k in range(features.shape[-1]):
            gradient = _gradient(features[..., k], x)
            slopes.append((gradient * a).sum(-1))
            total = torch.zeros_like(features[..., k])
            for v, w in zip(a, b, strict=True):
                total = total + (_gradient((gradient * v).sum(-1), x) * w).sum(-1)
            if drift is not None:
                total = total + (gradient * drift).sum(-1)
            totals.append(total)
        shape = output.shape
        return output, torch.stack(slopes, -1).reshape(-1, *shape), torch.stack(totals, -1).reshape(shape)


def taylor(derivatives: list[Tensor]) -> list[Tensor]:
    """Derivatives to Taylor coefficients: the k-th over k!."""
    return [d / math.factorial(k) if k > 1 else d for k, d in enumerate(derivatives, start=1)]
