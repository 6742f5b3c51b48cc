"""Lowers SymPy expressions to a short list of torch operations on numbered registers."""

import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import sympy
import torch
from sympy import Basic, Expr, Float, Symbol
from sympy.core.relational import Relational

from pdekit.errors import ModelError
from pdekit.symbolic.operations import COMPARISONS, FOLDED, UNARY, atan2, heaviside, where

Register = int
Instruction = tuple[Callable[..., Any], Register, tuple[Register, ...]]
_CONSTANT, _PARAMETER, _STATE = range(3)  # what a register depends on, in the order in which terms are collected
_MAX_PRODUCT = 16  # whole exponents up to here become products, which are several times faster than pow


class Lowering:
    """Lowers expressions to instructions; equal instructions share one register."""

    def __init__(self, state: Sequence[Symbol], time: Symbol, params: Sequence[Symbol]):
        symbols = (*state, time, *params)
        self.kinds: list[int] = [_STATE] * len(state) + [_PARAMETER] * (1 + len(params))
        self.values: list[float | None] = [None] * len(symbols)
        self.inputs = len(symbols)
        self.table: dict[Basic, Register] = {symbol: i for i, symbol in enumerate(symbols)}
        self.known: dict[Any, Register] = {}
        self.program: list[Instruction] = []

    def outputs(self, expressions: Sequence[Expr]) -> list[Register]:
        """Lowers all expressions together and returns the registers of their values."""
        reduced: Any
        folded = [_fold_numbers(e) for e in expressions]
        shared, reduced = sympy.cse(folded, symbols=(sympy.Dummy() for _ in itertools.count()), order="none")
        for symbol, expression in shared:
            self.table[symbol] = self.lower(expression)
        return [self.lower(e) for e in reduced]

    def emit(self, function: Callable[..., Any], *sources: Register, key: Any = None) -> Register:
        """One instruction, or the register that already holds its result."""
        identity = (key or function, sources)
        if identity not in self.known:
            self.kinds.append(max(self.kinds[s] for s in sources))
            self.values.append(None)
            self.known[identity] = target = len(self.kinds) - 1
            self.program.append((function, target, sources))
        return self.known[identity]

    def number(self, value: float) -> Register:
        """The register that holds a number; it stays a Python float."""
        if value not in self.known:
            self.kinds.append(_CONSTANT)
            self.values.append(value)
            self.known[value] = len(self.kinds) - 1
        return self.known[value]

    def lower(self, e: Basic) -> Register:
        """The register of an expression, computed once."""
        if e not in self.table:
            self.table[e] = self._lower(e)
        return self.table[e]

    def _lower(self, e: Any) -> Register:
        if e.is_Number:
            return self.number(float(e))
        if isinstance(e, sympy.Add):
            return self._sum(e)
        if isinstance(e, sympy.Mul):
            return self._product(*e.as_coeff_Mul())
        if isinstance(e, sympy.Pow):
            return self._power(e.base, e.exp)
        if isinstance(e, sympy.Piecewise):
            return self._piecewise(e)
        if isinstance(e, sympy.Heaviside):
            return self.emit(heaviside, self.lower(e.args[0]))
        if isinstance(e, sympy.atan2):
            return self.emit(atan2, 0, *map(self.lower, e.args))
        if isinstance(e, sympy.polygamma):
            return self._polygamma(e.args[0], e.args[1])
        if isinstance(e, sympy.Not):
            return self.emit(operator.invert, self.lower(e.args[0]))
        if isinstance(e, Relational):
            return self.emit(COMPARISONS[type(e)], self.lower(e.lhs), self.lower(e.rhs))
        if type(e) in FOLDED:
            registers = sorted(map(self.lower, e.args), key=self.kinds.__getitem__)
            return self._fold(FOLDED[type(e)], registers)
        return self.emit(UNARY[type(e)], self.lower(e.args[0]))

    def _fold(self, function: Callable[..., Any], registers: Sequence[Register]) -> Register:
        result = registers[0]
        for register in registers[1:]:
            result = self.emit(function, result, register)
        return result

    def _sum(self, e: sympy.Add) -> Register:
        """Numbers first, then parameters, then states, so that each row pays only for what depends on it."""
        groups: dict[int, tuple[list[Register], list[Register]]] = defaultdict(lambda: ([], []))
        for term in e.args:
            coefficient, rest = term.as_coeff_Mul()
            negative = bool(coefficient < 0)
            register = self.number(float(abs(coefficient))) if rest == 1 else self._product(abs(coefficient), rest)
            groups[self.kinds[register]][negative].append(register)
        total: Register | None = None
        negative = False
        for kind in sorted(groups):
            plus, minus = groups[kind]
            if total is not None:
                (minus if negative else plus).insert(0, total)
            negative = not plus
            total = self._fold(operator.add, plus or minus)
            if plus:
                total = self._fold(operator.sub, [total, *minus])
        assert total is not None  # an Add has terms
        return self.emit(operator.neg, total) if negative else total

    def _product(self, coefficient: Expr, rest: Expr) -> Register:
        """coefficient * rest, with one division at the end of each group."""
        above: dict[int, list[Register]] = defaultdict(list)
        below: dict[int, list[Register]] = defaultdict(list)
        for factor in sympy.Mul.make_args(rest):
            base, exponent = (factor.base, factor.exp) if isinstance(factor, sympy.Pow) else (factor, sympy.S.One)
            if exponent.is_Number and exponent.is_negative and not base.is_Number:
                register = self._power(base, -exponent)
                below[self.kinds[register]].append(register)
            else:
                register = self.lower(factor)
                above[self.kinds[register]].append(register)
        number = float(coefficient)
        total: Register | None = None
        if number not in (1.0, -1.0):
            total = self.number(number)
        elif number == -1.0 and above[_PARAMETER]:
            above[_PARAMETER][0] = self.emit(operator.neg, above[_PARAMETER][0])
            number = 1.0
        for kind in sorted({*above, *below}):
            factors = ([] if total is None else [total]) + above[kind]
            total = self._fold(operator.mul, factors) if factors else None
            if below[kind]:
                divisor = self._fold(operator.mul, below[kind])
                if total is None and number == -1.0:
                    total, number = self.number(-1.0), 1.0
                total = (
                    self.emit(torch.reciprocal, divisor)
                    if total is None
                    else self.emit(operator.truediv, total, divisor)
                )
        assert total is not None  # `rest` is never the number 1
        return self.emit(operator.neg, total) if number == -1.0 else total

    def _power(self, base: Any, exponent: Any) -> Register:
        if exponent.is_Float and float(exponent) == round(float(exponent)):
            exponent = sympy.Integer(round(float(exponent)))
        if exponent == -1:
            return self.emit(torch.reciprocal, self.lower(base))
        if exponent == sympy.Rational(-1, 2):
            return self.emit(torch.rsqrt, self.lower(base))
        if exponent.is_Rational and exponent.q in (1, 2) and 0 < exponent <= _MAX_PRODUCT:
            whole, half = divmod(exponent, 1)
            factors = [self._whole_power(self.lower(base), int(whole))] if whole else []
            factors += [self.emit(torch.sqrt, self.lower(base))] if half else []
            return self._fold(operator.mul, factors)
        return self.emit(torch.pow, self.lower(base), self.lower(exponent))

    def _whole_power(self, base: Register, exponent: int) -> Register:
        """By repeated squaring; the squares are shared with other powers of the same base."""
        factors, square = [], base
        while exponent:
            if exponent % 2:
                factors.append(square)
            exponent //= 2
            if exponent:
                square = self.emit(operator.mul, square, square)
        return self._fold(operator.mul, factors)

    def _piecewise(self, e: Any) -> Register:
        *cases, (last, condition) = e.args
        if condition != sympy.true:
            raise ModelError(f"{e} is not defined everywhere: end the Piecewise with a case (expression, True).")
        result = self.lower(last)
        for value, condition in reversed(cases):
            result = self.emit(where, 0, self.lower(condition), self.lower(value), result)
        return result

    def _polygamma(self, order: Any, z: Any) -> Register:
        if not (order.is_Integer and order >= 0):
            raise ModelError(f"polygamma needs a whole order, got {order}.")
        n = int(order)
        if n == 0:
            return self.emit(torch.digamma, self.lower(z))
        return self.emit(lambda values: torch.polygamma(n, values), self.lower(z), key=("polygamma", n))


