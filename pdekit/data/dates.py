"""Telling what kind of dates a text column holds: ISO, quarters, day/month or month/day, month names."""

import re
from collections.abc import Callable
from datetime import datetime
from itertools import product

import numpy as np

from pdekit.data.table import Table, is_number
from pdekit.errors import DataError

Found = tuple[np.ndarray, tuple[str, ...]]

_QUARTER = re.compile(r"(?:(\d{4})[-\s/:]?[Qq]([1-4])|[Qq]([1-4])[-\s/:]?(\d{4}))")
# format, what it holds, and the fewest rows that can't be mere numbers: among 13 in a row one is no month
_COMPACT = {8: ("%Y%m%d", "year, month and day", 1), 6: ("%Y%m", "year and month", 13)}
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2}([T ].*)?)?")
_OFFSET = re.compile(r"\d{2}:\d{2}.*?(Z|[+-]\d{2}:?\d{2})$")
_SLASHED = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(.*)")
_NAMED = (
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%B-%Y", "%d%b%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y",
    "%b %Y", "%B %Y", "%b-%Y", "%B-%Y", "%Y-%b-%d", "%Y %b %d", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d", "%Y/%m",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def find_dates(
    table: Table, name: str, date_format: str | None, decimal: str, orderly: Callable[[np.ndarray], bool]
) -> Found | None:
    """The dates (datetime64[us]) of a text column with a note on how they were read, or None if it holds numbers.

    Raises:
        DataError: If the cells are neither, or the order of day and month can't be told.
    """
    texts = table.column(name)
    if date_format is not None:
        return _by_format(table, name, date_format), ()
    if _all_numbers(texts, decimal):
        return _compact(table, name)
    for attempt in (_quarters, _iso):
        if (found := attempt(table, name)) is not None:
            return found
    if all(_SLASHED.fullmatch(text) for text in texts):
        return _day_or_month_first(table, name, orderly)
    for format in _formats_of(texts[0]):
        if (dates := _try_format(texts, format)) is not None:
            return dates, ()
    raise _unreadable(table, name)


def _all_numbers(texts: np.ndarray, decimal: str) -> bool:
    return all(is_number(text if decimal == "." else text.replace(decimal, ".")) for text in texts)


def _compact(table: Table, name: str) -> Found | None:
    texts = table.column(name)
    length = len(texts[0])
    if length not in _COMPACT or not all(
        text.isdigit() and len(text) == length and "17" <= text[:2] <= "21" for text in texts
    ):
        return None
    format, parts, fewest = _COMPACT[length]
    dates = _try_format(texts, format) if len(texts) >= fewest else None
    note = f"Column {name!r} was read as dates written as {parts} without separators, such as {texts[0]}."
    return None if dates is None else (dates, (note,))


def _quarters(table: Table, name: str) -> Found | None:
    matches = [_QUARTER.fullmatch(text) for text in table.column(name)]
    if not all(matches):
        return None
    parts = [match.groups() for match in matches if match is not None]
    months = [12 * (int(a or d) - 1970) + 3 * (int(b or c) - 1) for a, b, c, d in parts]
    dates = np.array(months, dtype="datetime64[M]").astype("datetime64[us]")
    return dates, (f"Column {name!r} holds quarters; each observation was placed on the first day of its quarter.",)


def _iso(table: Table, name: str) -> Found | None:
    texts = table.column(name)
    if not all(_ISO.fullmatch(text) for text in texts):
        return None
    zoned = np.array([_OFFSET.search(text) is not None for text in texts])
    if zoned.any() and not zoned.all():
        i, kind = int(np.flatnonzero(zoned != zoned[0])[0]), "no UTC offset" if zoned[0] else "a UTC offset"
        raise DataError(
            f"{table.where(i)}, column {name!r}: {texts[i]!r} has {kind}, unlike the rows above. Write all alike."
        )
    if not zoned.any():
        try:
            return np.array(texts, dtype="datetime64[us]"), ()  # any year, where pandas 2 begins in 1677
        except ValueError:
            pass
    import pandas as pd

    parsed = pd.to_datetime(pd.Series(list(texts), dtype=object), format="ISO8601", utc=True, errors="coerce")
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if len(bad):
        raise _unreadable(table, name, int(bad[0]))
    dates = parsed.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return dates, ((f"Column {name!r} has UTC offsets; times were converted to UTC.",) if zoned.any() else ())


