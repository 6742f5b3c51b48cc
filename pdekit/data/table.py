"""The common form of everything that is read: named columns, and a way to say where a cell stands."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdekit.errors import DataError

MISSING_TEXT = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", ".", "-", "--", "?", "<na>", "nat"})


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length as read, before any of them is interpreted.

    Attributes:
        source: What the table is called in messages, usually the file's name.
        columns: Each a float64, a datetime64[us] or timedelta64[us] array, or an object array of stripped text.
        rows: What the source itself calls each row: line numbers of a file, positions in a frame or an array.
        word: The word before that number: "line", "row" or "index".
        owners: The path of each row, where the row's number alone doesn't say which path it is in.
        notes: What is worth saying about the reading itself.
    """

    source: str
    columns: Mapping[str, np.ndarray]
    rows: np.ndarray
    word: str
    owners: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def where(self, i: int) -> str:
        """How a message names row `i` of the table."""
        owner = "" if self.owners is None else f" of path {self.owners[i]!r}"
        return f"{self.source}, {self.word} {self.rows[i]}{owner}"

    def row_list(self, indices: Sequence[int] | np.ndarray, most: int = 6) -> str:
        """The named rows as short text, runs joined: "lines 4-7, 12"."""
        numbers = self.rows[np.asarray(indices, dtype=np.int64)]
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = [f"{r[0]}" if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in np.split(numbers, breaks)]
        text = ", ".join(runs[:most]) + (", ..." if len(runs) > most else "")
        word = self.word if len(numbers) == 1 else {"index": "indices"}.get(self.word, self.word + "s")
        return f"{word} {text}"

    def column(self, name: str) -> np.ndarray:
        """The column called `name`.

        Raises:
            DataError: If there is none; the message lists the columns there are, close names first.
        """
        if name in self.columns:
            return self.columns[name]
        folded = {known.casefold(): known for known in self.columns}
        close = [folded[k] for k in difflib.get_close_matches(name.strip().casefold(), list(folded), n=3, cutoff=0.6)]
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise DataError(f"{self.source} has no column {name!r}; its columns are {_listed(self.columns)}.{hint}")

    def take(self, keep: np.ndarray) -> "Table":
        """The rows selected by a mask or an index array."""
        owners = None if self.owners is None else self.owners[keep]
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Table(self.source, columns, self.rows[keep], self.word, owners, self.notes)


def read_numbers(table: Table, name: str, na_values: Sequence[str] = (), decimal: str = ".") -> np.ndarray:
    """A column as float64, with NaN where a value is missing.

    Args:
        table: What was read.
        name: The column.
        na_values: Text or numbers that mark a missing value, besides the usual ones (empty, NA, NaN, null, ".").
        decimal: The decimal mark, "." or ",".

    Raises:
        DataError: If there is no such column, or a cell is not a number or is infinite; row, column and text are named.
    """
    column = table.column(name)
    if column.dtype.kind in "mM":
        raise DataError(f"{table.source}: column {name!r} holds dates or durations, and numbers were expected.")
    values = column if column.dtype.kind == "f" else _parse_numbers(table, name, column, na_values, decimal)
    markers = [float(text) for text in na_values if is_number(text)]
    values = np.where(np.isin(values, markers), np.nan, values) if markers else values
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        i = int(infinite[0])
        raise DataError(
            f"{table.where(i)}, column {name!r}: the value is {column[i]}, and a finite number was expected. "
            "Correct the cell, or empty it if the value is missing."
        )
    return values


def _parse_numbers(table: Table, name: str, texts: np.ndarray, na_values: Sequence[str], decimal: str) -> np.ndarray:
    absent = MISSING_TEXT | {text.strip().casefold() for text in na_values}
    present = np.array([text.casefold() not in absent for text in texts], dtype=bool)
    values = np.full(len(texts), np.nan)
    cells = [text if decimal == "." else text.replace(decimal, ".") for text in texts[present]]
    try:
        values[present] = [_to_float(cell) for cell in cells]
    except ValueError:
        bad = next(k for k, cell in enumerate(cells) if not is_number(cell))
        i = int(np.flatnonzero(present)[bad])
        text = texts[i] if len(texts[i]) <= 40 else texts[i][:37] + "..."
        remedy = (
            "Correct the cell, empty it to drop the row, or name it in na_values (--na) if it marks a missing value."
        )
        if decimal == "." and texts[i].count(",") == 1 and is_number(texts[i].replace(",", ".")):
            remedy = 'For a decimal comma pass decimal="," (--decimal ,).'
        raise DataError(f"{table.where(i)}, column {name!r}: {text!r} is not a number. {remedy}") from None
    return values


def is_number(text: str) -> bool:
    """Whether the text is a number as files write it (NaN and infinity included)."""
    try:
        _to_float(text)
    except ValueError:
        return False
    return True


def _to_float(text: str) -> float:
    if "_" in text:  # Python reads 1_000 as a thousand, no file means it
        raise ValueError
    return float(text)


def unused(name: str, taken: Sequence[str]) -> str:
    """The name, with underscores added until it is none of those taken."""
    while name in taken:
        name += "_"
    return name


def _listed(names: Mapping[str, object], most: int = 20) -> str:
    shown = [repr(name) for name in list(names)[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
