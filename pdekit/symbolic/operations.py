"""The torch counterparts of SymPy's functions. A number may stand in for a tensor wherever an operation takes two."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import sympy
import torch
from sympy import Basic
from sympy.functions.elementary.piecewise import ExprCondPair
from torch import Tensor

from pdekit.errors import ModelError


def heaviside(z: Tensor) -> Tensor:
    """0 below, 1 above, and 1/2 at the jump, as in SymPy; its derivative is 0."""
    return (torch.sign(z) + 1.0) * 0.5


def _extremum(of_tensors: Callable[..., Tensor], with_number: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return of_tensors(a, b)
        return with_number(a, b) if isinstance(a, Tensor) else with_number(b, a)

    return apply


def _gamma(z: Tensor) -> Tensor:
    # lgamma is log |Gamma|; below zero the sign alternates between the poles.
    sign = torch.where((z < 0) & (torch.remainder(torch.floor(z), 2) != 0), -1.0, 1.0).to(z)
    return sign * torch.exp(torch.lgamma(z))


def where(like: Tensor, condition: Tensor, yes: Any, no: Any) -> Tensor:
    """torch.where, in which numbers take the dtype and device of `like`."""
    yes, no = (
        v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in (yes, no)
    )
    return torch.where(condition, yes, no)


def atan2(like: Tensor, y: Any, x: Any) -> Tensor:
    """torch.atan2, in which numbers take the dtype and device of `like`."""
    y, x = (v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in (y, x))
    return torch.atan2(y, x)


UNARY: Mapping[type[Basic], Callable[[Tensor], Tensor]] = {
    **{
        getattr(sympy, name): getattr(torch, name)
        for name in (
            *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
            *("exp", "log", "sign", "erf", "erfc"),
        )
    },
    sympy.Abs: torch.abs,
    sympy.loggamma: torch.lgamma,
    sympy.gamma: _gamma,
    sympy.digamma: torch.digamma,
    sympy.sec: lambda z: torch.reciprocal(torch.cos(z)),
    sympy.csc: lambda z: torch.reciprocal(torch.sin(z)),
    sympy.cot: lambda z: torch.reciprocal(torch.tan(z)),
    sympy.sech: lambda z: torch.reciprocal(torch.cosh(z)),
    sympy.coth: lambda z: torch.reciprocal(torch.tanh(z)),
}
FOLDED: Mapping[type[Basic], Callable[..., Tensor]] = {
    sympy.Min: _extremum(torch.minimum, lambda a, b: torch.clamp(a, max=b)),
    sympy.Max: _extremum(torch.maximum, lambda a, b: torch.clamp(a, min=b)),
    sympy.And: operator.and_,
    sympy.Or: operator.or_,
}
COMPARISONS: Mapping[type[Basic], Callable[..., Any]] = {
    sympy.StrictLessThan: operator.lt,
    sympy.LessThan: operator.le,
    sympy.StrictGreaterThan: operator.gt,
    sympy.GreaterThan: operator.ge,
    sympy.Equality: operator.eq,
    sympy.Unequality: operator.ne,
}
_STRUCTURE = (
    sympy.Add,
    sympy.Mul,
    sympy.Pow,
    sympy.Heaviside,
    sympy.Piecewise,
    sympy.atan2,
    sympy.polygamma,
    sympy.Not,
)
_SUPPORTED = (*_STRUCTURE, *UNARY, *FOLDED, *COMPARISONS, ExprCondPair)
_REASONS: Mapping[str, str] = {
    "DiracDelta": "it is the derivative of a jump, which has no values; smooth the coefficient, for example with tanh",
    "Derivative": "SymPy could not differentiate this; write the coefficient with smooth functions",
    "Integral": "write the integral in closed form",
}


def check_supported(expression: Basic, where: str = "The expression") -> None:
    """Raises a `ModelError` naming the first part of an expression that torch cannot compute."""
    for part in sympy.preorder_traversal(expression):
        if part.is_Atom:
            if part in (sympy.I, sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
                raise ModelError(f"{where}, {expression}, contains {part}, which is not a real number.")
        elif not isinstance(part, _SUPPORTED):
            name = type(part).__name__ if not isinstance(part, sympy.Function) else str(part.func)
            reason = _REASONS.get(name, "pdekit has no torch counterpart for it")
            raise ModelError(f"{where}, {expression}, contains {name}: {reason}.")
