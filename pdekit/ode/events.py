"""Events: times at which a function of the solution changes its sign, as differentiable functions of everything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError
from pdekit.ode.field import Field
from pdekit.ode.implicit_function import first_order
from pdekit.ode.march import Segment
from pdekit.ode.numbers_given import one_of, settle

_HALVINGS = 60


@dataclass(frozen=True)
class Event:
    """g(t, y) = 0.

    The sign of g is compared at both ends of every step: two zeros within one step are missed; `max_step` shortens
    steps.

    Args:
        function: g, (t, y) -> (*batch,), with times as f gets them: a tensor of numbers, one for each sample.
        terminal: Whether a sample stops there.
        direction: 1 for zeros on the way up only, -1 on the way down, 0 for both; up and down along the way of the
            integration, as in SciPy: what falls in time rises when times run backwards.
    """

    function: Callable[[Any, Tensor], Tensor]
    terminal: bool = True
    direction: Literal[-1, 0, 1] = 0

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"An event needs a function g(t, y), got {self.function!r}.")
        if not isinstance(self.terminal, bool | np.bool_):
            raise InputError(f"terminal must be True or False, got {self.terminal!r}.")
        says = "direction must be -1, 0 or 1, one for all samples (for more, give one Event for each direction)"
        settle(self, direction=one_of(self.direction, says, (-1, 0, 1)))


@dataclass(frozen=True, eq=False)
class Occurrences:
    """When and where an event happened.

    The rows are in the order in which they were found: those of one sample along its way, those of different samples
    mixed. `found.t[found.sample == i]` has the times of sample i, in order.

    Args:
        sample: Indices of the samples in the flat batch, (m,); `np.unravel_index(found.sample, solution.status.shape)`
            has those in a batch of several axes.
        t: The times, (m,), float64, with a graph where the solution has one: gradients of first order.
        y: The states, (m, d), likewise.
    """

    sample: np.ndarray
    t: Tensor
    y: Tensor

    @classmethod
    def none(cls, like: Tensor, dim: int) -> "Occurrences":
        """Nothing happened."""
        return cls(np.zeros(0, dtype=np.int64), torch.zeros(0, dtype=torch.float64), like.new_zeros(0, dim))


class EventWatcher:
    """Looks for zeros of one event."""

    def __init__(self, event: Event, dim: int, like: Tensor) -> None:
        self._event, self._dim, self._like = event, dim, like
        self._found: list[Occurrences] = []
        self._which, self._times = np.zeros(0, dtype=np.int64), np.zeros(0)

    def wants(self, rows: np.ndarray, t: np.ndarray, after: np.ndarray) -> bool:
        """Always."""
        return True

    def look(self, segment: Segment, field: Field) -> None:
        """Finds zeros within the step; a terminal event stops samples at theirs."""
        with torch.no_grad():
            before = self._value(field, segment.t, segment.y)
            after = self._value(field, segment.t + segment.h, segment.after)
        if np.isnan(before).any() or np.isnan(after).any():
            worst = int(np.flatnonzero(np.isnan(before) | np.isnan(after))[0])
            raise NumericalError(
                f"An event's function is NaN in the step from t = {segment.t[worst]:.6g} on, for sample "
                f"{segment.rows[worst]} of the flat batch: its sign can't be told."
            )
        up, down = (before < 0) & (after >= 0), (before > 0) & (after <= 0)
        crossed = {1: up, -1: down, 0: up | down}[self._event.direction]
        self._which = np.flatnonzero(crossed)
        if not len(self._which):
            return
        self._times = self._bisected(segment, field.take(self._which), self._which, before[self._which])
        if self._event.terminal:
            start, until = segment.t[self._which], segment.until[self._which]
            first = np.abs(self._times - start) <= np.abs(until - start)
            segment.until[self._which[first]] = self._times[first]
            segment.stopped[self._which[first]] = True

    def take(self, segment: Segment, field: Field) -> None:
        """Records the zeros up to where samples stop."""
        if not len(self._which):
            return
        start, until = segment.t[self._which], segment.until[self._which]
        inside = np.abs(self._times - start) <= np.abs(until - start)
        which, times = self._which[inside], self._times[inside]
        if len(which):
            self._found.append(self._occurrences(segment, field.take(which), which, times))

    def occurrences(self) -> Occurrences:
        """All that were found, in the order of finding."""
        if not self._found:
            return Occurrences.none(self._like, self._dim)
        sample = np.concatenate([o.sample for o in self._found])
        return Occurrences(sample, torch.cat([o.t for o in self._found]), torch.cat([o.y for o in self._found]))

    def _value(self, field: Field, t: np.ndarray, y: Tensor) -> np.ndarray:
        return self._graph(field, t, y).detach().to("cpu", torch.float64).numpy()

    def _graph(self, field: Field, t: Any, y: Tensor) -> Tensor:
        return field.evaluate_other(self._checked, t, y)

    def _checked(self, t: Tensor, y: Tensor) -> Tensor:
        value, batch = self._event.function(t, y), tuple(y.shape[:-1])
        if not isinstance(value, Tensor):
            raise InputError(
                f"An event's function must return a tensor of shape {batch}, such as y[..., 0] - 1, got "
                f"{type(value).__name__}."
            )
        if value.dtype == torch.bool or value.is_complex():
            raise InputError(
                "An event's function must return a number that changes its sign, such as y[..., 0] - 1 rather than "
                f"y[..., 0] > 1, got {value.dtype}."
            )
        if value.shape != batch:
            raise InputError(
                f"An event's function must return one number per sample, {batch}, got shape {tuple(value.shape)}."
            )
        return value

    @torch.no_grad()
    def _bisected(self, segment: Segment, field: Field, which: np.ndarray, before: np.ndarray) -> np.ndarray:
        low, high = segment.t[which].copy(), (segment.t + segment.h)[which].copy()
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            value = self._value(field, middle, segment.at(which, middle))
            same = np.sign(value) == np.sign(before)
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        return high

    def _occurrences(self, segment: Segment, field: Field, which: np.ndarray, times: np.ndarray) -> Occurrences:
        """dt/dp = -(dg/dy dy/dp + dg/dp) / (dg/dt + dg/dy f)."""
        y, t = segment.at(which, times), torch.as_tensor(times, dtype=torch.float64)
        value = self._graph(field, times, y)
        if not (y.requires_grad or value.requires_grad):
            return Occurrences(segment.rows[which], t, y)
        slope = field(times, y)
        with torch.enable_grad():
            time = t.to(y.dtype).to(y.device).requires_grad_()
            state = y.detach().requires_grad_()
            inner = field.evaluate_other(self._checked, time, state).sum()
            d_time, d_state = torch.autograd.grad(inner, (time, state), allow_unused=True, materialize_grads=True)
        rate = d_time + (d_state * slope.detach()).sum(-1)
        t = t.to(y.device) - (value / rate).to(torch.float64)
        t = t - (t.detach() - torch.as_tensor(times, dtype=torch.float64, device=t.device))  # the value as it was found
        y = y + slope * (t - t.detach()).to(y.dtype).unsqueeze(-1)
        return Occurrences(segment.rows[which], first_order(t), first_order(y))


__all__ = ["Event", "EventWatcher", "Occurrences"]
