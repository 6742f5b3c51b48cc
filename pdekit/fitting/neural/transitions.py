"""Transitions piece by piece, so that a fit needs no more than a few pieces in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs

_PIECE = 65_536
_FEWEST_PIECES = 8
# So many pieces are shuffled with one another, fewer where they are large.
_TOGETHER, _SHUFFLED = 8, 1_048_576
_BLOCKS = 50


@dataclass(frozen=True)
class Rows:
    """Some transitions.

    Attributes:
        t: Start times, (n, 1).
        dt: Steps, (n, 1).
        x0, x1: States before and after, (n, d).
        index: Their numbers in the whole data, (n,), int64.
    """

    t: Tensor
    dt: Tensor
    x0: Tensor
    x1: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.dt)

    def at(self, rows: Tensor | slice) -> "Rows":
        """Those at these positions."""
        return Rows(self.t[rows], self.dt[rows], self.x0[rows], self.x1[rows], self.index[rows])

    def to(self, device: str) -> "Rows":
        """The same on another device."""
        return Rows(*(v.to(device) for v in (self.t, self.dt, self.x0, self.x1, self.index)))

    @staticmethod
    def joined(parts: list["Rows"]) -> "Rows":
        """All of them."""
        return Rows(*(torch.cat([getattr(p, n) for p in parts]) for n in ("t", "dt", "x0", "x1", "index")))


class Source(Protocol):
    """Transitions in an order that never changes, cut into pieces.

    Attributes:
        names: Of the states.
        counts: How many transitions each piece holds.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]

    def piece(self, number: int) -> Rows:
        """One piece."""
        ...

    def identity(self) -> str:
        """A text that tells these data from others."""
        ...


class PairsSource:
    """The transitions of data that are in memory.

    Args:
        pairs: The transitions.
        names: Of the states.
    """

    def __init__(self, pairs: Pairs, names: tuple[str, ...]) -> None:
        self.names = names
        self._pairs = pairs
        size = max(1, min(_PIECE, -(-len(pairs) // _FEWEST_PIECES)))
        self._starts = list(range(0, len(pairs), size))
        self.counts = tuple(min(size, len(pairs) - start) for start in self._starts)

    def piece(self, number: int) -> Rows:
        """One piece."""
        start, count = self._starts[number], self.counts[number]
        rows, p = slice(start, start + count), self._pairs
        return Rows(p.t[rows, None], p.dt[rows, None], p.x0[rows], p.x1[rows], torch.arange(start, start + count))

    def identity(self) -> str:
        """A text that tells these data from others."""
        p = self._pairs
        sums = (float(v.sum()) for v in (p.t, p.dt, p.x0, p.x1))
        return f"{len(p)} transitions of {', '.join(self.names)}; sums {', '.join(f'{s:.17g}' for s in sums)}"


@dataclass(frozen=True)
class Folds:
    """Blocks of consecutive transitions, of which each member of an ensemble leaves some out.

    Args:
        n: Transitions in all.
        share: Held out by each member.
        seed: Of the choice.
    """

    n: int
    share: float
    seed: int

    def held_out(self, member: int, index: Tensor) -> Tensor:
        """Which of the transitions with these numbers a member leaves out, (n,) bool."""
        blocks = min(_BLOCKS, self.n)
        each = max(1, round(self.share * blocks))
        order = np.random.default_rng((self.seed, 1)).permutation(blocks)
        mine = order[(member * each + np.arange(each)) % blocks]
        left_out = torch.zeros(blocks, dtype=torch.bool, device=index.device)
        left_out[torch.from_numpy(mine)] = True
        return left_out[index * blocks // self.n]


class Batches:
    """Mini-batches whose order is a function of the seed and the number of the step alone.

    An epoch takes the pieces in a random order, eight together, and the transitions of these in a random order.

    Args:
        source: The transitions.
        size: Of a batch.
        seed: Of the order.
    """

    def __init__(self, source: Source, size: int, seed: tuple[int, ...]) -> None:
        self.source, self.size, self.seed = source, size, seed
        self._group: tuple[tuple[int, int], Rows] | None = None
        self._plan = lru_cache(maxsize=1)(self._lay_out)
        self._begins = [0]  # the first step of each epoch that is known

    def _lay_out(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The groups of pieces of an epoch, and the number of the first batch of each."""
        order = np.random.default_rng((*self.seed, 2, epoch)).permutation(len(self.source.counts))
        sizes = np.asarray(self.source.counts)
        together = max(1, min(_TOGETHER, _SHUFFLED // int(sizes.max())))
        groups = [order[k : k + together] for k in range(0, len(order), together)]
        batches = [-(-int(sizes[g].sum()) // self.size) for g in groups]
        return groups, np.concatenate([[0], np.cumsum(batches)])

    def at(self, step: int) -> Rows:
        """The batch of a step, counted from 0."""
        # Epochs differ by a few batches, as the pieces that come together do.
        while step >= self._begins[-1]:
            self._begins.append(self._begins[-1] + int(self._plan(len(self._begins) - 1)[1][-1]))
        epoch = int(np.searchsorted(self._begins, step, side="right")) - 1
        groups, first = self._plan(epoch)
        step -= self._begins[epoch]
        number = int(np.searchsorted(first, step, side="right")) - 1
        if self._group is None or self._group[0] != (epoch, number):
            rows = Rows.joined([self.source.piece(int(k)) for k in groups[number]])
            order = np.random.default_rng((*self.seed, 3, epoch, number)).permutation(len(rows))
            self._group = (epoch, number), rows.at(torch.from_numpy(order))
        rows, position = self._group[1], step - int(first[number])
        return rows.at(slice(position * self.size, (position + 1) * self.size))


def pieces(source: Source, most: int, rank: int = 0, ranks: int = 1, thin: int = 1) -> Iterator[Rows]:
    """All transitions, or every `thin`-th, in portions of at most `most`; the share of one process among several."""
    for number in range(rank, len(source.counts), ranks):
        rows = source.piece(number)
        if thin > 1:
            rows = rows.at(slice(None, None, thin))
        for start in range(0, len(rows), most):
            yield rows.at(slice(start, start + most))


__all__ = ["Batches", "Folds", "PairsSource", "Rows", "Source", "pieces"]
