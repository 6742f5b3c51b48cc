"""Turns SymPy expressions into one vectorised torch function.

The expressions become a short list of torch operations in which each common subexpression is computed once; calling
the function runs down that list. There is no code generation. Three choices make it as fast as torch written by hand:
numbers stay Python floats, so that the dtype follows the state; factors and terms that depend on parameters alone are
collected first, so that they cost one scalar operation and not one per row; whole powers become products.
"""

import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
import torch
from sympy import Basic, Expr, Float, Symbol
from sympy.core.relational import Relational
from sympy.functions.elementary.piecewise import ExprCondPair
from torch import Tensor

from pdekit.errors import InputError, ModelError

Register = int
_CONSTANT, _PARAMETER, _STATE = range(3)  # what a register depends on, in the order in which terms are collected
_MAX_PRODUCT = 16  # whole exponents up to here become products, which are several times faster than pow


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


def _where(like: Tensor, condition: Tensor, yes: Any, no: Any) -> Tensor:
    yes, no = (
        v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in (yes, no)
    )
    return torch.where(condition, yes, no)


def _atan2(like: Tensor, y: Any, x: Any) -> Tensor:
    y, x = (v if isinstance(v, Tensor) else torch.full((), v, dtype=like.dtype, device=like.device) for v in (y, x))
    return torch.atan2(y, x)


