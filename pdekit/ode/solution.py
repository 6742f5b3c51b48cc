"""The result of an integration."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import DataError, InputError
from pdekit.ode.counting import Counts
from pdekit.ode.events import Occurrences
from pdekit.ode.outputs import DenseOutput
from pdekit.ode.status import Failure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "pdekit-solution"
VERSION = "1.0"


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
        """The states between the output times, (k, *batch, d), at times (k,) within what was integrated.

        Raises:
            InputError: If the solution was not asked for with dense=True, or a time lies outside.
        """
        if self.interpolant is None:
            raise InputError("States between the output times need odeint(..., dense=True).")
        times = np.atleast_1d(np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t, dtype=float))
        samples = int(np.prod(self.status.shape, dtype=int))
        found = torch.stack([self.interpolant(i, times) for i in range(samples)], 1)
        return found.reshape(len(times), *self.y.shape[1:])

    def plot(self, *, samples: int = 5, components: int = 6) -> "Figure":
        """The components over time, one panel each, for the first samples.

        Returns:
            A Matplotlib figure that belongs to no window; `.savefig(...)` writes it.
        """
        from matplotlib.figure import Figure

        y = self.y.detach().cpu().double().reshape(len(self.t), -1, self.y.shape[-1])
        t = self.t.detach().cpu().double().reshape(len(self.t), -1).expand(-1, y.shape[1])
        count = min(components, y.shape[-1])
        figure = Figure(figsize=(7, 1 + 1.5 * count), layout="constrained")
        for i, axes in enumerate(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]):
            for j in range(min(samples, y.shape[1])):
                axes.plot(t[:, j], y[:, j, i], linewidth=1)
            axes.set_ylabel(f"y{i + 1}")
        axes.set_xlabel("t")
        return figure

    def save(self, path: str | Path) -> None:
        """Write times, states, status and counts to a safetensors file, the rest as JSON in its header."""
        from safetensors.torch import save

        about = {"format": FORMAT, "version": VERSION, "method": self.method, "rungs": self.rungs}
        about |= {"status": self.status.tolist(), "failures": [str(f) for f in self.failures]}
        tensors = {"t": self.t, "y": self.y} | {f"counts.{k}": torch.as_tensor(v) for k, v in self.counts}
        content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"solution": json.dumps(about)})
        scratch = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
        try:
            scratch.write_bytes(content)
            os.replace(scratch, path)
        except OSError as error:
            raise InputError(f"Can't write {path}: {error.strerror}.") from error
        finally:
            scratch.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Solution":
        """Read what `save` wrote; failures, events and the interpolant are not in it.

        Raises:
            DataError: If the file is no such file, or was written by a later major version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(Path(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("solution", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise InputError(f"No such file: {path}") from error
        except (SafetensorError, json.JSONDecodeError) as error:
            raise DataError(f"{path} is not a saved solution: {error}") from error
        if about.get("format") != FORMAT:
            raise DataError(f"{path} is not a saved solution: its header has no {FORMAT} entry.")
        version = str(about.get("version", ""))
        if version.split(".")[0] != VERSION.split(".")[0]:
            raise DataError(f"{path} has format version {version}; this pdekit reads {VERSION}. Use a newer pdekit.")
        counts = Counts(**{k[7:]: v.numpy() for k, v in tensors.items() if k.startswith("counts.")})
        return cls(tensors["t"], tensors["y"], np.array(about["status"]), counts, about["method"], dict(about["rungs"]))


__all__ = ["Solution"]
