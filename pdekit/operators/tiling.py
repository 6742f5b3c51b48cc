"""Rows in tiles: rows don't see one another, so directional derivatives of a few rows at a time stay in the cache.

All directions of all rows at once would be tensors of (directions, batch, width) that outgrow the cache, and whose
fresh memory costs more than the arithmetic.
"""

from typing import Any

import torch
from torch import Tensor

from pdekit.operators.call import Call
from pdekit.operators.contract import identity, references_to, same_owners

_PRODUCTS = 8192  # rows times directions that go together: enough for an efficient matrix product
_SLICEABLE: dict[Any, tuple[Any, bool]] = {}
_CAPACITY = 4096


def tiles(call: Call, directions: int) -> list[slice] | None:
    """The ranges of rows to go through one after the other, or None to take all at once.

    Args:
        call: The call.
        directions: How many directions each row has.
    """
    count = call.batch.numel()
    rows = max(1, _PRODUCTS // max(1, directions))
    if count <= rows or torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or not sliceable(call):
        return None
    pieces = -(-count // rows)
    rows = -(-count // pieces)
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def sliceable(call: Call) -> bool:
    """Whether the function can be called on fewer rows: not if it closes over one value per row."""
    key, owners = identity(call.function)
    key = (len(call.batch) > 1, *key)
    if key in _SLICEABLE and same_owners(_SLICEABLE[key][0], owners):
        return _SLICEABLE[key][1]
    few = call.rows(slice(0, 2 if call.batch.numel() > 2 else 1))
    try:
        output = few.at(few.x)
        answer = output.shape[0] == few.x.shape[0]
    except Exception:
        answer = False
    references = references_to(owners)
    if len(_SLICEABLE) > _CAPACITY:
        _SLICEABLE.clear()
    if references is not None:
        _SLICEABLE[key] = (references, answer)
    return answer


def rows_of(call: Call, z: Any, keep: slice, features: int) -> Any:
    """Some rows of a coefficient whose axes before the last `features` are the batch, or none at all."""
    if z is None or z.shape[: z.ndim - features] != call.batch or not call.batch:
        return z
    return z.reshape(-1, *z.shape[z.ndim - features :])[keep]


def joined(call: Call, parts: list[Tensor]) -> Tensor:
    """Tiles side by side, in the shape of the batch."""
    whole = torch.cat(parts)
    return whole.reshape(*call.batch, *whole.shape[1:])
