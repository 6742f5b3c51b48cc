"""Observed paths of a state: where they come from, and the pairs that they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit.data import views
from pdekit.data.arranging import arrange
from pdekit.data.arrays import read_arrays, read_npz
from pdekit.data.layout import Layout
from pdekit.data.pairs import Pairs
from pdekit.data.reading import PathLike, frame_column, read_csv, read_frame, read_parquet
from pdekit.data.table import Table
from pdekit.data.times import canonical_unit
from pdekit.errors import DataError

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories:
    """One or several observed paths of a d-dimensional state, at increasing times that need not be equally spaced.

    Args:
        times: Per path, (n_p,), strictly increasing, in `time_unit`.
        values: Per path, (n_p, d), finite.
        ids: What each path is called.
        names: What each component of the state is called.
        time_unit: The unit of the times in the singular, such as "year".
        origin: The ISO date of time 0, or None where times are plain numbers.
        notes: Sentences on what was read, dropped, split or reversed.

    Raises:
        DataError: If shapes disagree, times don't increase, a value isn't finite, there are fewer than two steps, or
            a component never changes.

    Example:
        >>> data = Trajectories.from_arrays([0.0, 0.5, 1.5], [1.0, 2.0, 1.5], time_unit="day")
        >>> data.pairs().dt
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """

    times: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    ids: tuple[str, ...]
    names: tuple[str, ...]
    time_unit: str
    origin: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_value = object.__setattr__
        for name in ("times", "values"):
            tensors = tuple(torch.as_tensor(part).detach().to("cpu", torch.float64) for part in getattr(self, name))
            set_value(self, name, tensors)
        for name in ("ids", "names", "notes"):
            set_value(self, name, tuple(str(text) for text in getattr(self, name)))
        set_value(self, "time_unit", canonical_unit(self.time_unit))
        if not len(self.times) == len(self.values) == len(self.ids):
            raise DataError(
                f"There are {len(self.times)} times, {len(self.values)} values and {len(self.ids)} ids; "
                "one of each per path was expected."
            )
        for label, t, x in zip(self.ids, self.times, self.values, strict=True):
            _check_path(label, t, x, self.names)
        _check_enough(self)

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        *,
        columns: str | Sequence[str] | None = None,
        time: str | None = None,
        id: str | None = None,
        log: str | Sequence[str] = (),
        time_unit: str | None = None,
        date_format: str | None = None,
        fixed_dt: float | str | None = None,
        max_gap: float | str | None = None,
        reverse_time: bool | None = None,
        sort: bool = False,
        na_values: str | Sequence[str] = (),
        delimiter: str | None = None,
        decimal: str = ".",
    ) -> "Trajectories":
        """Read a delimited text file with a header line; lines that begin with `#` are comments.

        Rows in which an observed column is missing (empty, NA, NaN, null, ".") are dropped. The observations on
        either side still make one transition, with the longer step, which is exact for a Markov process; `max_gap`
        splits there instead. `notes` says what was dropped.

        Args:
            path: The file. UTF-8, UTF-16 with a byte-order mark, or Latin-1.
            columns: The observed columns, in the order of the state; by default all but time and id.
            time: The column of times: numbers, or dates (ISO, month/day/year, day/month/year, quarters such as 1959Q1,
                month names), by default the first column. With `fixed_dt` it may be left out.
            id: The column that tells paths apart, for several paths in one file (long format).
            log: Columns of which the natural logarithm is taken; they are then called "log ...".
            time_unit: The unit that dates are counted in: year (365.25 days, the default), month (1/12 year), week,
                day, hour, minute, second, millisecond. For times that are numbers: the unit they are in, any word; by
                default the column's name where that is a unit, otherwise "time unit".
            date_format: A `strptime` format, for dates that are ambiguous or unusual.
            fixed_dt: The step between consecutive observations in `time_unit`, a number or a quotient such as "1/252"
                for business days; dropped rows don't count. The time column then gives the order only.
            max_gap: Split paths at steps longer than this many time units.
            reverse_time: Whether the time column counts backwards, as ages do; its negative is then the time. By
                default no, but columns named like ages before present are refused until it is said.
            sort: Sort the rows of each path by time, instead of refusing rows out of order.
            na_values: Further text or numbers that mark a missing value, such as "-999".
            delimiter: By default whichever of comma, semicolon, tab, bar or blanks the header uses.
            decimal: The decimal mark, "." or ",".

        Raises:
            DataError: If the file can't be read, or a cell, an order or a path isn't as it should be; the message
                says where (line of the file, column) and what to try.
            InputError: If the options contradict one another.
        """
        layout = Layout(
            columns=_names(columns),
            time=time,
            id=id,
            log=_names(log) or (),
            time_unit=time_unit,
            date_format=date_format,
            fixed_dt=fixed_dt,
            max_gap=max_gap,
            reverse_time=reverse_time,
            sort=sort,
            na_values=_names(na_values) or (),
            decimal=decimal,
        )
        return cls._from_table(read_csv(path, delimiter), layout)

    @classmethod
    def from_parquet(cls, path: PathLike, **layout: Any) -> "Trajectories":
        """Read a Parquet file; the keywords are those of `from_csv` from `columns` to `na_values`."""
        return cls._from_table(read_parquet(path), Layout(**layout))

    @classmethod
    def from_dataframe(cls, frame: "pandas.DataFrame | pandas.Series", **layout: Any) -> "Trajectories":
        """Take the columns of a pandas data frame, or a series.

        Without `time` and `fixed_dt`, the index gives the times. The other keywords are those of `from_csv` from
        `columns` to `na_values`.
        """
        frame = frame if hasattr(frame, "columns") else frame.to_frame(frame.name or "x")  # pyright: ignore
        table = read_frame(frame)
        if layout.get("time") is None and layout.get("fixed_dt") is None:
            name = str(frame.index.name) if frame.index.name is not None else "index"
            columns = {name: frame_column(frame.index), **{k: v for k, v in table.columns.items() if k != name}}
            notes = (*table.notes, f"Took the frame's index ({name!r}) as time.")
            table = Table(table.source, columns, table.rows, table.word, notes=notes)
            layout = {**layout, "time": name}
        return cls._from_table(table, Layout(**layout))

    @classmethod
    def from_arrays(
        cls,
        t: Any,
        x: Any,
        *,
        names: str | Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        **layout: Any,
    ) -> "Trajectories":
        """Take NumPy arrays, tensors or lists.

        Args:
            t: Times (n,), as numbers or `datetime64`; for paths with times of their own, a list of such or (paths, n).
                None with `fixed_dt`.
            x: Observations: (n,) or (n, d) for one path; (n, paths, d) for several at the same times, as a simulation
                returns them; where t is per path, a list of (n_p,) or (n_p, d).
            names: What the components are called; by default "x", or "x1", "x2", ...
            ids: What the paths are called; by default "1", "2", ...
            **layout: `log`, `time_unit`, `fixed_dt`, `max_gap`, `reverse_time` and `sort` as in `from_csv`.

        Raises:
            DataError: If shapes don't match, or an order or a value isn't as it should be.

        Example:
            >>> Trajectories.from_arrays(None, [1.0, 2.0, 1.5, 1.7], fixed_dt="1/12", time_unit="year").duration
            0.25
        """
        table, columns, time, id = read_arrays(t, x, _names(names), ids)
        return cls._from_table(table, Layout(columns=columns, time=time, id=id, **layout))

    @classmethod
    def from_npz(cls, path: PathLike, *, t: str = "t", x: str = "x", **options: Any) -> "Trajectories":
        """Read the arrays `t` and `x` of an NPZ file, with the shapes and keywords of `from_arrays`; no pickles."""
        arrays = read_npz(path, None if options.get("fixed_dt") is not None else t, x)
        return cls.from_arrays(*arrays, **options)

    @classmethod
    def _from_table(cls, table: Table, layout: Layout) -> "Trajectories":
        paths = arrange(table, layout)
        times, values = (tuple(map(torch.from_numpy, parts)) for parts in (paths.times, paths.values))
        return cls(
            times, values, tuple(paths.ids), tuple(paths.names), paths.time_unit, paths.origin, tuple(paths.notes)
        )

    @property
    def dim(self) -> int:
        """The dimension d of the state."""
        return len(self.names)

    @property
    def n_paths(self) -> int:
        """The number of paths."""
        return len(self.times)

    @property
    def n_observations(self) -> int:
        """The number of observed states, all paths together."""
        return sum(len(t) for t in self.times)

    @property
    def duration(self) -> float:
        """The observed time, summed over paths, in `time_unit`."""
        return float(sum(t[-1] - t[0] for t in self.times))

    def pairs(self) -> Pairs:
        """Consecutive observations of every path: N = n_observations - n_paths transitions."""
        lengths = torch.tensor([len(t) - 1 for t in self.times])
        return Pairs(
            t=torch.cat([t[:-1] for t in self.times]),
            dt=torch.cat([t[1:] - t[:-1] for t in self.times]),
            x0=torch.cat([x[:-1] for x in self.values]),
            x1=torch.cat([x[1:] for x in self.values]),
            path=torch.repeat_interleave(torch.arange(self.n_paths), lengths),
        )

    def describe(self) -> str:
        """What was read, in a few lines: how much, from when to when, the steps, the range, and the notes."""
        return views.describe(self)

    def __repr__(self) -> str:
        return f"Trajectories({views.headline(self)})"

    def to_dataframe(self) -> "pandas.DataFrame":
        """Long format: id, time, date (where times come from dates), then one column per component."""
        return views.to_dataframe(self)

    def plot(self) -> "matplotlib.figure.Figure":
        """Each component against time, one panel per component."""
        return views.plot(self)


def _names(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) else None if value is None else tuple(value)


def _check_path(label: str, t: Tensor, x: Tensor, names: tuple[str, ...]) -> None:
    if t.ndim != 1 or x.shape != (len(t), len(names)):
        raise DataError(
            f"Path {label!r}: times of shape (n,) and values of shape (n, {len(names)}) were expected, "
            f"got {tuple(t.shape)} and {tuple(x.shape)}."
        )
    for what, finite in (("time", torch.isfinite(t)), ("value", torch.isfinite(x).all(dim=1))):
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise DataError(f"Path {label!r}, index {row}: the {what} is not finite. Remove the row.")
    bad = (t[1:] <= t[:-1]).nonzero()
    if len(bad):
        row = int(bad[0]) + 1
        raise DataError(
            f"Path {label!r}, index {row}: time {float(t[row]):.10g} does not come after {float(t[row - 1]):.10g}."
        )


def _check_enough(data: Trajectories) -> None:
    if data.n_observations - data.n_paths < 2:
        raise DataError(
            f"There are {data.n_observations} observations in {data.n_paths} paths; at least two "
            "steps, so 3 observations of one path, are needed."
        )
    for k, name in enumerate(data.names):
        column = torch.cat([x[:, k] for x in data.values])
        if bool((column == column[0]).all()):
            raise DataError(
                f"{name} is {float(column[0]):g} in all {len(column):,} observations: a constant series holds no "
                "information on drift or diffusion. Check the column and its units."
            )
