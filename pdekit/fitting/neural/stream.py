"""Transitions read from disk piece by piece: data larger than memory."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdekit.data.times import canonical_unit
from pdekit.errors import DataError, InputError
from pdekit.fitting.neural.transitions import Rows

PathLike = str | os.PathLike[str]
_PIECE = 65_536
_MOST_DISTINCT = 8  # pieces that stay in memory


@dataclass(frozen=True)
class _Block:
    """Consecutive observations as the file holds them: times (n,), states (n, d), and the path of each, (n,)."""

    t: np.ndarray
    x: np.ndarray
    path: np.ndarray

    def head(self) -> "_Block":
        return _Block(self.t[:1].copy(), self.x[:1].copy(), self.path[:1].copy())

    def then(self, other: "_Block") -> "_Block":
        return _Block(
            np.concatenate([self.t, other.t]),
            np.concatenate([self.x, other.x]),
            np.concatenate([self.path, other.path]),
        )

    def starts(self, *, back_is_new: bool) -> np.ndarray:
        """Where a transition to the next observation begins: the path goes on and nothing is missing."""
        whole = np.isfinite(self.t) & np.isfinite(self.x).all(1)
        goes_on = (self.path[1:] == self.path[:-1]) & whole[1:] & whole[:-1]
        return np.flatnonzero(goes_on & (self.t[1:] >= self.t[:-1]) if back_is_new else goes_on)


class TransitionStream:
    """Observed transitions in files, for `pdekit.fitting.neural.train(pk.NeuralSDE(...), stream)`.

    Only the observations at which pieces begin, and a few pieces, are in memory. Rows must be sorted by path, and by
    time within a path; a row in which a value is missing interrupts its path. Made by `from_npy` or `from_parquet`.

    Attributes:
        names: Of the states.
        counts: Transitions in each piece.
        time_unit: The unit of the times.
        parts: Into how many unbroken parts paths and missing values cut the record; more than there should be says
            that times are not sorted.
    """

    def __init__(
        self,
        read: Callable[[int], _Block],
        blocks: int,
        names: Sequence[str],
        *,
        time_unit: str,
        where: str,
        back_is_new: bool,
    ) -> None:
        self.names, self.time_unit, self._where = tuple(names), canonical_unit(time_unit), where
        self._back_is_new = back_is_new
        self._read = lru_cache(maxsize=_MOST_DISTINCT)(read)
        heads = [read(k).head() for k in range(blocks)]
        self._next = [*heads[1:], None]
        counts, digest, whole = [], hashlib.blake2b(digest_size=16), 0
        for k in range(blocks):
            block = self._read(k)
            if np.isinf(block.x).any():
                raise DataError(f"{where}: piece {k + 1} holds infinite values. Leave them out, or mark them as NaN.")
            for array in (block.t, block.x, block.path):
                digest.update(np.ascontiguousarray(array).tobytes())
            whole += int((np.isfinite(block.t) & np.isfinite(block.x).all(1)).sum())
            block = self._extended(k)
            at = block.starts(back_is_new=self._back_is_new)
            backward = at[block.t[at + 1] <= block.t[at]]
            if len(backward):
                i = int(backward[0])
                raise DataError(
                    f"{where}: time {block.t[i + 1]:.10g} does not come after {block.t[i]:.10g} (row {i + 2} of piece "
                    f"{k + 1}). Sort the rows by path and time, and name the column that tells paths apart by id=."
                )
            counts.append(len(at))
        if not sum(counts):
            raise DataError(f"{where}: there is no transition between two complete rows of one path.")
        # Pieces without a transition say nothing and would only be in the way.
        self._numbers = [k for k in range(blocks) if counts[k]]
        self.counts = tuple(counts[k] for k in self._numbers)
        self._before = np.concatenate([[0], np.cumsum(self.counts)])
        self._digest, self.parts = digest.hexdigest(), whole - sum(self.counts)

    @classmethod
    def from_npy(
        cls,
        t: PathLike | Sequence[PathLike],
        x: PathLike | Sequence[PathLike],
        *,
        names: Sequence[str] | None = None,
        time_unit: str = "time unit",
    ) -> "TransitionStream":
        """Memory-mapped arrays in `.npy` files.

        Args:
            t: Times (n,); one file, or one for each path.
            x: Observations (n, d) or (n,), as many files. In one file, a new path begins where the time goes back.
            names: Of the states; by default "x", or "x1", "x2", ...
            time_unit: The unit of the times.

        Raises:
            DataError: If a file can't be read, or shapes don't match.
        """
        times, states = (_several(given) for given in (t, x))
        if len(times) != len(states):
            raise DataError(
                f"There are {len(times)} files of times and {len(states)} of states; as many were expected."
            )
        pairs = [(_mapped(a), _mapped(b)) for a, b in zip(times, states, strict=True)]
        dim = 1 if pairs[0][1].ndim == 1 else pairs[0][1].shape[1]
        for (a, b), file in zip(pairs, states, strict=True):
            if a.ndim != 1 or b.ndim not in (1, 2) or len(a) != len(b) or (1 if b.ndim == 1 else b.shape[1]) != dim:
                raise DataError(
                    f"{file.name}: times (n,) and states (n, {dim}) were expected, got {a.shape} and {b.shape}."
                )
        cuts = [(number, start) for number, (a, _) in enumerate(pairs) for start in range(0, len(a), _PIECE)]

        def read(k: int) -> _Block:
            number, start = cuts[k]
            # Copies: the mapped file is read only, and tensors may share memory with what is returned.
            a, b = (np.array(array[start : start + _PIECE], dtype=np.float64) for array in pairs[number])
            return _Block(a, b.reshape(len(a), dim), np.full(len(a), number))

        named = names if names is not None else (["x"] if dim == 1 else [f"x{i + 1}" for i in range(dim)])
        _check_names(named, dim)
        return cls(read, len(cuts), named, time_unit=time_unit, where=states[0].name, back_is_new=True)

    @classmethod
    def from_parquet(
        cls,
        path: PathLike | Sequence[PathLike],
        *,
        time: str,
        columns: str | Sequence[str],
        id: str | None = None,
        time_unit: str = "time unit",
    ) -> "TransitionStream":
        """Parquet files, read row group by row group.

        Args:
            path: One file, several, or a folder of them (taken in the order of their names).
            time: The column of times, numbers. (Dates: use `Trajectories.from_parquet`, or convert them.)
            columns: The observed columns, in the order of the state.
            id: The column that tells paths apart; without one, a new path begins where the time goes back.
            time_unit: The unit of the times.

        Raises:
            DataError: If a file can't be read, a column is missing or no number, or rows are out of order.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = _parquet_files(path)
        states = [columns] if isinstance(columns, str) else list(columns)
        if not states or len({*states, time}) <= len(states):
            raise InputError(f"columns must be different columns other than the time, at least one, got {columns!r}.")
        wanted = [time, *states, *([id] if id is not None else [])]
        handles: list[Any] = []
        for file in files:
            try:
                handle = pq.ParquetFile(file, memory_map=True)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{file.name} can't be read as Parquet: {error}") from None
            schema = handle.schema_arrow
            missing = [name for name in wanted if name not in schema.names]
            if missing:
                raise DataError(f"{file.name} has no column {missing[0]!r}; it has {', '.join(schema.names)}.")
            for name in (time, *states):
                kind = schema.field(name).type
                if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                    raise DataError(f"{file.name}: column {name!r} must hold numbers, it holds {kind}.")
            handles.append(handle)
        codes: dict[Any, int] = {}
        groups = [
            (f, g)
            for f, handle in enumerate(handles)
            for g in range(handle.num_row_groups)
            if handle.metadata.row_group(g).num_rows
        ]

        def read(k: int) -> _Block:
            f, g = groups[k]
            table = handles[f].read_row_group(g, columns=wanted)
            numbers = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in (time, *states)]
            label = np.zeros(len(table), dtype=np.int64) if id is None else _coded(table[id], codes)
            return _Block(numbers[0], np.stack(numbers[1:], 1), label)

        if not groups:
            raise DataError(f"{files[0].name} holds no rows.")
        return cls(read, len(groups), states, time_unit=time_unit, where=files[0].name, back_is_new=id is None)

    def _extended(self, k: int) -> _Block:
        """A block and the first observation of the next."""
        following = self._next[k]
        return self._read(k) if following is None else self._read(k).then(following)

    def piece(self, number: int) -> Rows:
        """One piece; see `Source`."""
        block = self._extended(self._numbers[number])
        at = block.starts(back_is_new=self._back_is_new)
        x = torch.from_numpy(block.x)
        t = torch.from_numpy(block.t)[:, None]
        index = torch.arange(len(at)) + int(self._before[number])
        return Rows(t[at], t[at + 1] - t[at], x[at], x[at + 1], index)

    def identity(self) -> str:
        """A text that tells these data from others; see `Source`."""
        names = ", ".join(self.names)
        return f"{len(self)} transitions of {names} in {len(self.counts)} pieces; digest {self._digest}"

    @property
    def dim(self) -> int:
        """The dimension d of the state."""
        return len(self.names)

    def __len__(self) -> int:
        """The number of transitions."""
        return sum(self.counts)

    def __repr__(self) -> str:
        told = f"{len(self):,} transitions of {', '.join(self.names)} in {self.parts:,} unbroken part(s)"
        return f"TransitionStream({self._where}: {told})"


