"""Rows in tiles: rows don't see one another, so directional derivatives of a few rows at a time stay in the cache.

All directions of all rows at once would be tensors of (directions, batch, width) that outgrow the cache, and whose
fresh memory costs more than the arithmetic.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from pdekit.operators.call import Call, rounding
from pdekit.operators.memory import Memory
from pdekit.operators.result import Plan

_ELEMENTS = 2**20  # rows times directions times features that go together
_USUAL_WIDTH = 256  # of a layer, until the function is known
_SIZES = Memory()


class _Planned(Protocol):
    @property
    def plan(self) -> Plan: ...


Part = TypeVar("Part", bound=_Planned)


def in_tiles(call: Call, directions: int, compute: Callable[[slice, dict[str, Any]], Part]) -> list[Part] | None:
    """What `compute` returns for ranges of rows one after the other; None where all rows should go at once.

    Args:
        call: The call.
        directions: How many directions each row has at most. Parts tell how many were taken, and how wide the widest
            layer is; both set the size of the next range, and of the first one when the function is seen again.
        compute: (range of rows, what the parts share) -> part.
    """
    count = call.batch.numel()
    if torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or count < 2:
        return None
    entry = _SIZES.about(call.function, call.dim, directions, len(call.batch) > 1, *call.by_row)
    sliceable, size = entry.value if entry.known else (None, directions * _USUAL_WIDTH)
    if count * size <= _ELEMENTS:
        return None
    if sliceable is None:
        sliceable = _sliceable(call)
    if not sliceable:
        entry.keep((False, size))
        return None
    keep_freed_memory(call.x)
    parts: list[Part] = []
    shared: dict[str, Any] = {}
    start = 0
    while start < count:
        pieces = -(-(count - start) // max(1, _ELEMENTS // size))
        stop = start + -(-(count - start) // pieces)
        try:
            parts.append(compute(slice(start, stop), shared))
        except Exception:
            if parts:
                raise
            return None  # if all rows at once fail as well, that error is the one to see
        size = max(1, parts[-1].plan.directions * shared.get("width", _USUAL_WIDTH))
        start = stop
    entry.keep((True, size))
    return parts


def ranges_of_rows(call: Call, directions: int) -> list[slice] | None:
    """Ranges of rows for passes that take exactly `directions` directions; None where all rows should go at once."""
    count = call.batch.numel()
    if torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or count < 2:
        return None
    rows = max(1, _ELEMENTS // (directions * _USUAL_WIDTH))
    if count <= rows or not _sliceable(call):
        return None
    keep_freed_memory(call.x)
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def keep_freed_memory(like: Tensor) -> None:
    """Makes the allocator keep freed blocks of a few MB, for the whole process, where states are on the CPU.

    glibc hands such blocks back to the system, whose fresh pages then cost more than the arithmetic. The first large
    block that is freed raises that threshold to its size (at most 32 MB).
    """
    if like.device.type == "cpu" and not torch.compiler.is_compiling():
        _free_a_large_block()


@functools.cache
def _free_a_large_block() -> None:
    torch.empty(30 * 2**20, dtype=torch.uint8)


def _sliceable(call: Call) -> bool:
    # A function that closes over one value per row can't be called on other rows than the first; a context may only
    # look like rows. So the last rows by themselves are compared with the last rows of all.
    count = call.batch.numel()
    few = call.rows(slice(count - (2 if count > 2 else 1), count))
    try:
        output = few.at(few.x).detach()
        whole = call.at(call.x).detach().reshape(count, *output.shape[1:])[-few.x.shape[0] :]
    except Exception:
        return False
    if output.shape != whole.shape:
        return False
    finite = torch.isfinite(whole)
    whole, output = whole[finite], output[finite]
    if whole.numel() == 0:
        return True
    tolerance = min(1e4 * rounding(whole), 0.1) * (1 + float(whole.abs().max()))
    return bool(((whole - output).abs() <= tolerance).all())


def rows_of(call: Call, z: Any, keep: slice, features: int) -> Any:
    """Some rows of a coefficient whose axes before the last `features` are the batch, or none at all."""
    if z is None or z.shape[: z.ndim - features] != call.batch or not call.batch:
        return z
    return z.reshape(-1, *z.shape[z.ndim - features :])[keep]


def joined(call: Call, parts: list[Tensor]) -> Tensor:
    """Tiles side by side, in the shape of the batch."""
    whole = torch.cat(parts)
    return whole.reshape(*call.batch, *whole.shape[1:])
