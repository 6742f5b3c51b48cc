"""The vocabulary of formulas: the functions and constants that they may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sympy
from sympy import Expr, Float, Rational

MAX_CHOICES = 16  # of Min and Max: SymPy compares all pairs

CONSTANTS: Mapping[str, Expr] = {"pi": sympy.pi, "E": sympy.E}


@dataclass(frozen=True)
class Function:
    """A function that formulas may call: how to build it, and between how many and how many arguments it takes."""

    build: Callable[..., Expr]
    least: int = 1
    most: int = 1


def _loggamma(z: Expr) -> Expr:
    # SymPy turns log Gamma of an exact integer into a factorial, which is unbounded work; of a double it is one number.
    return sympy.loggamma(Float(float(z)) if z.is_Rational else z)


FUNCTIONS: Mapping[str, Function] = {
    **{
        name: Function(getattr(sympy, name))
        for name in (
            *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
            *("exp", "log", "sqrt", "sign", "erf", "erfc", "Abs", "Heaviside"),
        )
    },
    "ln": Function(sympy.log),
    "log2": Function(lambda z: sympy.log(z) / sympy.log(2)),
    "log10": Function(lambda z: sympy.log(z) / sympy.log(10)),
    "abs": Function(sympy.Abs),
    "cbrt": Function(lambda z: sympy.sign(z) * sympy.Abs(z) ** Rational(1, 3)),
    # By tanh, whose value and derivatives stay finite where exp(-z) overflows.
    "sigmoid": Function(lambda z: (1 + sympy.tanh(z / 2)) / 2),
    "loggamma": Function(_loggamma),
    "atan2": Function(sympy.atan2, 2, 2),
    "Min": Function(sympy.Min, 2, MAX_CHOICES),
    "Max": Function(sympy.Max, 2, MAX_CHOICES),
    "min": Function(sympy.Min, 2, MAX_CHOICES),
    "max": Function(sympy.Max, 2, MAX_CHOICES),
}
