"""Long records cut into blocks that a filter runs through side by side.

A filter forgets where it started. So each block may begin `warm_up` readings early, from a rough law: by the time its
own readings come, its state is that of a filter which began at the first reading. That it is can be seen for nothing:
the block before ends where the warm-up does, and both must hold the same law there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs

# One tensor operation costs as much as this many rows of it.
_OVERHEAD_ROWS = 1500


@dataclass(frozen=True, eq=False)
class Blocks:
    """R rows that step through T columns together; in each cell a row makes the step of one pair.

    Attributes:
        pair: The pair of each cell, (T, R); where a row rests, the one it starts or ends with.
        active: Whether the row has begun, (T, R): before, it waits at its first reading.
        warm_up: The columns W before a row's own pairs.
        start: The pair whose first reading each row starts from, (R,).
        column: Where each pair is evaluated: its column, (n,).
        row: Its row, (n,).
        previous: The row of the block before in the same path, (R,); -1 for the first of a path.
        last: The column after which a row has made its last own step, (R,).
    """

    pair: Tensor
    active: Tensor
    warm_up: int
    start: Tensor
    column: Tensor
    row: Tensor
    previous: Tensor
    last: Tensor

    @property
    def columns(self) -> int:
        """The number of columns T."""
        return len(self.pair)

    @property
    def rows(self) -> int:
        """The number of rows R."""
        return self.pair.shape[1]


def cut(pairs: Pairs, warm_up: int) -> Blocks:
    """Blocks for these pairs, of the length that costs least.

    Args:
        pairs: All pairs, path after path.
        warm_up: How many readings a filter takes to forget its start. Paths not much longer are not cut.
    """
    path = pairs.path.numpy()
    first = np.flatnonzero(np.concatenate([[True], path[1:] != path[:-1]]))
    count = np.diff(np.append(first, len(path)))
    length = _length(count, warm_up)
    blocks = -(-count // length)
    warm_up = warm_up if blocks.max() > 1 else 0
    within = np.concatenate([np.arange(b) for b in blocks])
    beginning = np.repeat(first, blocks) + within * length
    end = np.minimum(beginning + length, np.repeat(first + count, blocks))
    start = np.maximum(beginning - warm_up, np.repeat(first, blocks))
    rows = np.arange(len(beginning))
    cells = beginning - warm_up + np.arange(warm_up + length)[:, None]
    own = end - beginning
    column = warm_up + np.concatenate([np.arange(size) for size in own])
    tensor = torch.from_numpy
    return Blocks(
        pair=tensor(np.clip(cells, start, end - 1)),
        active=tensor(cells >= start),
        warm_up=warm_up,
        start=tensor(start),
        column=tensor(column),
        row=tensor(np.repeat(rows, own)),
        previous=tensor(np.where(within > 0, rows - 1, -1)),
        last=tensor(warm_up + own - 1),
    )


def _length(count: np.ndarray, warm_up: int) -> int:
    """The length of blocks that makes columns times (overhead + rows) least."""
    longest = int(count.max())
    lengths = np.unique(np.geomspace(1, longest, 60).round().astype(int))
    rows = np.array([(-(-count // length)).sum() for length in lengths])
    columns = np.where(lengths < longest, lengths + warm_up, longest)
    return int(lengths[np.argmin(columns * (_OVERHEAD_ROWS + rows))])


__all__ = ["Blocks", "cut"]
