"""One call of a field: its leading arguments, the state, and what operators require of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    """

    function: Function
    leading: tuple[Any, ...]
    x: Any
    context: dict[str, Any]
    operator: str

    def at(self, x: Any) -> Any:
        """The function at another state, everything else as it is."""
        return self.function(*self.leading, x, **self.context)

    def on(self, function: Function) -> "Call":
        """The same arguments for another function."""
        return Call(function, self.leading, self.x, self.context, self.operator)

    @property
    def batch(self) -> torch.Size:
        """The shape before the state's axis."""
        return self.x.shape[:-1]

    @property
    def dim(self) -> int:
        """The number of states d."""
        return self.x.shape[-1]

    @property
    def level(self) -> int:
        """The nesting level that series over this state must have."""
        return self.x.run.level + 1 if isinstance(self.x, Jet) else 1

    def rows(self, keep: slice) -> "Call":
        """The call on some rows of the flattened batch."""
        return Call(
            self.function,
            tuple(self._rows_of(z, keep) for z in self.leading),
            self.x.reshape(-1, self.dim)[keep],
            {key: self._rows_of(z, keep) for key, z in self.context.items()},
            self.operator,
        )

    def _rows_of(self, z: Any, keep: slice) -> Any:
        if not isinstance(z, Tensor) or z.ndim < 2 or z.shape[:-1] != self.batch:
            return z
        return z.reshape(-1, z.shape[-1])[keep]


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
    if not isinstance(t, Tensor) or t.ndim == 0 or t.numel() == 1:
        return
    if t.shape[-1] != 1 or t.shape[:-1] != x.shape[:-1]:
        raise OperatorError(
            f"{operator}: a time is a scalar or has shape (*batch, 1) = {(*x.shape[:-1], 1)} for a state of shape "
            f"{tuple(x.shape)}, got {tuple(t.shape)}. A bare vector of times would broadcast along columns: use "
            "t.unsqueeze(-1)."
        )


def check_vector(call: Call, output: Any, *, channels: bool = False) -> None:
    """Refuse an output that is not (*batch, d), or (*batch, d, channels) where `channels` allows it.

    Raises:
        OperatorError: With the shape expected and got.
    """
    shape, expected = tuple(output.shape), (*call.batch, call.dim)
    if shape == expected or (channels and shape[: len(expected)] == expected and len(shape) == len(expected) + 1):
        return
    raise OperatorError(
        f"{call.operator}: the field must map a state of shape {tuple(call.x.shape)} to shape {expected}, got {shape}."
        + (" A scalar function has no divergence; did you mean laplacian?" if shape == tuple(call.batch) else "")
    )


def check_scalar_or_vector(call: Call, output: Any) -> None:
    """Refuse an output that is neither (*batch,) nor (*batch, k).

    Raises:
        OperatorError: With the shape expected and got.
    """
    shape = tuple(output.shape)
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
    if tuple(output.shape) != tuple(call.batch):
        hint = " Remove the last axis with .squeeze(-1)." if tuple(output.shape) == (*call.batch, 1) else ""
        raise OperatorError(
            f"{call.operator}: the density or potential must map a state of shape {tuple(call.x.shape)} to "
            f"{tuple(call.batch)}, got {tuple(output.shape)}.{hint}"
        )