def _several(given: PathLike | Sequence[PathLike]) -> list[Path]:
    paths = [Path(given)] if isinstance(given, str | os.PathLike) else [Path(path) for path in given]
    if not paths:
        raise InputError("At least one file was expected, got none.")
    return paths


def _mapped(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        told = f": {error}" if isinstance(error, OSError) else ", as np.save makes them"
        raise DataError(f"{path.name} can't be read as a .npy file{told}.") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path.name} is an archive of arrays; a .npy file with one array was expected.")
    if array.dtype.kind not in "fiu" or not len(array.shape) or not len(array):
        raise DataError(f"{path.name} must hold numbers, got {array.dtype} of shape {array.shape}.")
    return array


def _parquet_files(given: PathLike | Sequence[PathLike]) -> list[Path]:
    files = []
    for path in _several(given):
        files += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"There is no .parquet file in {given}.")
    for file in files:
        if not file.is_file():
            raise DataError(f"There is no file {file}.")
    return files


def _coded(column: Any, codes: dict[Any, int]) -> np.ndarray:
    """A number for each value, the same in all pieces."""
    encoded = column.combine_chunks().dictionary_encode()
    numbers = np.array(
        [codes.setdefault(value, len(codes)) for value in encoded.dictionary.to_pylist()], dtype=np.int64
    )
    place = encoded.indices.to_numpy(zero_copy_only=False)
    if encoded.null_count:
        raise DataError("The column that tells paths apart has missing values. Fill them in, or delete the rows.")
    return numbers[place]


def _check_names(names: Sequence[str], dim: int) -> None:
    if isinstance(names, str) or len(names) != dim:
        raise InputError(f"names must be {dim} names of states, got {names!r}.")


__all__ = ["TransitionStream"]
