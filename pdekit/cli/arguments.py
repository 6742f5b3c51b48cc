"""Reads the small languages of flags: `a,b`, `name=value`, `low:high`."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from pdekit.errors import InputError

T = TypeVar("T")
Interval = tuple[float | None, float | None]


def name_list(values: Sequence[str] | None) -> tuple[str, ...]:
    """Names from a flag that may be repeated and may hold several, separated by commas.

    Example:
        >>> name_list(["a, b", "c"])
        ('a', 'b', 'c')
    """
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


def number_list(values: Sequence[str] | None, flag: str) -> tuple[float, ...]:
    """Numbers from such a flag.

    Raises:
        InputError: If one is not a finite number.
    """
    return tuple(_number(part, flag, f"a number, such as {flag} 0.5") for part in name_list(values))


def assignments(values: Sequence[str] | None, flag: str) -> dict[str, float]:
    """`name=value` pairs.

    Raises:
        InputError: If a pair doesn't have this form, or a name comes twice.

    Example:
        >>> assignments(["a=1,b=-0.5"], "--fix")
        {'a': 1.0, 'b': -0.5}
    """
    expected = f"name=value, such as {flag} gamma=0.5"
    return _pairs(name_list(values), flag, expected, lambda text: _number(text, flag, expected))


def intervals(values: Sequence[str] | None, flag: str) -> dict[str, Interval]:
    """`name=low:high` pairs.

    Raises:
        InputError: If a pair doesn't have this form, or a name comes twice.

    Example:
        >>> intervals(["gamma=0:2", "mu=:1"], "--bounds")
        {'gamma': (0.0, 2.0), 'mu': (None, 1.0)}
    """
    expected = f"name=low:high, such as {flag} gamma=0:2"
    return _pairs(name_list(values), flag, expected, lambda text: interval(text, flag, expected))


def interval(text: str, flag: str, expected: str = "") -> Interval:
    """`low:high`, where an empty side has no bound.

    Raises:
        InputError: If it doesn't have this form, or isn't in increasing order.

    Example:
        >>> interval("0:", "--domain")
        (0.0, None)
    """
    expected = expected or f"low:high with an empty side for no bound, such as {flag} 0: or {flag} 0:1"
    sides = text.split(":")
    if len(sides) != 2:
        raise InputError(f"{flag} takes {expected}; got {text!r}.")
    low, high = (_side(side, flag, expected) for side in sides)
    if low is not None and high is not None and low >= high:
        raise InputError(f"{flag} takes the lower bound first, and {low:g} is not below {high:g}.")
    return low, high


def _side(text: str, flag: str, expected: str) -> float | None:
    return None if text.strip().lower() in ("", "inf", "-inf", "+inf") else _number(text, flag, expected)


def _pairs(parts: Sequence[str], flag: str, expected: str, read: Callable[[str], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"{flag} takes {expected}; got {part!r}.")
        if name in found:
            raise InputError(f"{flag} names {name!r} twice; give it once.")
        found[name] = read(value)
    return found


def _number(text: str, flag: str, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{flag} takes {expected}; got {text.strip()!r}.")
    return value
