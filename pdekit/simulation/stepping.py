"""The time loop: one scheme, one equation, one stream of noise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError
from pdekit.simulation.domain import Guard
from pdekit.simulation.equation import Equation, Scheme
from pdekit.simulation.noise import BrownianStream, Increments

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Grid:
    """The steps of a run: every interval between two output times in equal parts no longer than dt.

    Args:
        starts: Start of every step (n,), float64.
        lengths: Length of every step (n,), float64.
        outputs: Index of the steps that end at an output time (T - 1,).
    """

    starts: Tensor
    lengths: Tensor
    outputs: Tensor

    @property
    def ends(self) -> Tensor:
        """End of every step (n,)."""
        return self.starts + self.lengths

    @classmethod
    def build(cls, times: Tensor, dt: float) -> "Grid":
        """Divide the intervals of `times` (T,), float64 and strictly increasing, into steps of at most `dt`."""
        gaps = times.diff()
        # The slack keeps an interval of exactly dt, but for rounding, in one piece.
        counts = (gaps / dt * (1 - 1e-6)).ceil().clamp(min=1)
        if float(counts.sum()) > 1e10:
            raise InputError(
                f"dt={dt:g} asks for {float(counts.sum()):.3g} steps over a span of {float(times[-1] - times[0]):g}; "
                "use a larger dt."
            )
        counts = counts.long()
        lengths = (gaps / counts).repeat_interleave(counts)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        starts = times[:-1].repeat_interleave(counts) + (torch.arange(len(lengths)) - first) * lengths
        return cls(starts, lengths, counts.cumsum(0) - 1)


def integrate(
    eq: Equation,
    scheme: Scheme,
    grid: Grid,
    x0: Tensor,
    stream: BrownianStream,
    guard: Guard,
    progress: Progress | None = None,
) -> Tensor:
    """Run a scheme over a grid.

    Args:
        eq: The equation.
        scheme: The scheme.
        grid: The steps.
        x0: Start (paths, d).
        stream: Where the increments come from.
        guard: The boundary rule.
        progress: Called with (steps done, steps in all) after every block.

    Returns:
        The states at the start and the output times, (T, paths, d); part of the autograd graph where that is recorded.

    Raises:
        NumericalError: If a state becomes infinite or NaN; says when, which path and which state.
    """
    recorder = _Recorder(len(grid.outputs) + 1, x0)
    x, total = x0, len(grid.lengths)
    for first in range(0, total, stream.block_length):
        steps = slice(first, min(first + stream.block_length, total))
        states = march(eq, scheme, grid, steps, x, stream.draw(grid.lengths[steps]), guard)
        x = states[-1]
        # A sum is not finite as soon as one term is not, and costs a single pass per block.
        if not bool(torch.isfinite(x.detach().sum())):
            _report_explosion(states, grid, steps, scheme, guard.names)
        left, right = torch.searchsorted(grid.outputs, torch.tensor([first, steps.stop])).tolist()
        recorder.add([states[i] for i in (grid.outputs[left:right] - first).tolist()])
        if progress is not None:
            progress(steps.stop, total)
    return recorder.result()


def march(
    eq: Equation, scheme: Scheme, grid: Grid, steps: slice, x: Tensor, noise: Increments, guard: Guard
) -> list[Tensor]:
    """The state after each of the steps `steps` of a grid, from `x` (paths, d), driven by `noise`."""
    lengths = grid.lengths[steps].tolist()
    # The fields see t as a scalar of the state's dtype and device, so that a network can join it to x.
    times = grid.starts[steps].to(x).unbind()
    dz = [None] * len(lengths) if noise.dz is None else noise.dz.unbind()
    states = []
    for t, h, dw, z in zip(times, lengths, noise.dw.unbind(), dz, strict=True):
        x = guard(t + h, x, scheme.step(eq, t, x, h, dw, z)) if guard.active else scheme.step(eq, t, x, h, dw, z)
        states.append(x)
    return states


class _Recorder:
    """Collects output states: in one preallocated tensor, or as pieces of the graph where autograd records."""

    def __init__(self, total: int, x0: Tensor) -> None:
        self.values = None if torch.is_grad_enabled() else x0.new_empty((total, *x0.shape))
        self.pieces: list[Tensor] = []
        self.filled = 0
        self.add([x0])

    def add(self, states: list[Tensor]) -> None:
        if not states:
            return
        if self.values is None:
            self.pieces.append(torch.stack(states))
        else:
            torch.stack(states, out=self.values[self.filled : self.filled + len(states)])
        self.filled += len(states)

    def result(self) -> Tensor:
        return torch.cat(self.pieces) if self.values is None else self.values


def _report_explosion(
    states: list[Tensor], grid: Grid, steps: slice, scheme: Scheme, names: tuple[str, ...]
) -> NoReturn:
    """Say where the first state of a block stopped being finite."""
    for i, state in enumerate(states, start=steps.start):
        bad = ~torch.isfinite(state)
        if bool(bad.any()):
            path, component = bad.nonzero()[0].tolist()
            end, h = float(grid.ends[i]), float(grid.lengths[i])
            raise NumericalError(
                f"{names[component]} of path {path} became {float(state[path, component])} at t={end:.6g} with step "
                f"{h:.3g} ({scheme!r}). Use a smaller dt; if that changes nothing, the model itself explodes there."
            )
    raise NumericalError(f"The states overflow before t={float(grid.ends[steps.stop - 1]):.6g}. Use a smaller dt.")
