"""Files and data frames to a `Table`: delimiters, encodings, comment lines and line numbers, no interpretation."""

import csv
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdekit.data.table import Table
from pdekit.errors import DataError, InputError

if TYPE_CHECKING:
    import pandas

PathLike = str | os.PathLike[str]

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_VALUE = re.compile(r"[-+]?(\d[\d/.,: TZ-]*|\.\d+|\d[\d.]*[eE][-+]?\d+|nan|NaN)")  # what no header cell looks like
_SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook or ZIP archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"PAR1": "a Parquet file; read it with Trajectories.from_parquet",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x93NUMPY": "a NumPy array; read it with numpy.load and Trajectories.from_arrays",
    b"\x89HDF": "an HDF5 or netCDF file; export the series as CSV",
}


def read_bytes(path: PathLike) -> bytes:
    """The whole file.

    Raises:
        DataError: If it doesn't exist, is a folder, is empty or may not be read.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        where = f" (the folder {str(folder)!r} does not exist either)" if not folder.is_dir() else ""
        raise DataError(f"There is no file {str(path)!r}{where}. Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{str(path)!r} is a folder; name the file in it that holds the data.") from None
    except PermissionError:
        raise DataError(f"{str(path)!r} may not be read: permission denied. Check the file's permissions.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} could not be read: {error}.") from None
    if not content.strip():
        raise DataError(f"{str(path)!r} is empty; a header line and at least three rows were expected.")
    return content


def read_csv(path: PathLike, delimiter: str | None = None) -> Table:
    """A delimited text file with a header line; whole-line comments begin with `#`.

    Args:
        path: The file. UTF-8 (with or without a byte-order mark), UTF-16 with one, or Latin-1.
        delimiter: One character; by default whichever of comma, semicolon, tab, bar or blanks the header line uses.

    Raises:
        DataError: If the file can't be read, isn't text, or has a row whose cells don't match the header.
    """
    name = Path(path).name
    text, encoding = _decode(read_bytes(path), name)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"#'):
        raise InputError(f"delimiter must be one character such as ',' or ';', got {delimiter!r}.")
    first_lines = list(islice(_Lines(text), 2))
    if not first_lines:
        raise DataError(f"{name} holds comment lines only; a header line and rows were expected.")
    used = delimiter or _sniff(*first_lines)
    header, rows, numbers = _records(_Lines(text), used, name)
    columns = {}
    for k, title in enumerate(header):
        columns[title] = np.array([row[k] for row in rows], dtype=object)
    note = f"Read {len(rows):,} rows of {name} (separated by {_DELIMITERS.get(used, repr(used))}, {encoding})."
    return Table(name, columns, np.array(numbers, dtype=np.int64), "line", notes=(note,))


class _Lines:
    """The lines that aren't blank or comments, remembering the number of the last one given out."""

    def __init__(self, text: str) -> None:
        self.number = 0
        self._lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # as editors count lines

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, start=1):
            self.number = number
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


def _records(lines: _Lines, delimiter: str, name: str) -> tuple[list[str], list[list[str]], list[int]]:
    reader = (
        (line.split() for line in lines)
        if delimiter == " "
        else csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    )
    header: list[str] | None = None
    rows, numbers = [], []
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if header is None:
                header = _check_header(cells, name, lines.number)
                continue
            while len(cells) > len(header) and not cells[-1]:  # a trailing delimiter
                cells.pop()
            if len(cells) != len(header):
                raise DataError(
                    f"{name}, line {lines.number}: {len(cells)} {'cell' if len(cells) == 1 else 'cells'} where "
                    f"the header has {len(header)} columns. "
                    "Complete the line or quote cells that contain the delimiter."
                )
            rows.append(cells)
            numbers.append(lines.number)
    except csv.Error as error:
        raise DataError(f"{name}, line {lines.number}: {error}. The file is not well-formed CSV.") from None
    return header or [], rows, numbers


def _check_header(cells: list[str], name: str, line: int) -> list[str]:
    while len(cells) > 1 and not cells[-1]:
        cells.pop()
    if all(not cell or _VALUE.fullmatch(cell) for cell in cells):
        raise DataError(
            f"{name}, line {line}: the first row holds values ({', '.join(cells[:4])}), and a header line that names "
            "the columns was expected. Add one, not as a comment."
        )
    repeated = sorted({cell for cell in cells if cell and cells.count(cell) > 1})
    if repeated:
        raise DataError(f"{name}, line {line}: column {repeated[0]!r} appears more than once. Rename one of them.")
    return [cell or f"unnamed {k + 1}" for k, cell in enumerate(cells)]  # the row names that R and pandas write


def _decode(content: bytes, name: str) -> tuple[str, str]:
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            raise DataError(f"{name} is {what}.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), "UTF-16"
    control = content[:65536].translate(None, bytes(range(32, 256)) + b"\t\r\n\f")
    if b"\0" in content or len(control) > 0.01 * min(len(content), 65536):
        raise DataError(f"{name} is not a text file; a CSV file with a header line was expected.")
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "Latin-1"


def _sniff(header: str, first_row: str = "") -> str:
    counts = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in _DELIMITERS if mark != " "}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best] == 1:
        return " " if len(header.split()) == len(first_row.split()) > 1 and '"' not in header else ","
    return best


def read_frame(frame: "pandas.DataFrame | Any", source: str = "the data frame") -> Table:
    """A pandas data frame as a table; rows are counted from 0.

    Raises:
        DataError: If two columns share a name.
    """
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{source}: column {repeated[0]!r} appears more than once. Rename one of them.")
    columns = {name: frame_column(frame.iloc[:, k]) for k, name in enumerate(names)}
    return Table(source, columns, np.arange(len(frame)), "row", notes=(f"Read {len(frame):,} rows of {source}.",))


def frame_column(column: Any) -> np.ndarray:
    """A pandas series or index as one of the array kinds that a `Table` holds."""
    import pandas as pd

    kind = pd.api.types
    if isinstance(column.dtype, pd.PeriodDtype):
        column = (column.dt if isinstance(column, pd.Series) else column).to_timestamp()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = (column.dt if isinstance(column, pd.Series) else column).tz_convert("UTC")
        column = (column.dt if isinstance(column, pd.Series) else column).tz_localize(None)
    if kind.is_datetime64_dtype(column.dtype):
        return column.to_numpy().astype("datetime64[us]")
    if kind.is_timedelta64_dtype(column.dtype):
        return column.to_numpy().astype("timedelta64[us]")
    if (
        kind.is_numeric_dtype(column.dtype)
        and not kind.is_bool_dtype(column.dtype)
        and not kind.is_complex_dtype(column.dtype)
    ):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    cells = column.astype(object)
    blank = np.asarray(pd.isna(cells), dtype=bool)
    texts = ["" if empty else str(cell).strip() for cell, empty in zip(cells, blank, strict=True)]
    return np.array(texts, dtype=object)


def read_parquet(path: PathLike) -> Table:
    """A Parquet file as a table; rows are counted from 0.

    Raises:
        DataError: If the file can't be read or isn't Parquet.
    """
    import io

    import pandas as pd

    name = Path(path).name
    content = read_bytes(path)
    if not content.startswith(b"PAR1"):
        raise DataError(f"{name} is not a Parquet file. For text use Trajectories.from_csv.")
    try:
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    except (OSError, ValueError) as error:
        raise DataError(f"{name} could not be read as Parquet: {error}. Write it again.") from None
    index_names = [label for label in frame.index.names if label is not None]
    return read_frame(frame.reset_index() if index_names else frame, name)
