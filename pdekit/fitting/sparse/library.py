"""The candidate terms that a sparse search chooses from, stated before the names of the states are known."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import sympy
from sympy import Expr, Symbol

from pdekit.errors import ExpressionError, InputError
from pdekit.symbolic.operations import check_supported
from pdekit.symbolic.parser import canonical, parse_expression

MOST_TERMS = 1000
_HIGHEST_DEGREE = 20


class _Part(Protocol):
    """Some of a library's terms."""

    def terms(self, states: Sequence[Symbol], symbols: Mapping[str, Symbol]) -> list[Expr]: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Library:
    """Candidate terms for a coefficient of an SDE.

    Libraries are made by `polynomial`, `trigonometric` and `of`, and put together by `+`. The same library serves any
    states: which ones there are is said by the data. Terms that are equal up to a factor count once.

    Args:
        parts: What the library was put together from.

    Example:
        >>> library = Library.polynomial(2) + Library.of("sin(2*x)", "x*x")
        >>> library
        Library(polynomials to degree 2 + sin(2*x), x*x)
        >>> library.bind(["x"])
        (1, x, x**2, sin(2*x))
        >>> Library.polynomial(2).bind(["x", "y"])
        (1, x, y, x**2, x*y, y**2)
    """

    parts: tuple[_Part, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("A library needs at least one term; start with Library.polynomial(3), for example.")

    @classmethod
    def polynomial(cls, degree: int, *, interactions: bool = True) -> "Library":
        """All monomials in the states up to a degree, the constant 1 included.

        Args:
            degree: The highest total degree, 0 to 20.
            interactions: Whether products of different states are among them.

        Raises:
            InputError: If the degree is not a whole number from 0 to 20.
        """
        if not isinstance(degree, int) or isinstance(degree, bool) or not 0 <= degree <= _HIGHEST_DEGREE:
            raise InputError(f"The degree must be a whole number from 0 to {_HIGHEST_DEGREE}, got {degree!r}.")
        return cls((_Polynomial(degree, interactions),))

    @classmethod
    def trigonometric(cls, frequencies: float | Sequence[float] = 1.0) -> "Library":
        """sin(k x) and cos(k x) of every state x for angular frequencies k.

        Args:
            frequencies: One or several positive numbers, in radians per unit of the state.

        Raises:
            InputError: If a frequency is not a positive number.
        """
        given = [frequencies] if isinstance(frequencies, int | float) else list(frequencies)
        good = [k for k in given if isinstance(k, int | float) and math.isfinite(k) and k > 0]
        if not good or len(good) < len(given):
            raise InputError(f"Frequencies must be positive numbers, got {frequencies!r}.")
        return cls((_Trigonometric(tuple(float(k) for k in good)),))

    @classmethod
    def of(cls, *terms: str | Expr) -> "Library":
        """Terms of one's own: text such as "x*exp(-y)", or SymPy expressions, in the states and the time t.

        Raises:
            InputError: If there are none, or one is neither text nor a SymPy expression.
        """
        if not terms:
            raise InputError('Library.of needs at least one term, such as Library.of("x", "sin(2*x)").')
        for term in terms:
            if not isinstance(term, str | Expr):
                raise InputError(f"A term must be text or a SymPy expression, got {type(term).__name__} {term!r}.")
        return cls((_Expressions(tuple(terms)),))

    def __add__(self, other: "Library") -> "Library":
        """The terms of both."""
        return Library((*self.parts, *other.parts)) if isinstance(other, Library) else NotImplemented

    def bind(self, states: Sequence[str], time: str = "t") -> tuple[Expr, ...]:
        """The terms in states of these names, without factors and without duplicates.

        Args:
            states: The names of the states.
            time: The name of the time.

        Raises:
            ExpressionError: If a term of the user's does not read as a formula in these names.
            ModelError: If a SymPy term has no torch counterpart.
            InputError: If a term is zero, or there are more than 1000.
        """
        symbols = {name: Symbol(name, real=True) for name in (*states, time)}
        columns = [symbols[name] for name in states]
        found: dict[Expr, None] = {}
        for part in self.parts:
            for term in part.terms(columns, symbols):
                found[_without_factor(term)] = None
        if len(found) > MOST_TERMS:
            raise InputError(
                f"The library has {len(found)} terms in {len(states)} state(s), more than {MOST_TERMS}; "
                "lower the degree, or leave out interactions."
            )
        return tuple(found)

    def __repr__(self) -> str:
        return f"Library({' + '.join(map(str, self.parts))})"


def _without_factor(term: Expr) -> Expr:
    factor, rest = term.as_coeff_Mul()
    if factor == 0:
        raise InputError("A term of the library is zero; leave it out.")
    return rest


@dataclass(frozen=True)
class _Polynomial:
    degree: int
    interactions: bool

    def terms(self, states: Sequence[Symbol], symbols: Mapping[str, Symbol]) -> list[Expr]:
        if not self.interactions:
            powers = [x**k for k in range(1, self.degree + 1) for x in states]
            return [sympy.Integer(1), *powers]
        count = math.comb(len(states) + self.degree, self.degree)
        if count > MOST_TERMS:
            raise InputError(
                f"There are {count} monomials to degree {self.degree} in {len(states)} states, more than {MOST_TERMS}; "
                "lower the degree, or pass interactions=False."
            )
        return [
            sympy.Mul(*choice)
            for k in range(self.degree + 1)
            for choice in itertools.combinations_with_replacement(states, k)
        ]

    def __str__(self) -> str:
        return f"polynomials to degree {self.degree}" + ("" if self.interactions else " without interactions")


@dataclass(frozen=True)
class _Trigonometric:
    frequencies: tuple[float, ...]

    def terms(self, states: Sequence[Symbol], symbols: Mapping[str, Symbol]) -> list[Expr]:
        whole = [sympy.Integer(int(k)) if k.is_integer() else sympy.Float(k) for k in self.frequencies]
        return [f(k * x) for k in whole for x in states for f in (sympy.sin, sympy.cos)]

    def __str__(self) -> str:
        return "sines and cosines of frequency " + ", ".join(f"{k:g}" for k in self.frequencies)


@dataclass(frozen=True)
class _Expressions:
    entries: tuple[str | Expr, ...]

    def terms(self, states: Sequence[Symbol], symbols: Mapping[str, Symbol]) -> list[Expr]:
        return [_read(entry, symbols) for entry in self.entries]

    def __str__(self) -> str:
        return ", ".join(map(str, self.entries))


def _read(entry: str | Expr, symbols: Mapping[str, Symbol]) -> Expr:
    """A term of the user's in the states' symbols."""
    where = f"The term {entry} of the library"
    if isinstance(entry, str):
        try:
            return parse_expression(entry, symbols)
        except ExpressionError as error:
            raise ExpressionError(f"{where}: {error} A term may use the states and the time.") from None
    if unknown := sorted({str(s) for s in entry.free_symbols} - set(symbols)):
        known = ", ".join(symbols)
        raise ExpressionError(
            f"{where} contains {', '.join(unknown)}; a term may use the states and the time: {known}."
        )
    check_supported(entry, where)
    return canonical(entry, symbols)
