"""The result of an integration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.counting import Counts
from pdekit.ode.events import Occurrences
from pdekit.ode.outputs import DenseOutput
from pdekit.ode.status import Failure
from pdekit.ode.storage import complete, counts_as_tensors, counts_from, read, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """States at the times that were asked for.

    Args:
        t: The times as they were given, (k,) or (k, *batch).
        y: The states, (k, *batch, d); NaN after a sample failed or was stopped by an event.
        status: How each sample ended, names of `Status` in small letters, (*batch).
        counts: What each sample cost; arrays (samples,) over the flat batch.
        method: The method and its options, as written in code.
        rungs: How many systems each nonlinear solver of a ladder solved.
        failures: Where samples failed.
        events: For each event that was asked for, when and where it happened.
        interpolant: The solution between the times; None unless dense=True.
    """

    t: Tensor
    y: Tensor
    status: np.ndarray
    counts: Counts
    method: str
    rungs: dict[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    events: tuple[Occurrences, ...] = ()
    interpolant: DenseOutput | None = None

    @property
    def success(self) -> bool:
        """Whether every sample arrived, or was stopped by an event."""
        return bool(np.isin(self.status, ["success", "event"]).all())

    def __repr__(self) -> str:
        ended = {str(name): int(n) for name, n in zip(*np.unique(self.status, return_counts=True), strict=True)}
        rungs = f", solved by {self.rungs}" if self.rungs else ""
        return (
            f"Solution({len(self.t)} times, states {tuple(self.y.shape[1:])}, {self.method}, status={ended}, "
            f"{self.counts}{rungs})"
        )

    def at(self, t: Any) -> Tensor:
        """The states between the output times, (k, *batch, d).

        Args:
            t: Times within what was integrated, in any order: (k,), or with a row for each sample (k, *batch); or one
                number. They get no gradients.

        Raises:
            InputError: If the solution was not asked for with dense=True, or a time lies outside.
        """
        times = _times(t, self.status.shape)
        if self.interpolant is None and self.status.size:
            raise InputError("States between the output times need odeint(..., dense=True).")
        if self.interpolant is None or times.size == 0:
            return self.y.new_zeros(len(times), *self.y.shape[1:])
        flat = np.broadcast_to(times.reshape(len(times), -1), (len(times), self.status.size))
        samples = np.broadcast_to(np.arange(self.status.size), flat.shape)
        return self.interpolant(samples.ravel(), flat.ravel()).reshape(len(times), *self.y.shape[1:])

    def plot(self, *, samples: int | Sequence[int] = 5, components: int | Sequence[int] = 6) -> "Figure":
        """The components over time, one panel each: outputs, the curve between them if dense=True, and events.

        Args:
            samples: How many samples, from the first, or which: indices in the flat batch.
            components: How many components, from the first, or which.

        Returns:
            A Matplotlib figure that belongs to no window; `.savefig(...)` writes it.

        Raises:
            InputError: If there are no such samples or components.
        """
        from pdekit.ode.picture import picture

        return picture(self, samples, components)

    def save(self, path: str | Path) -> None:
        """Write times, states, status and counts to a safetensors file, the rest as JSON in its header.

        Raises:
            InputError: If it can't be written.
        """
        about = {"method": self.method, "rungs": self.rungs, "status": self.status.tolist()}
        about["failures"] = [str(f) for f in self.failures]
        write(path, "solution", about, {"t": self.t, "y": self.y} | counts_as_tensors(self.counts))

    @classmethod
    def load(cls, path: str | Path) -> "Solution":
        """Read what `save` wrote; failures, events and the interpolant are not in it.

        Raises:
            InputError: If there is no such file.
            DataError: If the file is no such file, or was written by a later major version.
        """
        about, tensors = read(path, "solution")
        with complete(path):
            status, counts = np.array(about["status"]), counts_from(tensors)
            return cls(tensors["t"], tensors["y"], status, counts, about["method"], dict(about["rungs"]))


def _times(t: Any, batch: tuple[int, ...]) -> np.ndarray:
    try:
        given = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t)
        times = given.astype(float, casting="same_kind") if given.size else np.zeros(given.shape)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InputError(f"t must be times, numbers (k,) or (k, *batch), got {t!r}.") from cause
    times = np.atleast_1d(times)
    if times.shape[1:] not in ((), batch):
        raise InputError(f"t must be times (k,) or (k, *batch) = {('k', *batch)}, got shape {times.shape}.")
    if not np.isfinite(times).all():
        raise InputError(f"t must be times that are finite, got {times[~np.isfinite(times)][0]}.")
    return times


__all__ = ["Solution"]
