"""Arrays, tensors and lists in the shapes that people have them, to a `Table` in long format."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdekit.data.reading import PathLike, read_bytes
from pdekit.data.table import Table, unused
from pdekit.errors import DataError

_TIME, _ID = "t", "path"


def read_arrays(
    t: Any, x: Any, names: Sequence[str] | None, ids: Sequence[str] | None
) -> tuple[Table, tuple[str, ...], str | None, str | None]:
    """A table of all paths one after the other, and the names of its observed, time and id columns.

    Raises:
        DataError: If shapes don't match.
    """
    paths = _paths(t, x)
    dim = paths[0][1].shape[1]
    columns = _component_names(dim, names)
    for k, (when, states) in enumerate(paths):
        if states.shape[1] != dim or (when is not None and len(when) != len(states)):
            shapes = "no times" if when is None else f"{len(when)} times"
            raise DataError(
                f"Path {k + 1}: {shapes} and values of shape {states.shape}, where (n, {dim}) was expected."
            )
    labels = [str(label) for label in ids] if ids is not None else [str(k + 1) for k in range(len(paths))]
    if len(labels) != len(paths) or len(set(labels)) != len(labels):
        raise DataError(
            f"ids must name each of the {len(paths)} paths once, got {len(labels)} ids ({len(set(labels))} distinct)."
        )
    lengths = [len(states) for _, states in paths]
    states = np.concatenate([states for _, states in paths])
    table: dict[str, np.ndarray] = {name: states[:, k] for k, name in enumerate(columns)}
    time, id, owners = None, None, None
    if paths[0][0] is not None:
        time = unused(_TIME, columns)
        table[time] = np.concatenate([when for when, _ in paths if when is not None])
    if len(paths) > 1 or ids is not None:
        id, owners = unused(_ID, columns), np.repeat(np.array(labels, dtype=object), lengths)
        table[id] = owners
    rows = np.concatenate([np.arange(n) for n in lengths])
    return Table("the arrays", table, rows, "index", owners if len(paths) > 1 else None), columns, time, id


def read_npz(path: PathLike, t: str | None, x: str) -> tuple[np.ndarray | None, np.ndarray]:
    """The named arrays of an NPZ file; `t` None leaves the times out.

    Raises:
        DataError: If the file can't be read or isn't NPZ, or an array is absent or holds Python objects.
    """
    name = Path(path).name
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            for key in (t, x):
                if key is not None and key not in archive:
                    held = ", ".join(map(repr, archive.files))
                    raise DataError(f"{name} has no array {key!r}; it holds {held}. Name them with t=... and x=....")
            return None if t is None else archive[t], archive[x]
    except DataError:
        raise
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name} is not an NPZ file of plain arrays ({error}). Write it with numpy.savez(path, t=t, x=x)."
        ) from None


def _paths(t: Any, x: Any) -> list[tuple[np.ndarray | None, np.ndarray]]:
    if _is_list_of_arrays(t) or (t is None and _is_list_of_arrays(x, arrays_only=True)):
        if len(x) == 0 or (t is not None and len(t) != len(x)):
            raise DataError(
                f"There are times of {0 if t is None else len(t)} paths and values of {len(x)}; "
                "one of each per path was expected."
            )
        return [(None if t is None else _times(t[k]), _states(x[k])) for k in range(len(x))]
    when, states = None if t is None else _times(t), _array(x)
    if states.ndim <= 2:
        return [(when, _states(states, len(when) if when is not None else None))]
    if states.ndim == 3 and (when is None or len(when) == len(states)):
        return [(when, _states(states[:, k])) for k in range(states.shape[1])]
    expected = "" if when is None else f" with n = {len(when)} times"
    raise DataError(
        f"x must be (n,), (n, d) or (n, paths, d){expected}, got {states.shape}. For paths first, transpose."
    )


def _is_list_of_arrays(value: Any, arrays_only: bool = False) -> bool:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return not arrays_only and value.ndim == 2
    if not isinstance(value, (list, tuple)) or not value:
        return False
    kinds = (np.ndarray, torch.Tensor) if arrays_only else (np.ndarray, torch.Tensor, list, tuple)
    return all(isinstance(part, kinds) and len(np.shape(part)) >= 1 for part in value)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().astype(np.float64)
    try:
        array = np.asarray(value)
        return array if array.dtype.kind == "M" else array.astype(np.float64)
    except (ValueError, TypeError):
        raise DataError("Values must be real numbers in an array or in lists of equal length.") from None


def _times(value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        array = np.asarray(value)
        if array.dtype.kind == "M":
            return array.astype("datetime64[us]")
        if array.dtype.kind in "OUS":
            return np.array([str(cell).strip() for cell in array.ravel()], dtype=object)
    array = _array(value)
    if array.ndim != 1:
        raise DataError(f"Times must be (n,), or a list of such per path, got shape {array.shape}.")
    return array


def _states(value: Any, n: int | None = None) -> np.ndarray:
    states = _array(value)
    states = states[:, None] if states.ndim == 1 else states
    if states.ndim != 2 or states.dtype.kind != "f" or (n is not None and len(states) != n):
        expected = "" if n is None else f" with n = {n} times"
        raise DataError(f"x must be (n,) or (n, d){expected}, got {np.shape(value)}.")
    return states


def _component_names(dim: int, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ("x",) if dim == 1 else tuple(f"x{k + 1}" for k in range(dim))
    if len(names) != dim or len(set(names)) != dim:
        raise DataError(f"names must name each of the {dim} components once, got {list(names)}.")
    return tuple(names)
