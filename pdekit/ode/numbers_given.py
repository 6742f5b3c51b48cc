"""Numbers given as options: Python's own, NumPy's, fractions."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from pdekit.errors import InputError


def real(value: Any, what: str, accept: Callable[[float], bool]) -> float:
    """The number as a float.

    Args:
        value: What was given.
        what: The error's first half: what it must be.
        accept: Which numbers are right; NaN comes here too.

    Raises:
        InputError: If it is no number, or not a right one.

    Example:
        >>> from fractions import Fraction
        >>> real(Fraction(1, 4), "step must be positive", lambda x: x > 0)
        0.25
    """
    if isinstance(value, Real) and not isinstance(value, bool) and accept(float(value)):
        return float(value)
    raise InputError(f"{what}, got {value!r}.")


def whole(value: Any, name: str, least: int = 1) -> int:
    """The number as an int.

    Raises:
        InputError: If it is no whole number, or below the least.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise InputError(f"{name} must be a whole number, at least {least}, got {value!r}.")


def one_of(value: Any, what: str, numbers: tuple[int, ...]) -> int:
    """One of a few numbers.

    Raises:
        InputError: If it is none of these.
    """
    return int(real(value, what, lambda x: x in numbers))


def settle(option: Any, **values: Any) -> None:
    """Puts fields of a frozen object into their usual form."""
    for name, value in values.items():
        object.__setattr__(option, name, value)


__all__ = ["one_of", "real", "settle", "whole"]