def _day_or_month_first(table: Table, name: str, orderly: Callable[[np.ndarray], bool]) -> Found:
    texts = table.column(name)
    match = _SLASHED.fullmatch(texts[0])
    mark, year = (match[2], match[4]) if match else ("/", "")
    if len(year) == 2:
        raise DataError(
            f"{table.where(0)}, column {name!r}: {texts[0]!r} has a year of two digits, whose century is not said. "
            'Write four, or pass date_format="%m/%d/%y" (--date-format).'
        )
    readings: dict[str, np.ndarray] = {}
    for day_format in (f"%m{mark}%d{mark}%Y", f"%d{mark}%m{mark}%Y"):
        for clock in _CLOCKS:
            if _fits(texts[0], day_format + clock) or clock == "":
                dates = _try_format(texts, day_format + clock)
                if dates is not None:
                    readings[day_format + clock] = dates
    if not readings:
        raise _unreadable(table, name)
    if len(readings) == 1 or all(np.array_equal(dates, next(iter(readings.values()))) for dates in readings.values()):
        return next(iter(readings.values())), ()
    steady = [format for format, dates in readings.items() if orderly(dates)]
    if len(steady) != 1:
        why = "both give increasing times" if steady else "neither gives times in order"
        raise DataError(
            f"{table.source}: the dates of column {name!r}, such as {texts[0]!r}, can be read as month{mark}day or "
            f"day{mark}month, and {why}. Pass "
            f'date_format="{next(iter(readings))}" or "{list(readings)[1]}" (--date-format).'
        )
    first = "month" if steady[0].startswith("%m") else "day"
    note = f"Dates such as {texts[0]} were read with the {first} first: only so do the times run in order."
    return readings[steady[0]], (note,)


def _formats_of(text: str) -> list[str]:
    return [day + clock for day, clock in product(_NAMED, _CLOCKS) if _fits(text, day + clock)]


def _fits(text: str, format: str) -> bool:
    try:
        datetime.strptime(text, format)
    except ValueError:
        return False
    return True


def _try_format(texts: np.ndarray, format: str) -> np.ndarray | None:
    import pandas as pd

    parsed = pd.to_datetime(pd.Series(list(texts), dtype=object), format=format, errors="coerce", utc=True)
    return None if parsed.isna().any() else parsed.dt.tz_localize(None).to_numpy().astype("datetime64[us]")


def _by_format(table: Table, name: str, format: str) -> np.ndarray:
    texts = table.column(name)
    try:
        dates = _try_format(texts, format)
    except (ValueError, re.error) as error:
        raise DataError(f"date_format={format!r} is not a strptime format: {error}.") from None
    if dates is None:
        bad = next((i for i, text in enumerate(texts) if not _fits(text, format)), 0)
        raise DataError(f"{table.where(bad)}, column {name!r}: {texts[bad]!r} does not have the form {format!r}.")
    return dates


def _unreadable(table: Table, name: str, row: int | None = None) -> DataError:
    """The error for the first cell that can't be read the way most of the column can."""
    texts = table.column(name)
    if row is None:
        kinds = ["number" if is_number(text) else re.sub(r"\d+", "9", text) for text in texts]
        usual = max(set(kinds), key=kinds.count)
        row = next((i for i, kind in enumerate(kinds) if kind != usual), 0)
    return DataError(
        f"{table.where(row)}, column {name!r}: {texts[row]!r} is neither a number nor a date that can be read. "
        'Correct the cell, or pass date_format="..." (--date-format) with a strptime format.'
    )
