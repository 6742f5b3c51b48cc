"""A table and the meaning of its columns to checked paths: rows dropped, ordered, split, and a note on each."""

import re
from dataclasses import dataclass, field

import numpy as np

from pdekit.data.layout import Layout
from pdekit.data.table import Table, read_numbers
from pdekit.data.times import UNKNOWN_UNIT, Clock, iso_text, parse_step, plural, read_clock
from pdekit.errors import DataError

_BEFORE_PRESENT = re.compile(r"b2k|before.?present|age.?bp|(?<![a-z])[yk]?a?bp(?![a-z])")
_AGE = re.compile(r"(?<![a-z])ages?(?![a-z])")
_SENTINEL = re.compile(r"-9{2,6}(\.9{1,3})?")


@dataclass
class Paths:
    """Checked paths with what to say about them: the arguments of `Trajectories` as arrays."""

    times: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    time_unit: str = UNKNOWN_UNIT
    origin: str | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, label: str, times: np.ndarray, values: np.ndarray) -> None:
        """Append one path."""
        self.ids.append(label)
        self.times.append(times)
        self.values.append(values)


def arrange(table: Table, layout: Layout) -> Paths:
    """The paths that a table holds under a layout.

    Raises:
        DataError: If a cell, an order or a path is not as it should be; the message says where and what to try.
    """
    asked, layout = layout, layout.resolve(table)
    paths = Paths(notes=list(table.notes))
    taken = [f"{layout.time!r} as time"] if asked.time != layout.time else []
    taken += [f"{', '.join(map(repr, layout.columns or ()))} as observations"] if asked.columns is None else []
    if taken:
        paths.notes.append(f"Took {' and '.join(taken)}.")
    values = _observations(table, layout, paths)
    owners = None if layout.id is None else _path_ids(table, layout.id)
    present = np.asarray(np.isfinite(values).all(axis=1))
    dropped = np.flatnonzero(~present)
    if len(dropped):
        paths.notes.append(_dropped_note(table, layout, dropped))
    _refuse_fewer(table, int(present.sum()), len(dropped))
    table, values = table.take(present), values[present]
    groups = {"series": np.arange(len(values))} if owners is None else _groups(owners[present])
    vanished = [] if owners is None or not len(dropped) else [str(o) for o in dict.fromkeys(owners) if o not in groups]
    if vanished:
        paths.notes.append(f"Nothing was left of {_some_paths(vanished)}.")

    clock = _clock(table, layout, groups)
    paths.time_unit, paths.origin = clock.unit, clock.origin
    paths.notes.extend(clock.notes)
    t = 0.0 - clock.values if _counts_backwards(table, layout, clock, paths) else clock.values
    moved = 0
    for label, rows in groups.items():
        ordered = _in_order(table, layout, clock, t, rows, label if len(groups) > 1 else None)
        moved += int((ordered != rows).sum())
        paths.add(label, t[ordered], values[ordered])
    if moved and layout.sort:
        paths.notes.append(f"Sorted by {layout.time!r}; {moved:,} rows changed place.")
    if layout.fixed_dt is not None:
        _apply_fixed_step(table, layout, paths)
    elif layout.max_gap is not None:
        _split_at_gaps(paths, parse_step(layout.max_gap))
    _drop_single_rows(paths)
    return paths


def _some_paths(labels: list[str], most: int = 6) -> str:
    shown = ", ".join(labels[:most]) + (", ..." if len(labels) > most else "")
    return f"1 path ({shown})" if len(labels) == 1 else f"{len(labels):,} paths ({shown})"


def _observations(table: Table, layout: Layout, paths: Paths) -> np.ndarray:
    columns = []
    for name in layout.columns or ():
        column = read_numbers(table, name, layout.na_values, layout.decimal)
        _suspect_sentinels(column, name, paths)
        if name in layout.log:
            bad = np.flatnonzero(column <= 0)
            if len(bad):
                i = int(bad[0])
                raise DataError(
                    f"{table.where(i)}, column {name!r}: the value is {column[i]:g}, and the logarithm needs "
                    "positive ones. Leave the column out of log, or empty the cell to drop the row."
                )
            column, name = np.log(column), f"log {name}"
        columns.append(column)
        paths.names.append(name)
    return np.stack(columns, axis=-1)


