"""From start to end: every sample with steps of its own, until it has arrived or failed."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from dataclasses import field as fresh
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.control import Control, Fixed, StepControl, first_step
from pdekit.ode.field import Field
from pdekit.ode.field_check import check_alone
from pdekit.ode.nonlinear.equation import column, indices, weighted_norm, where_rows
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.status import Status
from pdekit.ode.stepper import Attempt, Stepper

_ROUNDING = 10 * np.finfo(float).eps
_UNSOLVED = 0.25  # how much shorter a step is tried where equations were not solved
_NOT_FINITE = 0.1
_LOOK_AGAIN = 4  # rows are looked at once more after 1, 4, 16, ... steps, and as long as there are two

Progress = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class Tolerances:
    """atol + rtol |y|.

    Args:
        rtol: Relative.
        atol: Absolute, a number or one for each state (d,).
    """

    rtol: float
    atol: Any

    def weights(self, y: Tensor, other: Tensor | None = None) -> Tensor:
        """1 / (atol + rtol max(|y|, |other|)), (n, d)."""
        size = y.detach().abs()
        if other is not None:
            size = torch.maximum(size, other.detach().abs())
        return 1 / (self.atol + self.rtol * size)


@dataclass(eq=False)
class Segment:
    """An accepted step of some samples, for what happens between its ends.

    Args:
        rows: The samples in the whole batch.
        t: Where it begins, (n,).
        h: Its length.
        y: The states at the beginning.
        after: Those at the end.
        polynomial: See `Attempt`.
        until: Where a sample stops within the step, else its end, (n,).
        stopped: Whether it stops, (n,).
    """

    rows: np.ndarray
    t: np.ndarray
    h: np.ndarray
    y: Tensor
    after: Tensor
    polynomial: Tensor
    until: np.ndarray
    stopped: np.ndarray

    def at(self, which: np.ndarray, times: np.ndarray) -> Tensor:
        """The states of the samples `which` (positions in this segment) at times within, (k, d)."""
        index = indices(which, self.y)
        theta = torch.as_tensor((times - self.t[which]) / self.h[which], dtype=self.y.dtype, device=self.y.device)
        powers = theta.unsqueeze(-1) ** torch.arange(1, self.polynomial.shape[1] + 1, device=self.y.device)
        inside = self.y[index] + torch.einsum("nk,nkd->nd", powers, self.polynomial[index])
        return where_rows(times == self.t[which] + self.h[which], self.after[index], inside)


class Watcher(Protocol):
    """Something that happens between the ends of steps."""

    def wants(self, rows: np.ndarray, t: np.ndarray, after: np.ndarray) -> bool:
        """Whether it looks at the step of these samples from t to `after`."""
        ...

    def look(self, segment: Segment, field: Field) -> None:
        """Looks for what may stop samples: moves `until` to the first of these, and sets `stopped`."""
        ...

    def take(self, segment: Segment, field: Field) -> None:
        """Takes what happened up to `until`."""
        ...


@dataclass(eq=False)
class March:
    """The state of an integration: the samples that are still on their way.

    Args:
        field: f for these samples.
        stepper: The method.
        control: The choice of steps.
        tolerances: See there.
        t: Where they are, (n,).
        y: Their states, (n, d).
        stops: The times at which steps must end, (k, samples), in order; the last is the end.
        watchers: Called with every accepted step.
        try_step: Makes one attempt, perhaps under a checkpoint.
        progress: Called with the time covered and that to cover, summed over samples.
        check: Whether rows are looked at now and then: they must not see one another.
    """

    field: Field
    stepper: Stepper
    control: Control
    tolerances: Tolerances
    t: np.ndarray
    y: Tensor
    stops: np.ndarray
    watchers: list[Watcher]
    try_step: Callable[..., Attempt]
    progress: Progress | None = None
    check: bool = True
    status: np.ndarray = fresh(init=False)
    reached: np.ndarray = fresh(init=False)
    last_step: np.ndarray = fresh(init=False)
    component: np.ndarray = fresh(init=False)
    final: list[tuple[np.ndarray, Tensor]] = fresh(init=False, default_factory=list)

    def run(self, slope: Tensor) -> None:
        """Go on until no sample is left; f has the value `slope` at the start."""
        n = len(self.t)
        self.status, self.reached = np.zeros(n, dtype=np.int64), self.t.copy()
        self.last_step, self.component = np.zeros(n), np.zeros(n, dtype=np.int64)
        bad = ~torch.isfinite(slope.detach()).all(-1).cpu().numpy()
        if bad.any():
            slope = self._without(bad, slope)
            n = len(self.t)
            if n == 0:
                self.memory = Memory(0)
                return
        self.history = self.stepper.start(self.t, self.y, slope)
        self.memory = Memory(n)
        self.before = np.full(n, 1.0)
        self.rejected = np.zeros(n, dtype=bool)
        self.next_stop = np.zeros(n, dtype=np.int64)
        weights = self.tolerances.weights(self.y)
        with torch.no_grad():
            span = self.stops[-1, self.field.rows] - self.t
            start = (self.field, self.t, self.y.detach(), slope.detach(), weights, span)
            self.h = first_step(self.control, *start, self.stepper.order)
        self._leave(self.t == self.stops[-1, self.field.rows], Status.SUCCESS)
        begun, steps, look = self.reached.copy(), 0, 1
        while len(self.t):
            steps += 1
            if self.check and steps == look:
                self._check_rows()
                look *= _LOOK_AGAIN
            self._step()
            if self.progress is not None:
                self._report(begun)

    def _check_rows(self) -> None:
        """Rows that did not see one another at the start may do so later."""
        if len(self.t) > 1:
            with torch.no_grad():
                check_alone(self.field, self.t, self.y, self.field._uncounted(self.t)(self.y))

    def _report(self, begun: np.ndarray) -> None:
        ends, now = self.stops[-1], self.stops[-1].copy()  # who has left has nothing more to do
        now[self.field.rows] = self.t
        self.progress(float(np.abs(now - begun).sum()), float(np.abs(ends - begun).sum()))  # type: ignore[misc]

    def _without(self, bad: np.ndarray, slope: Tensor) -> Tensor:
        """Leaves out samples where f is not finite at the start; the slope of the others, with a graph of its own."""
        self._note_component(bad, slope)
        rows, keep = self.field.rows, np.flatnonzero(~bad)
        self.status[rows[bad]] = Status.NOT_FINITE
        self.final.append((rows[bad], self.y[indices(np.flatnonzero(bad), self.y)]))
        self.field, self.t, self.y = self.field.take(keep), self.t[keep], self.y[indices(keep, self.y)]
        return self.field(self.t, self.y) if len(keep) else slope[:0]

    def _step(self) -> None:
        rows = self.field.rows
        h, clipped, ends = self._clipped()
        weights = self.tolerances.weights(self.y)
        self.memory.begin_step()
        attempt = self.try_step(self, h, weights)
        finite = torch.isfinite(attempt.y.detach()).all(-1).cpu().numpy()
        error = weighted_norm(attempt.error, self.tolerances.weights(self.y, attempt.y))
        finite &= np.isfinite(error)
        solved = attempt.solved & finite
        accept = solved & (isinstance(self.control, Fixed) | (error <= 1))
        if attempt.y.requires_grad and not solved.all() and accept.any():
            attempt = self._again(h, weights, np.flatnonzero(accept), attempt)
        self.last_step[rows] = h
        if not accept.all():
            self._note_component(~accept, attempt.error * weights)
        self.field.counts.accepted[rows] += accept
        self.field.counts.rejected[rows] += solved & ~accept
        self.field.counts.unsolved[rows] += ~solved
        new_h = self._next_step(h, clipped, error, attempt, solved, accept, finite)
        arrived = stopped = np.zeros(len(h), dtype=bool)
        if accept.any():
            t = np.where(ends, self.stops[self.next_stop, rows], self.t + h)
            stopped = self._watch(attempt, h, t, accept)
            self.y = where_rows(accept, attempt.y, self.y)
            self.history = attempt.history.chosen(accept, self.history)
            self.t = np.where(accept, t, self.t)
            self.before = np.where(accept, np.maximum(error, 1e-4), self.before)
            self.next_stop = self.next_stop + (accept & ends)
            arrived = accept & (self.next_stop == len(self.stops))
            self.next_stop = np.minimum(self.next_stop, len(self.stops) - 1)
        self.rejected = ~accept
        self.h = new_h
        self._leave_all(accept, solved, finite, arrived, stopped)

    def _again(self, h: np.ndarray, weights: Tensor, keep: np.ndarray, failed: Attempt) -> Attempt:
        """The step of some samples by themselves: what is not finite in the others would spoil shared gradients."""
        at, part = indices(keep, self.y), copy(self)
        part.field, part.t, part.y = self.field.take(keep), self.t[keep], self.y[at]
        part.history, part.memory = self.history.take(keep), self.memory.take(keep)
        found = self.try_step(part, h[keep], weights[at])

        def polynomial() -> Tensor:
            some = found.polynomial()
            return some.new_zeros(len(h), *some.shape[1:]).index_copy(0, at, some)

        history = self.history.with_rows(keep, found.history)
        error_order = failed.error_order
        y = self.y.index_copy(0, at, found.y)
        return Attempt(y, failed.error.detach(), failed.solved, error_order, history, polynomial)

    def _clipped(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps that end at the next stop rather than just before or beyond it, and which do."""
        left = self.stops[self.next_stop, self.field.rows] - self.t
        ends = np.abs(self.h) * 1.01 >= np.abs(left)
        halves = ~ends & (np.abs(self.h) * 1.9 >= np.abs(left)) & isinstance(self.control, StepControl)
        h = np.where(ends, left, np.where(halves, left / 2, self.h))
        # Far from t = 0 only some lengths exist: the step must be the one that t takes.
        h = np.where(ends, h, np.sign(h) * np.maximum(np.abs(h), np.spacing(np.abs(self.t))))
        h = np.where(ends, h, (self.t + h) - self.t)
        return h, ends | halves, ends

    def _next_step(
        self,
        h: np.ndarray,
        clipped: np.ndarray,
        error: np.ndarray,
        attempt: Attempt,
        solved: np.ndarray,
        accept: np.ndarray,
        finite: np.ndarray,
    ) -> np.ndarray:
        control = self.control
        if isinstance(control, Fixed):
            return np.sign(h) * control.step
        safe = np.where(solved, error, 1.0)
        factor = control.factor(safe, self.before, attempt.error_order, self.rejected)
        factor = np.where(solved, factor, np.where(finite, _UNSOLVED, _NOT_FINITE))
        found = np.abs(h) * factor
        # A step that was only shortened to end at a stop says little: the one planned before stands.
        found = np.where(accept & clipped & (factor > 1), np.maximum(found, np.abs(self.h)), found)
        found = np.where(accept, np.maximum(found, control.min_step), found)
        return np.sign(h) * np.minimum(found, control.max_step)

    def _watch(self, attempt: Attempt, h: np.ndarray, t: np.ndarray, accept: np.ndarray) -> np.ndarray:
        """Which samples an event stops; their t and y become the event's."""
        stopped, keep = np.zeros(len(h), dtype=bool), np.flatnonzero(accept)
        rows, start, end = self.field.rows[keep], self.t[keep], t[keep]
        interested = [w for w in self.watchers if w.wants(rows, start, end)]
        if not interested:
            return stopped
        at = indices(keep, self.y)
        segment = Segment(
            rows, start, end - start, self.y[at], attempt.y[at], attempt.polynomial()[at], end.copy(), stopped[keep]
        )
        field = self.field if accept.all() else self.field.take(keep)
        for watcher in interested:
            watcher.look(segment, field)
        for watcher in interested:
            watcher.take(segment, field)
        if segment.stopped.any():
            which = np.flatnonzero(segment.stopped)
            stopped[keep[which]] = True
            t[keep[which]] = segment.until[which]
            attempt.y = attempt.y.index_copy(0, at[indices(which, at)], segment.at(which, segment.until[which]))
        return stopped

    def _leave_all(
        self, accept: np.ndarray, solved: np.ndarray, finite: np.ndarray, arrived: np.ndarray, stopped: np.ndarray
    ) -> None:
        code = np.full(len(accept), -1)
        counts, rows = self.field.counts, self.field.rows
        tried = counts.accepted[rows] + counts.rejected[rows] + counts.unsolved[rows]
        code[tried >= self.control.max_steps] = Status.TOO_MANY_STEPS
        least = _ROUNDING * np.maximum(np.abs(self.t), np.abs(self.stops[-1, rows] - self.t) * 1e-6)
        if isinstance(self.control, StepControl):
            small = ~accept & (np.abs(self.h) < np.maximum(least, self.control.min_step))
        else:
            small = ~accept  # the same step would fail again
        cause = np.where(~finite, Status.NOT_FINITE, np.where(~solved, Status.NOT_SOLVED, Status.STEP_TOO_SMALL))
        code = np.where(small, cause, code)
        lost = code == Status.NOT_FINITE
        if lost.any():  # solving equations spreads what is not finite over all components: ask f which it is
            for ahead in (1, 1e3, 1e6):
                with torch.no_grad():
                    step = ahead * self.last_step[rows]
                    value = self.field(self.t + step, self.y + column(step, self.y) * self.field(self.t, self.y))
                self._note_component(lost & ~torch.isfinite(value).all(-1).cpu().numpy(), value)
        code[stopped] = Status.EVENT
        code[arrived & ~stopped] = Status.SUCCESS
        if (code >= 0).any():
            self._leave_with(code)

    def _leave(self, which: np.ndarray, status: Status) -> None:
        if which.any():
            self._leave_with(np.where(which, status, -1))

    def _leave_with(self, code: np.ndarray) -> None:
        """Samples with a code leave; the others go on."""
        rows, gone, keep = self.field.rows, np.flatnonzero(code >= 0), np.flatnonzero(code < 0)
        if self.check and len(keep) <= 1:
            self._check_rows()
        self.status[rows[gone]], self.reached[rows[gone]] = code[gone], self.t[gone]
        self.final.append((rows[gone], self.y[indices(gone, self.y)]))
        self.field = self.field.take(keep)
        self.y = self.y[indices(keep, self.y)]
        self.history, self.memory = self.history.take(keep), self.memory.take(keep)
        for name in ("t", "h", "before", "rejected", "next_stop"):
            setattr(self, name, getattr(self, name)[keep])

    def _note_component(self, which: np.ndarray, error: Tensor) -> None:
        at = np.flatnonzero(which)
        size = error.detach()[indices(at, error)].abs().nan_to_num(nan=torch.inf)
        self.component[self.field.rows[at]] = size.argmax(-1).cpu().numpy()


def plain_attempt(march: March, h: np.ndarray, weights: Tensor) -> Attempt:
    """One attempt as it is."""
    return march.stepper.attempt(march.field, march.t, march.y, h, march.history, march.memory, weights)


__all__ = ["March", "Progress", "Segment", "Tolerances", "Watcher", "plain_attempt"]