_UNARY: Mapping[type[Basic], Callable[[Tensor], Tensor]] = {
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
_FOLDED: Mapping[type[Basic], Callable[..., Tensor]] = {
    sympy.Min: _extremum(torch.minimum, lambda a, b: torch.clamp(a, max=b)),
    sympy.Max: _extremum(torch.maximum, lambda a, b: torch.clamp(a, min=b)),
    sympy.And: operator.and_,
    sympy.Or: operator.or_,
}
_COMPARISONS: Mapping[type[Basic], Callable[..., Any]] = {
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
_SUPPORTED = (*_STRUCTURE, *_UNARY, *_FOLDED, *_COMPARISONS, ExprCondPair)
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


class Compiled:
    """Expressions in a state, a time and parameters as one torch function `(t, x, theta)`.

    Args:
        expressions: One expression (values of shape (*batch,)), a list of n (shape (*batch, n)) or an n x m matrix
            (shape (*batch, n, m)).
        state: The d state symbols, the columns of `x`.
        time: The time symbol.
        params: The k parameter symbols, the columns of `theta`.

    Calling it takes `t`, a number, a 0-d tensor or (*batch, 1) (anything when the expressions don't contain it); `x` of
    shape (*batch, d); and `theta` of shape (k,) or (*batch, k), which may be left out when k = 0. The result has the
    dtype and device of `x`, and autograd reaches `x`, `t` and `theta`.

    Raises:
        ModelError: When built, if an expression has unknown symbols or functions.
        InputError: When called, if a shape or dtype does not fit.

    Example:
        >>> import sympy, torch
        >>> x, k, t = sympy.symbols("x k t", real=True)
        >>> f = Compiled([k * x**2], state=[x], time=t, params=[k])
        >>> f(0.0, torch.tensor([[1.0], [2.0]]), torch.tensor([10.0]))
        tensor([[10.],
                [40.]])
    """

    def __init__(self, expressions: Any, state: Sequence[Symbol], time: Symbol, params: Sequence[Symbol] = ()):
        if isinstance(expressions, sympy.MatrixBase):
            self.shape: tuple[int, ...] = expressions.shape
            outputs = list(expressions.flat())
        elif isinstance(expressions, Sequence):
            self.shape, outputs = (len(expressions),), list(expressions)
        else:
            self.shape, outputs = (), [expressions]
        outputs = [sympy.sympify(e, strict=True) for e in outputs]
        self.state, self.time, self.params = tuple(state), time, tuple(params)
        self._check_symbols(outputs)
        builder = _Builder(self.state, time, self.params)
        results = builder.outputs(outputs)
        self.uses_time = any(time in e.free_symbols for e in outputs)
        self.uses_params = any(e.free_symbols & set(self.params) for e in outputs)
        self._template, self._program, self._results = _allocate(builder, results)

    def _check_symbols(self, outputs: Sequence[Expr]) -> None:
        known = {*self.state, self.time, *self.params}
        for expression in outputs:
            check_supported(expression)
            if unknown := expression.free_symbols - known:
                names = ", ".join(sorted(map(str, unknown)))
                raise ModelError(
                    f"{expression} contains {names}, which is neither state, time nor parameter of the model."
                )

    @property
    def operations(self) -> int:
        """The number of torch operations that one call runs."""
        return len(self._program)

    def __repr__(self) -> str:
        arguments = ", ".join(map(str, (*self.state, self.time, *self.params)))
        return f"Compiled({arguments}: shape (*batch, {', '.join(map(str, self.shape))}), {self.operations} operations)"

    def __call__(self, t: Any, x: Tensor, theta: Tensor | None = None) -> Tensor:
        """The values at `x`; the class states the shapes."""
        dim = len(self.state)
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise InputError(
                f"x must be a floating-point tensor, got {x.dtype if isinstance(x, Tensor) else type(x).__name__}."
            )
        if x.ndim == 0 or x.shape[-1] != dim:
            raise InputError(f"x must have shape (*batch, {dim}) with one column per state, got {tuple(x.shape)}.")
        batch = x.shape[:-1]
        registers = self._template.copy()
        registers[:dim] = x.unbind(-1)
        if self.uses_time:
            registers[dim] = time = self._time(t, x)
            if time.ndim:
                batch = torch.broadcast_shapes(batch, time.shape)
        if self.uses_params:
            theta = self._theta(theta, x)
            registers[dim + 1 : dim + 1 + len(self.params)] = theta.unbind(-1)
            if theta.ndim > 1:
                batch = torch.broadcast_shapes(batch, theta.shape[:-1])
        for function, target, sources in self._program:
            registers[target] = function(*[registers[source] for source in sources])
        return self._assemble([registers[i] for i in self._results], batch, x)

    def _time(self, t: Any, x: Tensor) -> Tensor:
        if not isinstance(t, Tensor):
            if t is None:
                raise InputError(f"The expressions depend on the time {self.time}, but t is None.")
            return torch.full((), float(t), dtype=x.dtype, device=x.device)
        if t.ndim and t.shape[-1] != 1:
            raise InputError(
                f"t must be a number or have shape (*batch, 1), got {tuple(t.shape)}: a bare vector of times is "
                "ambiguous. Write t.unsqueeze(-1) for one time per row."
            )
        return (t[..., 0] if t.ndim else t).to(x)

    def _theta(self, theta: Tensor | None, x: Tensor) -> Tensor:
        count = len(self.params)
        if theta is None or not isinstance(theta, Tensor):
            if theta is None:
                raise InputError(
                    f"theta is missing: expected the parameters {', '.join(map(str, self.params))}, in this order."
                )
            theta = torch.as_tensor(theta, dtype=x.dtype, device=x.device)
        if theta.ndim == 0 or theta.shape[-1] != count:
            names = ", ".join(map(str, self.params))
            raise InputError(
                f"theta must have shape ({count},) or (*batch, {count}) for {names}; got {tuple(theta.shape)}."
            )
        return theta.to(x)

    def _assemble(self, values: list[Any], batch: torch.Size, x: Tensor) -> Tensor:
        columns = []
        for value in values:
            if not isinstance(value, Tensor):
                value = torch.full((), value, dtype=x.dtype, device=x.device)
            columns.append(value if value.shape == batch else value.expand(batch))
        if not self.shape:
            return columns[0]
        if len(columns) == 1:
            return columns[0].reshape(*batch, *self.shape)
        if not columns:
            return x.new_zeros((*batch, *self.shape))
        stacked = torch.stack(columns, dim=-1)
        return stacked if len(self.shape) == 1 else stacked.reshape(*batch, *self.shape)


class _Builder:
    """Lowers expressions to instructions; equal instructions share one register."""

    def __init__(self, state: Sequence[Symbol], time: Symbol, params: Sequence[Symbol]):
        symbols = (*state, time, *params)
        self.kinds: list[int] = [_STATE] * len(state) + [_PARAMETER] * (1 + len(params))
        self.values: list[float | None] = [None] * len(symbols)
        self.inputs = len(symbols)
        self.table: dict[Basic, Register] = {symbol: i for i, symbol in enumerate(symbols)}
        self.known: dict[Any, Register] = {}
        self.program: list[tuple[Callable[..., Any], Register, tuple[Register, ...]]] = []

    def outputs(self, expressions: Sequence[Expr]) -> list[Register]:
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
        if value not in self.known:
            self.kinds.append(_CONSTANT)
            self.values.append(value)
            self.known[value] = len(self.kinds) - 1
        return self.known[value]

    def lower(self, e: Basic) -> Register:
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
            return self.emit(_heaviside, self.lower(e.args[0]))
        if isinstance(e, sympy.atan2):
            return self.emit(_atan2, 0, *map(self.lower, e.args))
        if isinstance(e, sympy.polygamma):
            return self._polygamma(e.args[0], e.args[1])
        if isinstance(e, sympy.Not):
            return self.emit(operator.invert, self.lower(e.args[0]))
        if isinstance(e, Relational):
            return self.emit(_COMPARISONS[type(e)], self.lower(e.lhs), self.lower(e.rhs))
        if type(e) in _FOLDED:
            registers = sorted(map(self.lower, e.args), key=self.kinds.__getitem__)
            return self._fold(_FOLDED[type(e)], registers)
        return self.emit(_UNARY[type(e)], self.lower(e.args[0]))

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
            result = self.emit(_where, 0, self.lower(condition), self.lower(value), result)
        return result

    def _polygamma(self, order: Any, z: Any) -> Register:
        if not (order.is_Integer and order >= 0):
            raise ModelError(f"polygamma needs a whole order, got {order}.")
        n = int(order)
        if n == 0:
            return self.emit(torch.digamma, self.lower(z))
        return self.emit(lambda values: torch.polygamma(n, values), self.lower(z), key=("polygamma", n))


def _heaviside(z: Tensor) -> Tensor:
    return (torch.sign(z) + 1.0) * 0.5  # 1/2 at the jump, as in SymPy


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


def _allocate(builder: _Builder, results: Sequence[Register]) -> tuple[list[Any], list[Any], list[Register]]:
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
