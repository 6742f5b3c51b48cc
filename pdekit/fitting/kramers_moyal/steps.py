"""Increments over one or several steps, in folds of blocks of time, and their sums at the sites of a design."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdekit.data import Trajectories
from pdekit.errors import DataError

FOLDS = 5
_GAP = 10.0  # times the typical step
_BLOCKS = 10  # of each fold: with every fold all over the record, a slow change doesn't pass for an error of the fit


@dataclass(frozen=True, eq=False)
class Steps:
    """Increments of scaled states, path after path.

    Attributes:
        u: States at the start, scaled, (N, d).
        dt: Times that they span, (N,).
        du: Increments of the scaled state, (N, d).
        fold: The fold that each belongs to, (N,).
        path: The index of its path, (N,).
        lag: Over how many steps they go.
        left_out: How many increments over gaps were left out: they say nothing of the limit of short steps.
    """

    u: np.ndarray
    dt: np.ndarray
    du: np.ndarray
    fold: np.ndarray
    path: np.ndarray
    lag: int
    left_out: int = 0

    @classmethod
    def of(cls, data: Trajectories, lag: int, centre: np.ndarray, scale: np.ndarray) -> "Steps":
        """All increments over `lag` steps, those of the same path; paths shorter than that have none.

        Raises:
            DataError: If no path is long enough.
        """
        u, dt, du, path = [], [], [], []
        for k, (t, x) in enumerate(zip(data.times, data.values, strict=True)):
            if len(t) > lag:
                time, state = t.numpy(), (x.numpy() - centre) / scale
                u.append(state[:-lag])
                dt.append(time[lag:] - time[:-lag])
                du.append(state[lag:] - state[:-lag])
                path.append(np.full(len(time) - lag, k))
        if not u:
            raise DataError(f"No path has more than {lag} steps, as the lag {lag} needs. Use smaller lags.")
        u, dt, du, path = map(np.concatenate, (u, dt, du, path))
        kept = dt <= _GAP * np.median(dt)
        u, dt, du, path = (array[kept] for array in (u, dt, du, path))
        blocks = min(FOLDS * _BLOCKS, len(dt))
        fold = np.arange(len(dt)) * blocks // len(dt) % FOLDS
        return cls(u, dt, du, fold, path, lag, int((~kept).sum()))

    def __len__(self) -> int:
        return len(self.dt)

    @property
    def repeats(self) -> float:
        """How often overlapping increments count the same time: each is worth one over this."""
        return float(self.lag)

    @property
    def squares_repeat(self) -> float:
        """The same for their squares, alike in part only (Lo and MacKinlay 1988, Rev. Financ. Stud. 1)."""
        return (2.0 * self.lag**2 + 1.0) / (3.0 * self.lag)

    @property
    def dim(self) -> int:
        """The number of states d."""
        return self.u.shape[1]

    @cached_property
    def step(self) -> tuple[float, float]:
        """The step that first and second moments effectively have where steps differ: each in its own weights."""
        return float((self.dt**2).sum() / self.dt.sum()), float(self.dt.mean())


def pairs_of_states(dim: int, full: bool) -> list[tuple[int, int]]:
    """Which entries of the diffusion tensor are estimated: the diagonal first, then (i, j) with i > j."""
    return [(i, i) for i in range(dim)] + ([(i, j) for i in range(dim) for j in range(i)] if full else [])


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the increments near each site: all that estimates of drift and diffusion need.

    Attributes:
        count: Number, (rows,).
        time: Of dt, (rows,).
        first: Of du, (rows, d).
        second: Of du_i du_j / (2 dt), (rows, r).
        pairs: The (i, j) of the r columns.
    """

    count: np.ndarray
    time: np.ndarray
    first: np.ndarray
    second: np.ndarray
    pairs: list[tuple[int, int]]

    @staticmethod
    def columns(steps: Steps, pairs: list[tuple[int, int]]) -> np.ndarray:
        """What is summed, (N, 2 + d + r)."""
        squares = [steps.du[:, i] * steps.du[:, j] / (2.0 * steps.dt) for i, j in pairs]
        return np.column_stack([np.ones(len(steps)), steps.dt, steps.du, *squares])

    @classmethod
    def of(cls, table: np.ndarray, dim: int, pairs: list[tuple[int, int]]) -> "Sums":
        """From the sums of `columns`, (rows, 2 + d + r)."""
        return cls(table[:, 0], table[:, 1], table[:, 2 : 2 + dim], table[:, 2 + dim :], pairs)

    def residual(self, drift: np.ndarray) -> np.ndarray:
        """Sums of (du - f dt)_i (du - f dt)_j / (2 dt) for a drift at the sites (rows, d), (rows, r)."""
        i, j = np.array(self.pairs).T
        cross = drift[:, i] * self.first[:, j] + drift[:, j] * self.first[:, i]
        return self.second - 0.5 * cross + 0.5 * drift[:, i] * drift[:, j] * self.time[:, None]


__all__ = ["FOLDS", "Steps", "Sums", "pairs_of_states"]
