"""States at the times that were asked for, and everywhere where that was asked for."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.field import Field
from pdekit.ode.march import Segment
from pdekit.ode.nonlinear.equation import indices
from pdekit.ode.pieces import Pieces


class Outputs:
    """Collects the states at given times.

    Args:
        times: (k, samples), in the order in which they are met.
        exact: The same times with their graph, flat (k samples,), or None.
    """

    def __init__(self, times: np.ndarray, exact: Tensor | None) -> None:
        self.times, self._exact = times, exact
        self._sign = np.where(times[-1] >= times[0], 1.0, -1.0)
        self._next = np.zeros(times.shape[1], dtype=np.int64)
        self._found: list[tuple[np.ndarray, Tensor]] = []

    def begin(self, y: Tensor) -> None:
        """The states at the first times."""
        n = self.times.shape[1]
        self._found.append((np.arange(n), y))
        self._next += 1
        # Times that are the start again, as where start and end coincide.
        while (self._next < len(self.times)).all() and (self.times[self._next[0]] == self.times[0]).all():
            self._found.append((self._next * n + np.arange(n), y))
            self._next += 1

    def wants(self, rows: np.ndarray, t: np.ndarray, after: np.ndarray) -> bool:
        """Whether a time lies in the step."""
        k = self._next[rows]
        due = self.times[np.minimum(k, len(self.times) - 1), rows]
        return bool(((k < len(self.times)) & (self._sign[rows] * (due - after) <= 0)).any())

    def look(self, segment: Segment, field: Field) -> None:
        """Stops nothing."""

    def take(self, segment: Segment, field: Field) -> None:
        """Takes the states at the times that lie in the step, up to where samples stop."""
        rows, sign = segment.rows, self._sign[segment.rows]
        first = int(self._next[rows].min())
        times = self.times[first:, rows]
        open_ = np.arange(first, len(self.times))[:, None] >= self._next[rows]
        k, which = np.nonzero(open_ & (sign * (times - segment.until) <= 0))
        if not len(k):
            return
        found = segment.at(which, times[k, which])
        flat = (first + k) * self.times.shape[1] + rows[which]
        if self._exact is not None:
            exact = self._exact[torch.as_tensor(flat, device=self._exact.device)]
            found = moved(found, field.take(which), exact.detach(), exact)
        self._found.append((flat, found))
        np.add.at(self._next, rows[which], 1)

    def states(self) -> Tensor:
        """(k, samples, d); NaN where a sample did not get."""
        k, n = self.times.shape
        values = torch.cat([y for _, y in self._found])
        index = torch.as_tensor(np.concatenate([flat for flat, _ in self._found]), device=values.device)
        empty = values.new_full((k * n, values.shape[-1]), torch.nan)
        return empty.index_copy(0, index, values).reshape(k, n, -1)


def moved(y: Tensor, field: Field, start: Tensor, end: Tensor) -> Tensor:
    """The state at `end` that was y at `start`, two times (n,) that differ by their graphs only: right to second order.

    Where both are numbers this is y itself. One step of Heun's method has y' = f and y'' = f_t + f_y f.
    """
    change = (end - start).to(y.dtype).to(y.device).unsqueeze(-1)
    first = field(start, y)
    return y + 0.5 * change * (first + field(end, y + change * first))


class DenseOutput:
    """The solution between the output times, piece by piece; the order is the method's interpolation order."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self.guard: Callable[[Tensor], Tensor] = lambda z: z  # what states pass on their way out

    def wants(self, rows: np.ndarray, t: np.ndarray, after: np.ndarray) -> bool:
        """Always."""
        return True

    def look(self, segment: Segment, field: Field) -> None:
        """Stops nothing."""

    def take(self, segment: Segment, field: Field) -> None:
        """Keeps the piece."""
        self._segments.append(segment)

    def __call__(self, samples: np.ndarray, times: np.ndarray) -> Tensor:
        """The states of samples (m,), m > 0, each at a time of its own (m,): (m, d).

        Raises:
            InputError: If a time lies outside what was integrated.
        """
        piece = self._pieces.holding(samples, times)
        segment, position = self._pieces.segment[piece], self._pieces.position[piece]
        order = np.argsort(segment, kind="stable")
        used, begin = np.unique(segment[order], return_index=True)
        found = [
            self._segments[k].at(position[which], times[which])
            for k, which in zip(used, np.split(order, begin[1:]), strict=True)
        ]
        states = torch.cat(found)
        return self.guard(states[indices(np.argsort(order), states)])

    def ends(self, sample: int) -> np.ndarray:
        """The times at which the steps of a sample begin, and where the last one ends; none if it made no step."""
        return self._pieces.ends(sample)

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces.of(self._segments)


__all__ = ["DenseOutput", "Outputs", "moved"]
