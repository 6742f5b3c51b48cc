"""What the columns of a table mean: which is time, which are observed, and what to do about awkward times."""

from collections.abc import Sequence
from dataclasses import dataclass

from pdekit.data.table import Table
from pdekit.data.times import canonical_unit, parse_step
from pdekit.errors import DataError, InputError


@dataclass(frozen=True)
class Layout:
    """Which column is what, and what to do about awkward times; `Trajectories.from_csv` explains each entry.

    Raises:
        InputError: If entries contradict one another.
    """

    columns: tuple[str, ...] | None = None
    time: str | None = None
    id: str | None = None
    log: tuple[str, ...] = ()
    time_unit: str | None = None
    date_format: str | None = None
    fixed_dt: float | str | None = None
    max_gap: float | str | None = None
    reverse_time: bool | None = None
    sort: bool = False
    na_values: tuple[str, ...] = ()
    decimal: str = "."

    def __post_init__(self) -> None:
        for name in ("columns", "log", "na_values"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        for name in ("fixed_dt", "max_gap"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, parse_step(getattr(self, name), name))
        if self.time_unit is not None:
            object.__setattr__(self, "time_unit", canonical_unit(self.time_unit))
        if self.decimal not in (".", ","):
            raise InputError(f"decimal must be '.' or ',', got {self.decimal!r}.")
        if self.fixed_dt is not None and self.max_gap is not None:
            raise InputError("max_gap has no meaning with fixed_dt, which makes all steps equal; give one of them.")
        if self.columns is not None:
            self._check_names(self.columns)

    def _check_names(self, columns: tuple[str, ...]) -> None:
        if not columns:
            raise InputError("columns is empty; name at least one column of observations.")
        named = [*columns, *(name for name in (self.time, self.id) if name is not None)]
        repeated = [name for name in named if named.count(name) > 1]
        if repeated:
            raise InputError(f"Column {repeated[0]!r} is named twice among columns, time and id.")
        strangers = [name for name in self.log if name not in columns]
        if strangers:
            raise InputError(f"log names {strangers[0]!r}, which is not one of the columns {list(columns)}.")

    def resolve(self, table: Table) -> "Layout":
        """This layout with defaults filled in: the first column is time, all others are observations."""
        time, columns = self.time, self.columns
        others = [name for name in table.columns if name != self.id]
        if time is None and (self.fixed_dt is None or (columns is None and len(others) > 1)):
            time = next((name for name in others if name not in (columns or ())), None)
            if time is None:
                raise DataError(
                    f"{table.source} has no column left for the time. Name one, or pass fixed_dt (--fixed-dt)."
                )
        if columns is None:
            columns = tuple(name for name in others if name != time)
            if not columns:
                raise DataError(f"{table.source} has only the column {time!r}; a column of observations was expected.")
        entries = {**self.__dict__, "time": time, "columns": columns}
        return Layout(**entries)


def _as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value)
