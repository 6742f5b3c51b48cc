"""Time columns to numbers in a declared unit, and fixed steps such as 1/252."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdekit.data.dates import find_dates
from pdekit.data.table import MISSING_TEXT, Table, read_numbers
from pdekit.errors import DataError, InputError

SECONDS = {
    "year": 365.25 * 86400,
    "month": 365.25 * 86400 / 12,
    "week": 7 * 86400.0,
    "day": 86400.0,
    "hour": 3600.0,
    "minute": 60.0,
    "second": 1.0,
    "millisecond": 1e-3,
}
_ALIASES = {
    "years": "year", "yr": "year", "yrs": "year", "y": "year",
    "months": "month", "mo": "month",
    "weeks": "week", "days": "day", "d": "day",
    "hours": "hour", "h": "hour", "hr": "hour",
    "minutes": "minute", "min": "minute",
    "seconds": "second", "s": "second", "sec": "second",
    "milliseconds": "millisecond", "ms": "millisecond",
}  # fmt: skip
UNKNOWN_UNIT = "time unit"


def canonical_unit(text: str) -> str:
    """The unit's full name in the singular ("yrs" gives "year"); a unit that isn't known is kept as it is.

    Raises:
        InputError: If it isn't a short printable word.
    """
    unit = text.strip() if isinstance(text, str) else ""
    if not unit or len(unit) > 24 or not unit.isprintable():
        raise InputError(f"time_unit must be a word such as 'year', 'day' or 's', got {text!r}.")
    return unit if unit in SECONDS else _ALIASES.get(unit.casefold(), unit)


def plural(unit: str) -> str:
    """The unit as it is written after a number of them."""
    return unit + "s" if unit in SECONDS or unit == UNKNOWN_UNIT else unit


def parse_step(step: float | str, name: str = "fixed_dt") -> float:
    """A step given as a number or as text, "0.004" or a quotient "1/252".

    Raises:
        InputError: If it isn't a positive finite number.

    Example:
        >>> parse_step("1/252") == 1 / 252
        True
    """
    try:
        parts = [float(part) for part in str(step).split("/")]
        value = parts[0] / parts[1] if len(parts) == 2 else parts[0]
    except (ValueError, ZeroDivisionError):
        parts, value = [], math.nan
    if len(parts) not in (1, 2) or not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a positive number or a quotient such as '1/252', got {step!r}.")
    return value


@dataclass(frozen=True, eq=False)
class Clock:
    """A time column as numbers: `values` (n,) in `unit`, counted from `origin` (an ISO date) where it held dates."""

    values: np.ndarray
    unit: str
    origin: str | None
    notes: tuple[str, ...]


def read_clock(
    table: Table,
    name: str,
    *,
    unit: str | None = None,
    date_format: str | None = None,
    decimal: str = ".",
    orderly: Callable[[np.ndarray], bool],
) -> Clock:
    """The times of a table whose column `name` holds numbers, durations or dates.

    Args:
        table: What was read.
        name: The time column; no cell may be missing.
        unit: For dates, the unit to count in (default year = 365.25 days); for numbers, the unit they are in.
        date_format: A `strptime` format, where dates can't be told or are ambiguous.
        decimal: The decimal mark of numbers.
        orderly: Whether times run steadily one way, path by path; tells day/month from month/day.

    Raises:
        DataError: If a cell is missing or can't be read; row, column and text are named.
        InputError: If dates are to be counted in a unit whose length is not known.
    """
    column = table.column(name)
    _refuse_missing(table, name, column)
    notes: tuple[str, ...] = ()
    if column.dtype.kind == "f" and (date_format is not None or bool((column == np.round(column)).all())):
        texts = np.array([f"{value:.17g}" for value in column], dtype=object)  # 19590331 is a date in a frame too
        as_text = Table(table.source, {name: texts}, table.rows, table.word, table.owners)
        found = find_dates(as_text, name, date_format, decimal, orderly)
    else:
        found = find_dates(table, name, date_format, decimal, orderly) if column.dtype.kind == "O" else None
    if found is not None:
        column, notes = found
    if column.dtype.kind not in "mM":
        values = read_numbers(table, name, decimal=decimal)
        return Clock(values, _unit_of_numbers(name, unit), None, notes)
    unit = canonical_unit(unit or "year")
    if unit not in SECONDS:
        raise InputError(f"Dates can be counted in {', '.join(map(plural, SECONDS))}, got time_unit={unit!r}.")
    microseconds = column.astype(np.int64)
    start = int(microseconds.min()) if column.dtype.kind == "M" else 0
    origin = iso_text(column.min()) if column.dtype.kind == "M" else None
    return Clock((microseconds - start) / (SECONDS[unit] * 1e6), unit, origin, notes)


def _unit_of_numbers(name: str, unit: str | None) -> str:
    if unit is not None:
        return canonical_unit(unit)
    guess = canonical_unit(name)[:24] if name.strip() and len(name) <= 24 else ""  # a column called "year" or "days"
    return next((known for known in SECONDS if known == guess.casefold()), UNKNOWN_UNIT)


def _refuse_missing(table: Table, name: str, column: np.ndarray) -> None:
    if column.dtype.kind == "O":
        absent = np.array([text.casefold() in MISSING_TEXT for text in column], dtype=bool)
    else:
        absent = np.isnan(column) if column.dtype.kind == "f" else np.isnat(column)
    if absent.any():
        i = int(np.flatnonzero(absent)[0])
        raise DataError(f"{table.where(i)}, column {name!r}: the time is missing. Fill it in or delete the row.")


def iso_text(moment: Any) -> str:
    """A `datetime64` as ISO text, without the time of day where that is midnight."""
    text = str(np.asarray(moment, dtype="datetime64[us]"))
    for tail in ("T00:00:00.000000", ".000000"):
        text = text.removesuffix(tail)
    return text


def calendar(times: np.ndarray, unit: str, origin: str) -> np.ndarray:
    """Times in `unit` since `origin` as datetime64[us], rounded to the millisecond that float64 can hold."""
    milliseconds = np.round(times * (SECONDS[unit] * 1e3)).astype(np.int64)
    return np.datetime64(origin, "us") + (milliseconds * 1000).astype("timedelta64[us]")