def _suspect_sentinels(column: np.ndarray, name: str, paths: Paths) -> None:
    lowest = np.nanmin(column) if np.isfinite(column).any() else 0.0
    if _SENTINEL.fullmatch(f"{lowest:.10g}"):
        count = int((column == lowest).sum())
        paths.notes.append(
            f"Column {name!r} has the value {lowest:g} in {count:,} {'row' if count == 1 else 'rows'}; if it marks "
            f"missing values, pass na_values=['{lowest:g}'] (--na)."
        )


def _path_ids(table: Table, name: str) -> np.ndarray:
    column = table.column(name)
    if column.dtype.kind == "f":
        column = np.array(["" if np.isnan(value) else f"{value:.17g}" for value in column], dtype=object)
    texts = np.array([str(cell) for cell in column], dtype=object)
    empty = np.flatnonzero((texts == "") | (texts == "NaT"))
    if len(empty):
        raise DataError(
            f"{table.where(int(empty[0]))}, column {name!r}: the path's id is missing. Fill it in or delete the row."
        )
    return texts


def _groups(owners: np.ndarray) -> dict[str, np.ndarray]:
    labels, first, index = np.unique(owners.astype(str), return_index=True, return_inverse=True)
    by_path = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    return {str(labels[k]): by_path[k] for k in np.argsort(first)}


def _dropped_note(table: Table, layout: Layout, dropped: np.ndarray) -> str:
    columns = layout.columns or ()
    what = columns[0] if len(columns) == 1 else f"one of {', '.join(columns)}"
    fixed = layout.fixed_dt is not None
    across = "the steps count the rows that remain" if fixed else "the step across each gap is longer by as much"
    where = table.row_list(dropped)
    return f"Dropped {len(dropped):,} of {len(table.rows):,} rows where {what} is missing ({where}); {across}."


def _refuse_fewer(table: Table, present: int, dropped: int) -> None:
    if present < 3:
        missing = f" ({dropped:,} more have a missing value)" if dropped else ""
        rows = "1 row" if present == 1 else f"{present} rows"
        raise DataError(f"{table.source} has {rows} of observations{missing}; at least 3 are needed.")


def _clock(table: Table, layout: Layout, groups: dict[str, np.ndarray]) -> Clock:
    if layout.time is None:
        return Clock(np.arange(len(table.rows), dtype=np.float64), layout.time_unit or UNKNOWN_UNIT, None, ())

    def orderly(dates: np.ndarray) -> bool:
        steps = [np.diff(dates[rows]).astype(np.int64) for rows in groups.values()]
        return all((step > 0).all() for step in steps) or all((step < 0).all() for step in steps)

    return read_clock(
        table,
        layout.time,
        unit=layout.time_unit,
        date_format=layout.date_format,
        decimal=layout.decimal,
        orderly=orderly,
    )


def _counts_backwards(table: Table, layout: Layout, clock: Clock, paths: Paths) -> bool:
    name = (layout.time or "").casefold()
    if layout.reverse_time:
        if clock.origin is not None:
            raise DataError(
                f"{table.source}: column {layout.time!r} holds dates, which count forwards, so reverse_time does not "
                "apply. If the newest row comes first, pass sort=True (--sort)."
            )
        what = "The order of the rows" if layout.time is None else f"Column {layout.time!r}"
        paths.notes.append(f"{what} counts backwards; time is its negative, so that it runs forwards.")
        return True
    if layout.reverse_time is None and clock.origin is None:
        if _BEFORE_PRESENT.search(name):
            raise DataError(
                f"{table.source}: column {layout.time!r} reads like an age before present, which counts backwards. "
                "Pass reverse_time=True (--reverse-time) to let time run forwards, or reverse_time=False "
                "(--no-reverse-time) if it does already."
            )
        if _AGE.search(name):
            paths.notes.append(f"If {layout.time!r} is an age before present, pass reverse_time=True (--reverse-time).")
    return False


