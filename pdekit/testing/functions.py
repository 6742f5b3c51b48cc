"""Functions that operators are tried on: as SymPy expressions, and the same made of torch operations.

The expressions are the truth; the torch form is what an operator differentiates. There are three forms, because
operators look at how a function is made: plain columns, a linear first layer, and a hollow function.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy
import torch
from sympy import Expr, ImmutableMatrix, Symbol
from torch import Tensor

from pdekit.symbolic import Compiled, write_expression

TIME = Symbol("t", real=True)


def state_symbols(dim: int) -> tuple[Symbol, ...]:
    """x1, ..., xd."""
    return tuple(Symbol(f"x{i + 1}", real=True) for i in range(dim))


class SymbolicFunction(ABC):
    """A function of time and d states: a scalar, or a vector of several entries.

    Attributes:
        dim: The number of states.
        outputs: The expressions, one for a scalar.
        scalar: Whether values have shape (*batch,) rather than (*batch, k).
    """

    dim: int
    outputs: tuple[Expr, ...]
    scalar: bool

    @property
    def state(self) -> tuple[Symbol, ...]:
        """The state symbols."""
        return state_symbols(self.dim)

    @property
    def timed(self) -> bool:
        """Whether it depends on the time; then it is called with (t, x)."""
        return any(TIME in e.free_symbols for e in self.outputs)

    @property
    def expression(self) -> Expr:
        """The expression of a scalar."""
        return self.outputs[0]

    @abstractmethod
    def module(self) -> torch.nn.Module:
        """The same as torch operations: (x) -> value, or (t, x) -> value if `timed`."""

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.outputs))
        return listed if self.scalar else f"[{listed}]"


class _Timed(torch.nn.Module):
    """Takes (x) or (t, x) and hands (t, x) on."""

    def __init__(self, compute: Callable[..., Tensor], timed: bool) -> None:
        super().__init__()
        self._compute, self._timed = compute, timed

    def forward(self, *arguments: Any) -> Tensor:
        *t, x = arguments
        return self._compute(t[0] if t else None, x)


@dataclass(frozen=True)
class Columns(SymbolicFunction):
    """Each entry by its formula in the columns of x.

    Args:
        dim: The number of states.
        outputs: The expressions in x1 ... xd and t.
        scalar: Whether the only entry is a scalar.

    Example:
        >>> x1, x2 = state_symbols(2)
        >>> Columns(2, (x1 * x2,), scalar=True).module()(torch.tensor([[2.0, 3.0]]))
        tensor([6.])
    """

    dim: int
    outputs: tuple[Expr, ...]
    scalar: bool = False

    def module(self) -> torch.nn.Module:
        """See `SymbolicFunction`."""
        compiled = Compiled(self.outputs[0] if self.scalar else list(self.outputs), self.state, TIME)
        return _Timed(compiled, self.timed)

    def __repr__(self) -> str:
        kind = "scalar" if self.scalar else "vector"
        return f"testing.{kind}({', '.join(repr(write_expression(e)) for e in self.outputs)}, dim={self.dim})"


@dataclass(frozen=True)
class Layered(SymbolicFunction):
    """g(W x + b): what a network with a linear first layer is.

    Args:
        weight: W, (h, d), of numbers.
        bias: b, (h,).
        outer: The expressions of g in z1 ... zh and t.
        scalar: Whether the only entry is a scalar.
    """

    weight: ImmutableMatrix
    bias: tuple[Expr, ...]
    outer: tuple[Expr, ...]
    scalar: bool = False

    @property
    def dim(self) -> int:  # type: ignore[override]
        """The number of states."""
        return self.weight.cols

    @property
    def inner(self) -> tuple[Symbol, ...]:
        """z1 ... zh."""
        return tuple(Symbol(f"z{i + 1}", real=True) for i in range(self.weight.rows))

    @cached_property
    def outputs(self) -> tuple[Expr, ...]:  # type: ignore[override]
        """g with W x + b put in."""
        layer = self.weight * sympy.Matrix(self.state)
        values: dict[Any, Any] = {z: layer[i] + self.bias[i] for i, z in enumerate(self.inner)}
        return tuple(_replaced(e, values) for e in self.outer)

    @property
    def timed(self) -> bool:
        """Whether g depends on the time."""
        return any(TIME in e.free_symbols for e in self.outer)

    def module(self) -> torch.nn.Module:
        """See `SymbolicFunction`."""
        return _LayeredModule(self)

    def __repr__(self) -> str:
        weight, bias = matrix_texts(self.weight.tolist()), matrix_texts([self.bias])[0]
        return f"testing.layered({weight}, {bias}, {matrix_texts([self.outer])[0]}, scalar={self.scalar})"


class _LayeredModule(torch.nn.Module):
    def __init__(self, function: Layered) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(function.dim, function.weight.rows, dtype=torch.float64)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor(function.weight.tolist(), dtype=torch.float64))
            self.layer.bias.copy_(torch.tensor([float(b) for b in function.bias], dtype=torch.float64))
        outer: Any = function.outer[0] if function.scalar else list(function.outer)
        self._outer = Compiled(outer, function.inner, TIME)

    def forward(self, *arguments: Any) -> Tensor:
        *t, x = arguments
        return self._outer(t[0] if t else None, self.layer(x))


@dataclass(frozen=True)
class HollowColumns(SymbolicFunction):
    """f_i = tau_i(x_i, h_i) with features h_i free of x_i, by the methods `condition` and `transform`.

    Args:
        dim: The number of states.
        features: (d, k) expressions of h; row i must not contain x_i.
        tau: The d expressions of tau_i in x_i and h1 ... hk, which stand for row i of the features.
    """

    dim: int
    features: ImmutableMatrix
    tau: tuple[Expr, ...]
    scalar: bool = False

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """h1 ... hk."""
        return tuple(Symbol(f"h{j + 1}", real=True) for j in range(self.features.cols))

    @property
    def timed(self) -> bool:
        """Whether features depend on the time, even if tau doesn't use them."""
        return TIME in self.features.free_symbols

    @cached_property
    def outputs(self) -> tuple[Expr, ...]:  # type: ignore[override]
        """tau with the features put in."""
        rows = [dict(zip(self.symbols, self.features.row(i), strict=True)) for i in range(self.dim)]
        return tuple(_replaced(e, row) for e, row in zip(self.tau, rows, strict=True))

    def module(self) -> torch.nn.Module:
        """See `SymbolicFunction`."""
        return _HollowModule(self)

    def __repr__(self) -> str:
        return f"testing.hollow({matrix_texts(self.features.tolist())}, {matrix_texts([self.tau])[0]})"