def _fold_numbers(e: Any) -> Any:
    """Irrational numbers such as sqrt(2) or pi become doubles; rational ones stay exact for the exponents."""
    if e.is_Atom or not e.free_symbols:
        if e.is_Number or not isinstance(e, Expr) or e.free_symbols:
            return e
        value = complex(e.evalf(30))
        if value.imag or not math.isfinite(value.real):
            raise ModelError(f"{e} is not a finite real number.")
        return Float(value.real)
    return e.func(*map(_fold_numbers, e.args))


def allocate(builder: Lowering, results: Sequence[Register]) -> tuple[list[Any], list[Any], list[Register]]:
    """Lets instructions reuse registers that are no longer needed, so that large batches stay small in memory."""
    last_use: dict[Register, float] = dict.fromkeys(results, math.inf)
    for position, (_, _, sources) in enumerate(builder.program):
        for source in sources:
            last_use[source] = max(last_use.get(source, -1), position)
    place = {register: register for register in range(builder.inputs)}
    template: list[Any] = [None] * builder.inputs
    for register, value in enumerate(builder.values):
        if value is not None:
            place[register] = len(template)
            template.append(value)
    free: list[int] = []
    program = []
    for position, (function, target, sources) in enumerate(builder.program):
        moved = tuple(place[source] for source in sources)
        done = {s for s in sources if last_use[s] == position and s >= builder.inputs and builder.values[s] is None}
        free.extend(place[s] for s in done)
        place[target] = free.pop() if free else len(template)
        if place[target] == len(template):
            template.append(None)
        program.append((function, place[target], moved))
    return template, program, [place[register] for register in results]
