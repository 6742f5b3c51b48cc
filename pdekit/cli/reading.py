"""A data file to trajectories, by the file's suffix."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdekit.errors import DataError, InputError

if TYPE_CHECKING:
    from pdekit.data import Snapshots, Trajectories

TEXT = (".csv", ".tsv", ".txt", ".dat")
# Options of text files that other formats have no use for, as the command line spells them.
_TEXT_ONLY = {"delimiter": "--delimiter", "decimal": "--decimal"}
_NO_ARRAYS = {**_TEXT_ONLY, "id": "--id", "date_format": "--date-format", "na_values": "--na", "log": "--log"}


def check_file(path: str) -> None:
    """Refuses a file that is not there, before anything heavy is loaded to read it.

    Raises:
        DataError: See above.
    """
    if not Path(path).exists():
        folder = Path(path).parent
        where = f" (the folder {str(folder)!r} does not exist either)" if not folder.is_dir() else ""
        raise DataError(f"There is no file {path!r}{where}. Check the path.")


def read_series(path: str, options: Mapping[str, Any]) -> "Trajectories":
    """Reads a data file.

    Args:
        path: A text file (.csv, .tsv, .txt, .dat), .parquet or .npz.
        options: Keywords of `Trajectories.from_csv`; those that are None or empty count as not given. In an .npz file
            `time` and `columns` name the arrays of times and values, by default "t" and "x".

    Raises:
        InputError: If the suffix is unknown, or an option has no meaning for the format.
        DataError: If the file can't be read; the message says where and what to try.
    """
    from pdekit.data import Trajectories

    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    if options.get("reverse_time") is False:
        given["reverse_time"] = False
    suffix = Path(path).suffix.lower()
    if suffix in (".parquet", ".pq"):
        _refuse(given, _TEXT_ONLY, "a Parquet file")
        return Trajectories.from_parquet(path, **given)
    if suffix == ".npz":
        _refuse(given, _NO_ARRAYS, "an .npz file")
        return Trajectories.from_npz(path, **_array_names(given), **given)
    if suffix not in TEXT and Path(path).exists():
        known = ", ".join((*TEXT, ".parquet", ".npz"))
        raise InputError(f"The format of {path!r} is told by its suffix, and {suffix or 'none'!r} is none of {known}.")
    return Trajectories.from_csv(path, **given)


def read_snapshots(path: str, options: Mapping[str, Any]) -> "Snapshots":
    """Reads unpaired samples from a text file: rows of equal times form a snapshot.

    Raises:
        InputError: If the suffix is not that of a text file, or an option has no meaning for snapshots.
        DataError: As for `read_series`.
    """
    from pdekit.data import Snapshots

    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    series_only = ("id", "fixed_dt", "reverse_time", "sort", "max_gap")
    _refuse(given, {name: f"--{name.replace('_', '-')}" for name in series_only}, "snapshots")
    if Path(path).suffix.lower() not in TEXT:
        raise InputError(f"Snapshots are read from a text file ({', '.join(TEXT)}), got {path!r}.")
    return Snapshots.from_csv(path, **given)


def _refuse(given: Mapping[str, Any], flags: Mapping[str, str], what: str) -> None:
    for name, flag in flags.items():
        if name in given:
            raise InputError(f"{flag} has no meaning for {what}; leave it out.")


def _array_names(given: dict[str, Any]) -> dict[str, str]:
    """Takes the names of the arrays out of the options."""
    columns = given.pop("columns", ())
    if len(columns) > 1:
        raise InputError(
            f"In an .npz file --column names the one array of values, (n,) or (n, d); got {len(columns)} names."
        )
    names = {"t": given.pop("time", None), "x": columns[0] if columns else None}
    return {key: name for key, name in names.items() if name is not None}