def _replaced(expression: Expr, values: dict[Any, Any]) -> Expr:
    return expression.subs(values, simultaneous=True)  # type: ignore[return-value,call-overload]


def matrix_texts(rows: Any) -> list[list[str]]:
    """The entries of rows of expressions as text that reads back."""
    return [[write_expression(e) for e in row] for row in rows]


class _HollowModule(torch.nn.Module):
    def __init__(self, function: HollowColumns) -> None:
        super().__init__()
        self._features = Compiled(function.features, function.state, TIME)
        symbols = function.symbols
        self._tau = [Compiled(e, (x, *symbols), TIME) for e, x in zip(function.tau, function.state, strict=True)]
        self.time = function.timed

    def condition(self, *arguments: Any) -> Tensor:
        *t, x = arguments
        return self._features(t[0] if t else None, x)

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        entries = zip(self._tau, x.split(1, -1), h.unbind(-2), strict=True)
        return torch.stack([tau(None, torch.cat([x_i, h_i], -1)) for tau, x_i, h_i in entries], -1)

    def forward(self, *arguments: Any) -> Tensor:
        return self.transform(arguments[-1], self.condition(*arguments))


__all__ = ["TIME", "Columns", "HollowColumns", "Layered", "SymbolicFunction", "matrix_texts", "state_symbols"]
