"""Derivatives of any callable by nested reverse mode, and by forward mode where that is not available.

These routes know nothing of what is inside the function. They are exact and slower than series, and serve where the
function leaves the world of torch operations that series follow: custom autograd functions, in-place writes, autograd
inside the function.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import instance_norm, layer_norm
from torch.overrides import TorchFunctionMode

from pdekit.errors import OperatorError, PdekitError, UnsupportedError
from pdekit.operators.call import Call, check_scalar, in_transform, recordable, recording, shape_of
from pdekit.operators.propagation import Jet, Unsupported

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
    return _by_autograd(call, lambda: _reverse_jets(call, directions, order), lambda: _forward(call, directions, order))


def bilinear_sum(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor, str]:
    """The output, the derivatives along a_r, and sum_r D^2 u[a_r, b_r] (plus the derivative along `drift`).

    Args:
        call: The call of u.
        a: (R, *batch, d).
        b: (R, *batch, d).
        drift: (*batch, d) or None.
    """
    return _by_autograd(
        call, lambda: _reverse_bilinear(call, a, b, drift), lambda: _forward_bilinear(call, a, b, drift)
    )


def _by_autograd(call: Call, reverse: Callable[[], tuple[Any, ...]], forward: Callable[[], tuple[Any, ...]]) -> Any:
    """What `reverse` returns, or `forward` where the former can't be, with the name of the route."""
    if isinstance(call.x, Jet):
        raise Unsupported("a function that series can't follow, under another operator")
    if torch.compiler.is_compiling():
        raise UnsupportedError(
            f"{call.operator}: series can't follow this function, and a compiled graph has no other way. Call it "
            "without torch.compile."
        )
    with differentiable_kernels():
        if in_transform():
            return *forward(), "nested forward"
        try:
            return *reverse(), "reverse"
        except PdekitError:
            raise
        except Exception as cause:
            try:
                return *forward(), "nested forward"
            except Exception:
                raise cause from None


@contextmanager
def differentiable_kernels() -> Iterator[None]:
    """Functions written out whose fused kernels lack higher derivatives (attention) or have wrong ones (norms)."""
    with sdpa_kernel(SDPBackend.MATH), _WrittenOut():
        yield


class _WrittenOut(TorchFunctionMode):
    """Normalisations by their formula: the third derivatives of torch's kernels in reverse mode are wrong."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FORMULAS:
            func = _FORMULAS[func]
        return func(*args, **(kwargs or {}))


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    y = _normalised(x, tuple(range(-len(normalized_shape), 0)), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return instance_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dims = tuple(range(2 - x.ndim, 0))
    y, each = _normalised(x, dims, eps), (-1, *[1] * len(dims))
    y = y if weight is None else y * weight.view(each)
    return y if bias is None else y + bias.view(each)


def _normalised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)


_FORMULAS: dict[Any, Callable[..., Any]] = {layer_norm: _layer_norm, instance_norm: _instance_norm}


class _GradientsOn(TorchFunctionMode):
    """Refuses blocks without gradients, which forward mode would differentiate through."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not torch.is_grad_enabled():
            raise Unsupported("a block without gradients")
        return func(*args, **(kwargs or {}))


def _honest(call: Call) -> Callable[[Tensor], Tensor]:
    def evaluate(x: Tensor) -> Tensor:
        with torch.enable_grad(), _GradientsOn():
            return call.at(x)

    return evaluate


