"""Unpaired samples of a state at several times: which state at one time became which at the next is not known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data.layout import Layout
from pdekit.data.reading import PathLike, read_csv, read_frame, read_parquet
from pdekit.data.table import Table, read_numbers, unused
from pdekit.data.times import UNKNOWN_UNIT, calendar, canonical_unit, iso_text, plural, read_clock
from pdekit.errors import DataError

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

_MOST_PANELS = 12
_DRAWN = 2000


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Snapshots:
    """Independent samples of the law of a d-dimensional state, one set for each of several times.

    Rows of different snapshots belong to different individuals: cells that were killed to be measured, particles that
    were not followed. They say how the law moves, not how a state does.

    Args:
        times: (K,), strictly increasing, in `time_unit`.
        samples: For each time the observed states, (n_k, d), or (n_k,) for one state; finite. n_k may differ.
        names: What the components of the state are called; by default "x", or "x1", "x2", ...
        time_unit: The unit of the times in the singular, such as "hour".
        origin: The ISO date of time 0, or None where times are plain numbers.
        notes: Sentences on what was read or dropped.

    Raises:
        DataError: If shapes disagree, times don't increase, a value isn't finite, there are fewer than two snapshots,
            a snapshot has fewer than d + 2 samples, or a component never changes.

    Example:
        >>> import torch
        >>> data = Snapshots([0.0, 1.0], [torch.randn(500, 2), 2 + torch.randn(400, 2)], time_unit="hour")
        >>> data
        Snapshots(900 samples of x1, x2 at 2 times, 0 to 1 hours)
        >>> data.counts
        (500, 400)
    """

    times: Tensor
    samples: tuple[Tensor, ...]
    names: tuple[str, ...]
    time_unit: str
    origin: str | None
    notes: tuple[str, ...]

    def __init__(
        self,
        times: Any,
        samples: Any,
        names: str | Sequence[str] | None = None,
        time_unit: str = UNKNOWN_UNIT,
        origin: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        when = _tensor(times, "times")
        if when.ndim != 1:
            raise DataError(f"times must have shape (K,), one for each snapshot, got {tuple(when.shape)}.")
        parts = tuple(_states(part, k) for k, part in enumerate(_parts(samples)))
        if len(parts) != len(when):
            raise DataError(f"There are {len(when)} times and {len(parts)} snapshots; one of each was expected.")
        if len(when) < 2:
            raise DataError(f"At least two snapshots are needed to see how a law moves, got {len(when)}.")
        values = {
            "times": when,
            "samples": parts,
            "names": _component_names(parts[0].shape[1], names),
            "time_unit": canonical_unit(time_unit),
            "origin": origin,
            "notes": tuple(str(note) for note in notes),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check(self)

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        *,
        columns: str | Sequence[str] | None = None,
        time: str | None = None,
        log: str | Sequence[str] = (),
        time_unit: str | None = None,
        date_format: str | None = None,
        na_values: str | Sequence[str] = (),
        delimiter: str | None = None,
        decimal: str = ".",
    ) -> "Snapshots":
        """Read a delimited text file with a header line; rows with equal times form a snapshot, in any order.

        Rows in which an observed column is missing are dropped; `notes` says how many.

        Args:
            path: The file.
            columns: The observed columns, in the order of the state; by default all but the time.
            time: The column of times, numbers or dates; by default the first column.
            log: Columns of which the natural logarithm is taken; they are then called "log ...".
            time_unit: The unit that dates are counted in (year by default), or that numbers are in.
            date_format: A `strptime` format, for dates that are ambiguous or unusual.
            na_values: Further text or numbers that mark a missing value, such as "-999".
            delimiter: By default whichever of comma, semicolon, tab, bar or blanks the header uses.
            decimal: The decimal mark, "." or ",".

        Raises:
            DataError: If the file can't be read, or a cell isn't as it should be.
            InputError: If the options contradict one another.
        """
        layout = {"columns": columns, "time": time, "log": log, "time_unit": time_unit, "date_format": date_format}
        return cls._from_table(read_csv(path, delimiter), Layout(**layout, na_values=na_values, decimal=decimal))  # type: ignore[arg-type]

    @classmethod
    def from_parquet(cls, path: PathLike, **layout: Any) -> "Snapshots":
        """Read a Parquet file; the keywords are those of `from_csv` from `columns` to `na_values`."""
        return cls._from_table(read_parquet(path), Layout(**layout))

    @classmethod
    def from_dataframe(cls, frame: "pandas.DataFrame", **layout: Any) -> "Snapshots":
        """Take the columns of a pandas data frame; the keywords are those of `from_csv` from `columns` to `na_values`.

        Example:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"hour": [0, 0, 0, 6, 6, 6], "size": [1.0, 1.2, 0.9, 2.0, 2.3, 1.8]})
            >>> Snapshots.from_dataframe(frame, time="hour")
            Snapshots(6 samples of size at 2 times, 0 to 6 hours)
        """
        return cls._from_table(read_frame(frame), Layout(**layout))

    @classmethod
    def _from_table(cls, table: Table, layout: Layout) -> "Snapshots":
        layout = layout.resolve(table)
        columns, names = [], []
        for name in layout.columns or ():
            values = read_numbers(table, name, layout.na_values, layout.decimal)
            if name in layout.log:
                bad = np.flatnonzero(values <= 0)
                if len(bad):
                    raise DataError(
                        f"{table.where(int(bad[0]))}, column {name!r}: the value is {values[bad[0]]:g}, and the "
                        "logarithm needs positive ones. Leave the column out of log, or empty the cell."
                    )
                values, name = np.log(values), f"log {name}"
            columns.append(values)
            names.append(name)
        states = np.stack(columns, -1)
        present = np.asarray(np.isfinite(states).all(-1))
        notes = list(table.notes)
        if not present.all():
            gone = np.flatnonzero(~present)
            notes.append(
                f"Dropped {len(gone):,} of {len(present):,} rows with a missing value ({table.row_list(gone)})."
            )
        table, states = table.take(present), states[present]
        clock = read_clock(
            table,
            layout.time or "",
            unit=layout.time_unit,
            date_format=layout.date_format,
            decimal=layout.decimal,
            orderly=lambda dates: True,
        )
        times, which = np.unique(clock.values, return_inverse=True)
        counts = np.bincount(which, minlength=len(times))
        if len(times) > 2 and counts.max(initial=0) == 1:
            raise DataError(
                f"{table.source}: every time in column {layout.time!r} has a single row, and a snapshot is many "
                "samples at one time. If consecutive rows are one path, use Trajectories; if times are to be grouped, "
                "round them."
            )
        order = np.argsort(which, kind="stable")
        samples = np.split(states[order], np.cumsum(counts)[:-1])
        parts = tuple(torch.from_numpy(part) for part in samples)
        return cls(torch.from_numpy(times), parts, tuple(names), clock.unit, clock.origin, (*notes, *clock.notes))

    @property
    def dim(self) -> int:
        """The dimension d of the state."""
        return self.samples[0].shape[1]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many samples each snapshot has."""
        return tuple(len(part) for part in self.samples)

    @property
    def n_observations(self) -> int:
        """The number of samples, all snapshots together."""
        return sum(self.counts)

    @property
    def duration(self) -> float:
        """From the first snapshot to the last, in `time_unit`."""
        return float(self.times[-1] - self.times[0])

    def pooled(self) -> tuple[Tensor, Tensor]:
        """All states one after the other, (N, d), and the snapshot of each, (N,)."""
        return torch.cat(self.samples), torch.repeat_interleave(
            torch.arange(len(self.times)), torch.tensor(self.counts)
        )

    def describe(self) -> str:
        """How much there is, then mean and standard deviation of each component at each time, and the notes."""
        width = max(10, *(len(name) + 2 for name in self.names))
        head = f"{'time':>12}{'samples':>9}" + "".join(f"{name:>{width}}{'sd':>10}" for name in self.names)
        lines = [self._headline(), head]
        for t, x in zip(self.times.tolist(), self.samples, strict=True):
            moments = zip(x.mean(0).tolist(), x.std(0).tolist(), strict=True)
            cells = "".join(f"{mean:>{width}.4g}{deviation:>10.4g}" for mean, deviation in moments)
            lines.append(f"{self._moment(t):>12}{len(x):>9,}{cells}")
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        return f"Snapshots({self._headline()})"

    def _headline(self) -> str:
        first, last = self._moment(float(self.times[0])), self._moment(float(self.times[-1]))
        unit = "" if self.origin is not None else f" {plural(self.time_unit)}"
        what = f"{self.n_observations:,} samples of {', '.join(self.names)}"
        return f"{what} at {len(self.times)} times, {first} to {last}{unit}"

    def _moment(self, t: float) -> str:
        return f"{t:.6g}" if self.origin is None else iso_text(calendar(np.array([t]), self.time_unit, self.origin)[0])

    def to_dataframe(self) -> "pandas.DataFrame":
        """Long format: time, date (where times come from dates), then one column per component."""
        import pandas as pd

        t = self.times.numpy().repeat(self.counts)
        columns: dict[str, Any] = {unused("time", self.names): t}
        if self.origin is not None:
            columns[unused("date", self.names)] = calendar(t, self.time_unit, self.origin)
        states = torch.cat(self.samples).numpy()
        return pd.DataFrame({**columns, **{name: states[:, k] for k, name in enumerate(self.names)}})

    def plot(self) -> "matplotlib.figure.Figure":
        """Histograms at up to twelve of the times; for two and more states scatter plots of the first two."""
        from matplotlib.figure import Figure

        shown = np.unique(np.linspace(0, len(self.times) - 1, min(_MOST_PANELS, len(self.times))).round().astype(int))
        across = min(4, len(shown))
        down = -(-len(shown) // across)
        figure = Figure(figsize=(2.4 * across, 2.0 * down + 0.4), layout="constrained")
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).reshape(-1)
        states = torch.cat(self.samples).numpy()
        bins = np.linspace(states[:, 0].min(), states[:, 0].max(), 41)
        for axis, k in zip(axes, shown, strict=False):
            x = self.samples[k].numpy()
            if self.dim == 1:
                axis.hist(x[:, 0], bins=bins, density=True)
            else:
                some = x[np.linspace(0, len(x) - 1, min(_DRAWN, len(x))).astype(int)]
                axis.plot(some[:, 0], some[:, 1], ".", markersize=1.5)
            unit = "" if self.origin is not None else f" {plural(self.time_unit)}"
            axis.set_title(f"{self._moment(float(self.times[k]))}{unit}", fontsize="small")
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        figure.supxlabel(self.names[0])
        figure.supylabel("density" if self.dim == 1 else self.names[1])
        return figure