def _in_order(
    table: Table, layout: Layout, clock: Clock, t: np.ndarray, rows: np.ndarray, label: str | None
) -> np.ndarray:
    """The rows of one path in the order of time, or the error that says which of them is out of it."""
    steps = np.diff(t[rows])
    if layout.sort:
        rows = rows[np.argsort(t[rows], kind="stable")]
    elif layout.reverse_time and 2 * int((steps < 0).sum()) > len(steps):
        rows = rows[::-1]
    steps = np.diff(t[rows])
    bad = np.flatnonzero(steps <= 0)
    if not len(bad):
        return rows
    first, second = int(rows[bad[0]]), int(rows[bad[0] + 1])
    within = f" of path {label!r}" if label is not None and table.owners is None else ""
    here = f"{table.where(second)}{within}, column {layout.time!r}"
    before = f"{table.word} {table.rows[first]}"
    shown = [_time_text(table, layout, i) for i in (first, second)]
    if steps[bad[0]] == 0:
        path_hint = (
            "" if layout.id is not None else ", or name the column that tells several paths apart with id=... (--id)"
        )
        raise DataError(
            f"{here}: time {shown[1]} repeats that of {before} (repeated times: {len(np.flatnonzero(steps == 0)):,}). "
            f"Average or remove one of them{path_hint}."
        )
    backwards = bool((steps < 0).all())
    if backwards and clock.origin is None and not layout.reverse_time:
        raise DataError(
            f"{here}: times run backwards, from {shown[0]} on {before} to {shown[1]}. If they are ages, pass "
            "reverse_time=True (--reverse-time); if the newest row merely comes first, pass sort=True (--sort)."
        )
    rule = "run one way" if layout.reverse_time else "increase"
    why = "the newest row comes first" if backwards else f"times must {rule} from row to row"
    raise DataError(
        f"{here}: time {shown[1]} comes after {shown[0]} on {before}; {why}. Pass sort=True (--sort) to sort."
    )


def _time_text(table: Table, layout: Layout, i: int) -> str:
    cell = table.column(layout.time or "")[i]
    return (
        iso_text(cell) if isinstance(cell, np.datetime64) else f"{cell:.10g}" if isinstance(cell, float) else str(cell)
    )


def _apply_fixed_step(table: Table, layout: Layout, paths: Paths) -> None:
    step = parse_step(layout.fixed_dt or 0.0)
    unit = layout.time_unit or ("year" if paths.origin is not None else paths.time_unit)
    span = ""
    if layout.time is not None:
        column = table.column(layout.time)
        first, last = (_time_text(table, layout, i) for i in (0, len(column) - 1))
        span = f" Column {layout.time!r} ({first} to {last}) gave the order only."
    paths.notes.append(f"Consecutive observations are taken to be {step:.6g} {plural(unit)} apart.{span}")
    paths.times = [step * np.arange(len(times)) for times in paths.times]
    paths.time_unit, paths.origin = unit, None


def _split_at_gaps(paths: Paths, max_gap: float) -> None:
    split = Paths()
    for label, times, values in zip(paths.ids, paths.times, paths.values, strict=True):
        cuts = np.flatnonzero(np.diff(times) > max_gap * (1 + 1e-9)) + 1
        pieces = zip(np.split(times, cuts), np.split(values, cuts), strict=True)
        for k, (t, x) in enumerate(pieces, start=1):
            split.add(f"{label}.{k}" if len(cuts) else label, t, x)
    if len(split.ids) > len(paths.ids):
        paths.notes.append(
            f"Split into {len(split.ids):,} paths at steps longer than {max_gap:.6g} {plural(paths.time_unit)}."
        )
    paths.ids, paths.times, paths.values = split.ids, split.times, split.values


def _drop_single_rows(paths: Paths) -> None:
    keep = [k for k, times in enumerate(paths.times) if len(times) > 1]
    lost = [label for label, times in zip(paths.ids, paths.times, strict=True) if len(times) == 1]
    if lost:
        paths.notes.append(f"Left out {_some_paths(lost)} of a single observation, too short to hold a step.")
    paths.ids = [paths.ids[k] for k in keep]
    paths.times = [paths.times[k] for k in keep]
    paths.values = [paths.values[k] for k in keep]
