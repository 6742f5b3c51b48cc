"""Writes expressions as text that `parse_expression` reads back to an equal expression."""

from collections.abc import Iterable
from typing import Any

import sympy
from sympy import Expr, Float
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from pdekit.errors import ModelError
from pdekit.symbolic.vocabulary import FUNCTIONS


class _TextPrinter(StrPrinter):
    """SymPy's plain text, restricted to what the whitelist reads: exact doubles, no constant that a symbol shadows."""

    def __init__(self, names: Iterable[str]):
        super().__init__()
        self.names = frozenset(names)

    def _print_Float(self, expr: Float) -> str:
        return repr(float(expr))

    def _print_Exp1(self, expr: Expr) -> str:
        return "exp(1)"

    def _print_Pi(self, expr: Expr) -> str:
        return "acos(-1)" if "pi" in self.names else "pi"

    def _print_Mul(self, expr: sympy.Mul) -> str:
        # One division per factor: in x/(2*(y + 1)) the reader would multiply out the denominator.
        coefficient, rest = expr.as_coeff_Mul()
        size = abs(coefficient)
        above, below = [], []
        numerator, denominator = size.as_numer_denom() if size.is_Rational else (size, sympy.S.One)
        above += [self._print(numerator)] if numerator != 1 else []
        below += [self._print(denominator)] if denominator != 1 else []
        factors: Any = rest.as_ordered_factors()
        for factor in factors:
            divides = isinstance(factor, sympy.Pow) and factor.exp.is_Number and factor.exp.is_negative
            shown = sympy.Pow(factor.base, -factor.exp) if divides else factor
            (below if divides else above).append(self.parenthesize(shown, PRECEDENCE["Mul"]))
        return "-" * bool(coefficient < 0) + "/".join(["*".join(above) or "1", *below])

    def _print_Function(self, expr: sympy.Function) -> str:
        name = expr.func.__name__
        if name not in FUNCTIONS:
            self._refuse(expr)
        return f"{name}({', '.join(map(self._print, expr.args))})"

    _print_Min = _print_Max = _print_Function

    def _print_Heaviside(self, expr: sympy.Heaviside) -> str:
        return f"Heaviside({self._print(expr.args[0])})"

    def _refuse(self, expr: Expr) -> None:
        raise ModelError(
            f"{expr} cannot be written as text that is read back safely: "
            f"{type(expr).__name__} is not in the formula language."
        )

    _print_Piecewise = _print_Relational = emptyPrinter = _refuse  # type: ignore[assignment]
    _print_GoldenRatio = _print_EulerGamma = _print_Catalan = _print_TribonacciConstant = _refuse  # type: ignore[assignment]


def write_expression(expression: Expr, names: Iterable[str] = ()) -> str:
    """The text of an expression.

    Args:
        expression: What to write.
        names: The symbols that will be declared when the text is read back, if more than the expression has.

    Raises:
        ModelError: If it contains something that the formula language lacks, such as a `Piecewise`.

    Example:
        >>> write_expression(sympy.Symbol("x") ** 2 / 2 + Float(0.1))
        'x**2/2 + 0.1'
    """
    return _TextPrinter({*names, *map(str, expression.free_symbols)}).doprint(expression)
