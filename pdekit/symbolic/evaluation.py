"""Numbers from SymPy expressions: to any number of digits, with how far rounding may carry a computation of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy
from sympy import Basic, Expr, Symbol

from pdekit.errors import InputError, NumericalError

_EPS = float(np.finfo(np.float64).eps)
_LEAST_DIGITS = 20  # a few more than float64 has


class Evaluation(NamedTuple):
    """Values of k expressions at n points.

    Attributes:
        value: Rounded to float64, (n, k).
        magnitude: sum |terms|, (n, k): the absolute values of everything that is added up on the way, each with the
            factor by which a relative change of it moves the result. A computation whose every operation is rounded
            correctly is off by a few eps times it.
        error: A bound on the error of the digits themselves before they were rounded, (n, k).
    """

    value: np.ndarray
    magnitude: np.ndarray
    error: np.ndarray


def evaluate(
    expressions: Sequence[Expr], symbols: Sequence[Symbol], points: np.ndarray, *, digits: int = 30
) -> Evaluation:
    """Values of SymPy expressions in extended precision.

    Args:
        expressions: k real expressions.
        symbols: The m symbols they contain.
        points: Values of the symbols, (n, m), taken as exact binary numbers.
        digits: Decimal digits to compute with, at least 20.

    Raises:
        InputError: If shapes, symbols or digits don't fit.
        NumericalError: If a value is not a finite real number.

    Example:
        The derivative of a quotient that float64 would lose half its digits on:

        >>> x = sympy.Symbol("x")
        >>> found = evaluate([sympy.diff((1 - sympy.cos(x)) / x**2, x)], [x], np.array([[1e-4]]))
        >>> print(f"{found.value[0, 0]:.12e}, rounding magnified {found.magnitude[0, 0] / abs(found.value[0, 0]):.0e}")
        -8.333333327778e-06, rounding magnified 7e+17
    """
    points, expressions = np.asarray(points, dtype=np.float64), [sympy.sympify(e, strict=True) for e in expressions]
    if points.ndim != 2 or points.shape[1] != len(symbols):
        raise InputError(f"points must have shape (n, {len(symbols)}), one column per symbol, got {points.shape}.")
    if digits < _LEAST_DIGITS:
        raise InputError(f"digits must be at least {_LEAST_DIGITS}, got {digits}.")
    unknown = set().union(*(e.free_symbols for e in expressions)) - set(symbols) if expressions else set()
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise InputError(f"The expressions contain {names}, for which there is no value.")
    with mpmath.workdps(digits):
        rows = [[walk.read(e) for e in expressions] for walk in (_Walk(symbols, row) for row in points.tolist())]
    shape = (len(points), len(expressions))
    value, magnitude = (np.array([[pair[i] for pair in row] for row in rows], float).reshape(shape) for i in range(2))
    return Evaluation(value, magnitude, magnitude * 10.0 ** (1 - digits))


class _Walk:
    """One point: every subexpression is computed once."""

    def __init__(self, symbols: Sequence[Symbol], row: Sequence[float]) -> None:
        given = list(zip(symbols, row, strict=True))
        self._values: dict[Basic, Any] = {s: mpmath.mpf(v) for s, v in given}
        self._magnitudes: dict[Basic, float] = {s: abs(v) for s, v in given}

    def read(self, expression: Expr) -> tuple[float, float]:
        try:
            value, magnitude = self.value(expression), self.magnitude(expression)
        except (ZeroDivisionError, OverflowError):
            value = magnitude = mpmath.nan
        if not isinstance(value, mpmath.mpf) or not np.isfinite(float(value)):
            raise NumericalError(f"{expression} has no finite real value at this point: {value}.")
        if not np.isfinite(magnitude):
            raise NumericalError(f"{expression}: what is added up on the way overflows float64 at this point.")
        return float(value), magnitude

    def value(self, node: Basic) -> Any:
        found = self._values.get(node)
        if found is None:
            found = self._values[node] = self._computed(node)
        return found

    def _computed(self, node: Any) -> Any:
        if node.is_number:
            return mpmath.mpmathify(node.evalf(mpmath.mp.dps))
        arguments = [self.value(a) for a in node.args]
        if node.is_Add:
            return mpmath.fsum(arguments)
        if node.is_Mul:
            return mpmath.fprod(arguments)
        return arguments[0] ** arguments[1] if node.is_Pow else _function_of(node.func)(*arguments)

    def magnitude(self, node: Basic) -> float:
        found = self._magnitudes.get(node)
        if found is None:
            found = self._magnitudes[node] = self._added_up(node)
        return found

    def _added_up(self, node: Any) -> float:
        """sum |terms| of a sum; elsewhere its own size, and what each argument's magnitude does to it."""
        if node.is_Add:
            return sum(self.magnitude(a) for a in node.args)
        total = float(abs(self.value(node)))
        if node.is_number:
            return total
        for i, a in enumerate(node.args):
            # Symbols are exact: what is computed from them is rounded once, not twice.
            if not (a.is_number or a.is_Symbol):
                total += abs(float(self._slope(node, i))) * self.magnitude(a)
        return total

    def _slope(self, node: Any, i: int) -> Any:
        """The derivative of a product, power or function by its i-th argument."""
        values = [self.value(a) for a in node.args]
        if node.is_Mul:
            return mpmath.fprod(v for j, v in enumerate(values) if j != i)
        if node.is_Pow:
            base, exponent = values
            if i == 1:
                return self.value(node) * mpmath.log(abs(base)) if base else 0
            # Near zero the slope over what rounding may have made of the base: (1e-17)^4 where 0^4 was meant.
            around = abs(base) + mpmath.mpf(_EPS * self.magnitude(node.args[0])) if exponent >= 1 else base
            return exponent * around ** (exponent - 1) if around else 0
        return 1 if isinstance(node, _KINKED) else self.value(node.fdiff(i + 1))


_KINKED = (sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Min, sympy.Max)
_BY_NAME: Mapping[str, Callable[..., Any]] = {
    "Abs": lambda z: abs(z),
    "sign": mpmath.sign,
    "Heaviside": lambda z, at_zero=0.5: mpmath.mpf(z > 0) if z else mpmath.mpf(at_zero),
    "Min": min,
    "Max": max,
    "loggamma": lambda z: mpmath.loggamma(z).real,
    "polygamma": lambda n, z: mpmath.polygamma(int(n), z),
}


def _function_of(function: Any) -> Callable[..., Any]:
    name = function.__name__
    found = _BY_NAME.get(name) or getattr(mpmath, name, None)
    if found is None:
        raise InputError(f"There is no value of {name} to any number of digits: mpmath does not know it.")
    return found


__all__ = ["Evaluation", "evaluate"]