def _chunks(directions: Tensor) -> int:
    return max(1, _CHUNK // max(1, directions[:1].numel()))


def _forward(call: Call, directions: Tensor, order: int) -> tuple[Tensor, list[Tensor]]:
    output, evaluate = call.at(call.x), _honest(call)

    def along(v: Tensor) -> tuple[Tensor, ...]:
        curve: Callable[[Tensor], Tensor] = lambda s: evaluate(call.x + s * v)  # noqa: E731
        s = torch.zeros((), dtype=call.x.dtype, device=call.x.device)
        derivatives = []
        for _ in range(order):
            curve = _derivative(curve)
            derivatives.append(curve(s))
        return tuple(derivatives)

    derivatives = torch.vmap(along, chunk_size=_chunks(directions))(directions)
    return output, [_as_recorded(d) for d in derivatives]


def _as_recorded(z: Tensor, own: Sequence[Tensor] = ()) -> Tensor:
    """Without its graph if the caller records none, or if it leads to nothing but `own` leaves."""
    return z if torch.is_grad_enabled() and (not own or _reaches_others(z, own)) else z.detach()


def _reaches_others(z: Tensor, own: Sequence[Tensor]) -> bool:
    stack, seen = [z.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and not any(leaf is x for x in own):
            return True
        stack.extend(following for following, _ in node.next_functions)
    return False


def _derivative(curve: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda s: torch.func.jvp(curve, (s,), (torch.ones_like(s),))[1]


def _forward_bilinear(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    output, evaluate = call.at(call.x), _honest(call)
    # Forward mode refuses tangents whose rows share memory.
    x = call.x.contiguous()

    def pair(v: Tensor, w: Tensor) -> Any:
        first = lambda y: torch.func.jvp(evaluate, (y,), (v,))[1]  # noqa: E731
        return torch.func.jvp(first, (x,), (w,))

    slopes_and_seconds: Any = torch.vmap(pair, chunk_size=_chunks(a))(a.contiguous(), b.contiguous())
    slope, second = slopes_and_seconds
    total = second.sum(0)
    if drift is not None:
        total = total + torch.func.jvp(evaluate, (x,), (drift.contiguous(),))[1]
    return output, _as_recorded(slope), _as_recorded(total)


def _reverse_jets(call: Call, directions: Any, order: int) -> tuple[Tensor, list[Tensor]]:
    """The output, and the derivatives along each direction, by what the function tells autograd and nothing else."""
    with recording():
        there, directions = call.recordable(), recordable(directions)
        leaf, x = _tracked(there)
        output = there.at(x)
        features = _features(call, output)
        own = [] if leaf is there.x else [leaf]
        if order == 1 and len(features) <= 2 * len(directions):
            slopes = torch.stack([_gradient(feature, x) for feature in features], -2)
            derivatives = [
                torch.einsum("...kd,r...d->r...k", slopes, directions).reshape(len(directions), *output.shape)
            ]
        else:
            columns = [_along(there, v, order, own) for v in directions]
            derivatives = [torch.stack([column[k] for column in columns]) for k in range(order)]
    return _as_recorded(output, own), [_as_recorded(d, own) for d in derivatives]


def _tracked(call: Call) -> tuple[Tensor, Tensor]:
    """A leaf with the state's values (the state itself if it is tracked), and a node of its own behind it."""
    leaf = call.x if call.x.requires_grad else call.x.detach().requires_grad_()
    return leaf, leaf.view_as(leaf)


def _features(call: Call, output: Any) -> list[Tensor]:
    """The numbers that an output has for each row, each (*batch,)."""
    shape = shape_of(call, output, "function")
    n = len(call.batch)
    if shape[:n] != tuple(call.batch):
        raise OperatorError(
            f"{call.operator}: the function must map a state of shape {tuple(call.x.shape)} to one row of numbers for "
            f"each of its rows, {(*call.batch, '...')}, got {shape}."
        )
    return list(output.reshape(*call.batch, output.shape[n:].numel()).unbind(-1))


def _along(call: Call, v: Tensor, order: int, own: list[Tensor]) -> list[Tensor]:
    """The derivatives along one direction."""
    s = torch.zeros(call.batch, dtype=call.x.dtype, device=call.x.device, requires_grad=True)
    own.append(s)
    current, column = call.at(call.x + s.unsqueeze(-1) * v), []
    for _ in range(order):
        current = _rowwise_derivative(current, s, own)
        column.append(current)
    return column


def _rowwise_derivative(output: Tensor, s: Tensor, own: list[Tensor]) -> Tensor:
    """d output / d s, where the rows of output depend on their own s only."""
    if output.shape == s.shape:
        return _gradient(output, s)
    # The gradient of sum_k w_k output_k in s is linear in w, and its gradient in w is what is wanted.
    w = torch.zeros_like(output, requires_grad=True)
    own.append(w)
    try:
        return _gradient(_gradient(output, s, w), w)
    except RuntimeError:  # a custom backward that can't be differentiated
        features = output.reshape(*s.shape, output.shape[s.ndim :].numel())
        columns = [_gradient(features[..., k], s) for k in range(features.shape[-1])]
        return torch.stack(columns, -1).reshape(output.shape)


def _gradient(output: Tensor, at: Tensor, weight: Tensor | None = None, *, recorded: bool = True) -> Tensor:
    if not output.requires_grad:
        return torch.zeros_like(at)
    weight = torch.ones_like(output) if weight is None else weight
    (gradient,) = torch.autograd.grad(output, at, weight, create_graph=recorded, allow_unused=True)
    return torch.zeros_like(at) if gradient is None else gradient


def reverse_gradient(call: Call) -> tuple[Tensor, Tensor]:
    """The output, which must be one number per row, and its gradient (*batch, d)."""
    recorded = torch.is_grad_enabled()
    with recording():
        there = call.recordable()
        leaf, x = _tracked(there)
        output = there.at(x)
        check_scalar(call, output)
        slope = _gradient(output, x, recorded=recorded)
    own = [] if leaf is there.x else [leaf]
    return _as_recorded(output, own), _as_recorded(slope, own)


def tangent(call: Call) -> Tensor:
    """The derivative along (1, ..., 1), for an argument of any shape: a time, of all rows or of each."""

    def reverse() -> tuple[Tensor]:
        with recording():
            there = call.recordable()
            leaf, x = _tracked(there)
            output = there.at(x)
            w = torch.zeros_like(output, requires_grad=True)
            slope = _gradient(_gradient(output, x, w), w)
        return (_as_recorded(slope, [w] if leaf is there.x else [leaf, w]),)

    return _by_autograd(
        call, reverse, lambda: (torch.func.jvp(_honest(call), (call.x,), (torch.ones_like(call.x),))[1],)
    )[0]


def _reverse_bilinear(call: Call, a: Tensor, b: Tensor, drift: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    with recording():
        there, a, b, drift = call.recordable(), *(recordable(z) for z in (a, b, drift))
        leaf, x = _tracked(there)
        output = there.at(x)
        slopes, totals = [], []
        for feature in _features(call, output):
            gradient = _gradient(feature, x)
            slopes.append((gradient * a).sum(-1))
            total = torch.zeros_like(feature) if drift is None else (gradient * drift).sum(-1)
            for v, w in zip(a, b, strict=True):
                total = total + (_gradient((gradient * v).sum(-1), x) * w).sum(-1)
            totals.append(total)
        slope = torch.stack(slopes, -1).reshape(len(a), *output.shape)
        total = torch.stack(totals, -1).reshape(output.shape)
    own = [] if leaf is there.x else [leaf]
    return _as_recorded(output, own), _as_recorded(slope, own), _as_recorded(total, own)