def _parts(samples: Any) -> list[Any]:
    if isinstance(samples, (np.ndarray, Tensor)) and samples.ndim < 2:
        raise DataError("samples must hold an array for each time, (n_k, d) or (n_k,); got a single row of numbers.")
    try:
        return list(samples)
    except TypeError:
        raise DataError(f"samples must be a list of arrays, one for each time, got {type(samples).__name__}.") from None


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"{what} must be numbers in an array, a tensor or a list; got {type(values).__name__}."
        ) from None


def _states(part: Any, k: int) -> Tensor:
    x = _tensor(part, f"The samples of snapshot {k}")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] == 0:
        raise DataError(f"Snapshot {k}: samples of shape (n, d) or (n,) were expected, got {tuple(x.shape)}.")
    return x


def _component_names(dim: int, names: Any) -> tuple[str, ...]:
    if names is None:
        return ("x",) if dim == 1 else tuple(f"x{k + 1}" for k in range(dim))
    names = (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    if len(names) != dim or len(set(names)) != dim:
        raise DataError(f"names must name each of the {dim} components once, got {list(names)}.")
    return names


def _check(data: Snapshots) -> None:
    if not bool(torch.isfinite(data.times).all()):
        raise DataError("A time is not finite.")
    late = (data.times[1:] <= data.times[:-1]).nonzero().flatten()
    if len(late):
        k = int(late[0]) + 1
        raise DataError(
            f"Times must increase: time {float(data.times[k]):g} of snapshot {k} does not come after "
            f"{float(data.times[k - 1]):g}. Sort them, and join samples of equal times."
        )
    for k, x in enumerate(data.samples):
        where = f"Snapshot {k} (time {float(data.times[k]):g})"
        if x.shape[1] != data.dim:
            raise DataError(f"{where} has {x.shape[1]} components, the first one {data.dim}.")
        bad = (~torch.isfinite(x).all(-1)).nonzero().flatten()
        if len(bad):
            raise DataError(f"{where}, sample {int(bad[0])}: a value is not finite ({len(bad)} samples). Remove them.")
        if len(x) < data.dim + 2:
            raise DataError(
                f"{where} has {len(x)} sample(s); at least {data.dim + 2} are needed to tell a law of {data.dim} "
                "state(s). Join it with a neighbouring time, or leave it out."
            )
    states = torch.cat(data.samples)
    for i, name in enumerate(data.names):
        if bool((states[:, i] == states[0, i]).all()):
            raise DataError(f"{name} is {float(states[0, i]):g} in all samples: it holds no information.")


__all__ = ["Snapshots"]
