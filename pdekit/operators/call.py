"""One call of a field: its leading arguments, the state, and what operators require of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.propagation import Jet

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Call:
    """`function(*leading, x, **context)`, to be evaluated at other states as well.

    Args:
        function: The field: f(x), f(t, x) or f(t, x, context=...).
        leading: The positional arguments before the state.
        x: The state (*batch, d).
        context: The keyword arguments.
        operator: Who asks, for messages.
        scalar: Whether the function must return one number per row, as a density does.
    """

    function: Function
    leading: tuple[Any, ...]
    x: Any
    context: dict[str, Any]
    operator: str
    scalar: bool = False

    def at(self, x: Any) -> Any:
        """The function at another state, everything else as it is."""
        return self.function(*self.leading, x, **self.context)

    def on(self, function: Function) -> "Call":
        """The same arguments for another function."""
        return replace(self, function=function)

    def moved(self, x: Any) -> "Call":
        """The same call at another state."""
        return replace(self, x=x)

    def recordable(self) -> "Call":
        """The same call with copies of inference tensors, which autograd does not take."""
        context = {key: recordable(z) for key, z in self.context.items()}
        leading = tuple(recordable(z) for z in self.leading)
        return replace(self, leading=leading, x=recordable(self.x), context=context)

    @property
    def batch(self) -> torch.Size:
        """The shape before the state's axis."""
        return self.x.shape[:-1]

    @property
    def dim(self) -> int:
        """The number of states d."""
        return self.x.shape[-1]

    @property
    def readable(self) -> bool:
        """Whether values can be looked at, and autograd records.

        Not in a compiled graph, in a transform of torch.func, on a meta device or inside another series.
        """
        if torch.compiler.is_compiling() or not isinstance(self.x, Tensor) or in_transform():
            return False
        return not self.x.is_meta

    @property
    def level(self) -> int:
        """The nesting level that series over this state must have."""
        return self.x.run.level + 1 if isinstance(self.x, Jet) else 1

    def rows(self, keep: slice | list[int]) -> "Call":
        """The call on some rows of the flattened batch."""
        return replace(
            self,
            leading=tuple(self._rows_of(z, keep) for z in self.leading),
            x=self.x.reshape(-1, self.dim)[keep],
            context={key: self._rows_of(z, keep) for key, z in self.context.items()},
        )

    @property
    def by_row(self) -> tuple[bool, ...]:
        """Which arguments beside the state look as if they had one entry per row."""
        return tuple(self._has_rows(z) for z in (*self.leading, *self.context.values()))

    def _has_rows(self, z: Any) -> bool:
        return isinstance(z, Tensor) and z.ndim > 0 and z.shape[:-1] == self.batch

    def _rows_of(self, z: Any, keep: slice | list[int]) -> Any:
        return z.reshape(-1, z.shape[-1])[keep] if self._has_rows(z) else z


def recordable(z: Any) -> Any:
    """A copy of an inference tensor; anything else as it is."""
    return z.clone() if isinstance(z, Tensor) and z.is_inference() else z


def in_transform() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp, ...) is under way: autograd.grad sees nothing through it."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined] - it has no stub


def rounding(z: Tensor) -> float:
    """The relative rounding error of a number like those in `z`; inside torch.autocast, of its dtype."""
    kind = z.device.type
    lower = [torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else []
    return max(torch.finfo(dtype).eps for dtype in (z.dtype, *lower))


@contextmanager
def recording() -> Iterator[None]:
    """Autograd records, whatever the caller's mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def make_call(operator: str, function: Function, args: tuple[Any, ...], context: dict[str, Any]) -> Call:
    """A checked call.

    Raises:
        OperatorError: If the state or a time has the wrong type or shape.
    """
    if not args:
        raise OperatorError(f"{operator}: expected the state as the last positional argument, got none.")
    *leading, x = args
    _check_state(operator, x)
    for z in leading:
        _check_time(operator, z, x)
    return Call(function, tuple(leading), x, context, operator)


def _check_state(operator: str, x: Any) -> None:
    if not isinstance(x, Tensor | Jet):
        raise OperatorError(
            f"{operator}: the state, the last positional argument, must be a tensor of shape (*batch, d), got "
            f"{type(x).__name__}. Use torch.as_tensor(x)."
        )
    if x.ndim == 0 or x.shape[-1] == 0:
        raise OperatorError(
            f"{operator}: the state must have shape (*batch, d) with d >= 1, got {tuple(x.shape)}. A single state of "
            "one dimension has shape (1,)."
        )
    if not x.is_floating_point():
        raise OperatorError(
            f"{operator}: derivatives need a real floating dtype, got {x.dtype}. Use x.double() or x.float()."
        )


def _check_time(operator: str, t: Any, x: Any) -> None:
    if isinstance(t, list | tuple) or (isinstance(t, np.ndarray) and t.ndim > 0):
        raise OperatorError(
            f"{operator}: a time is a number or a tensor, got {type(t).__name__}. Times of single rows are a tensor of "
            f"shape (*batch, 1) = {(*x.shape[:-1], 1)}."
        )
    if not isinstance(t, Tensor) or t.ndim == 0 or t.numel() == 1:
        return
    if t.shape[-1] != 1 or t.shape[:-1] != x.shape[:-1]:
        raise OperatorError(
            f"{operator}: a time is a scalar or has shape (*batch, 1) = {(*x.shape[:-1], 1)} for a state of shape "
            f"{tuple(x.shape)}, got {tuple(t.shape)}. A bare vector of times would broadcast along columns: use "
            "t.unsqueeze(-1)."
        )


def check_vector(call: Call, output: Any, *, channels: bool = False, what: str = "field") -> None:
    """Refuse an output that is not (*batch, d), or (*batch, d, channels) where `channels` allows it.

    Args:
        call: The call that was made.
        output: What it returned.
        channels: Whether one more axis is allowed.
        what: What the function is, for the message.

    Raises:
        OperatorError: With the shape expected and got.
    """
    shape, expected = shape_of(call, output, what), (*call.batch, call.dim)
    if shape == expected or (channels and shape[: len(expected)] == expected and len(shape) == len(expected) + 1):
        return
    hint = ""
    if shape == tuple(call.batch) and what == "field":
        hint = " A scalar function has no divergence; did you mean laplacian?"
    raise OperatorError(
        f"{call.operator}: the {what} must map a state of shape {tuple(call.x.shape)} to shape {expected}, got {shape}."
        + hint
    )


def check_scalar_or_vector(call: Call, output: Any) -> None:
    """Refuse an output that is neither (*batch,) nor (*batch, k), the latter also where the call wants a scalar.

    Raises:
        OperatorError: With the shape expected and got.
    """
    if call.scalar:
        check_scalar(call, output)
        return
    shape = shape_of(call, output, "function")
    if shape[: len(call.batch)] != tuple(call.batch) or len(shape) > len(call.batch) + 1:
        raise OperatorError(
            f"{call.operator}: the function must map a state of shape {tuple(call.x.shape)} to {tuple(call.batch)} "
            f"(scalar) or {(*call.batch, 'k')} (vector), got {shape}."
        )


def check_scalar(call: Call, output: Any) -> None:
    """Refuse an output that is not (*batch,).

    Raises:
        OperatorError: With the shape expected and got.
    """
    shape = shape_of(call, output, "density or potential")
    if shape != tuple(call.batch):
        hint = " Remove the last axis with .squeeze(-1)." if shape == (*call.batch, 1) else ""
        raise OperatorError(
            f"{call.operator}: the density or potential must map a state of shape {tuple(call.x.shape)} to "
            f"{tuple(call.batch)}, got {shape}.{hint}"
        )


def shape_of(call: Call, output: Any, what: str) -> tuple[int, ...]:
    """The shape of an output, which must be one real floating tensor.

    Raises:
        OperatorError: If it is anything else.
    """
    if not isinstance(output, Tensor | Jet):
        raise OperatorError(f"{call.operator}: the {what} must return one tensor, got {type(output).__name__}.")
    if not output.dtype.is_floating_point:
        raise OperatorError(f"{call.operator}: the {what} must return real floating numbers, got {output.dtype}.")
    return tuple(output.shape)
