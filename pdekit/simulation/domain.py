"""What happens to a path that steps out of the model's domain."""

from typing import Literal

import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.simulation.equation import Equation

Boundary = Literal["reflect", "absorb", "raise"]


class Guard:
    """Applies one boundary rule to every step of a run, and remembers which paths it touched.

    Args:
        rule: `"reflect"` mirrors the state at the bound it crossed; `"absorb"` stops the whole path there for good;
            `"raise"` stops the run.
        eq: The equation, with its bounds.
        names: Names of the states, for messages.
        x0: The start (paths, d).
    """

    def __init__(self, rule: Boundary, eq: Equation, names: tuple[str, ...], x0: Tensor) -> None:
        self.active = eq.bounded
        self.rule = {"reflect": self._reflect, "absorb": self._absorb, "raise": self._raise}[rule]
        self.lower, self.upper, self.names = eq.lower, eq.upper, names
        self.stopped = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        self.farthest = torch.zeros_like(x0)

    def __call__(self, t: Tensor, x: Tensor, moved: Tensor) -> Tensor:
        """The state after the rule; `moved` is what the scheme made of `x`, at time t after the step."""
        return self.rule(t, x, moved) if self.active else moved

    @property
    def touched(self) -> Tensor:
        """Which paths the rule acted on (paths,), bool."""
        return self.stopped | (self.farthest > 0).any(-1)

    def _reflect(self, t: Tensor, x: Tensor, moved: Tensor) -> Tensor:
        below = None if self.lower is None else (self.lower - moved).relu_()
        above = None if self.upper is None else (moved - self.upper).relu_()
        for excess, sign in ((below, 2.0), (above, -2.0)):
            if excess is not None:
                torch.maximum(self.farthest, excess.detach(), out=self.farthest)
                # An infinite state becomes inf - inf = NaN here, so an explosion is never folded back unseen.
                moved = moved.add(excess, alpha=sign)
        # One mirror suffices unless the step was longer than the domain is wide.
        return moved if below is None or above is None else moved.clamp(self.lower, self.upper)

    def _absorb(self, t: Tensor, x: Tensor, moved: Tensor) -> Tensor:
        nearest = torch.where(torch.isfinite(moved), moved.clamp(self.lower, self.upper), moved)
        state = torch.where(self.stopped.unsqueeze(-1), x, nearest)
        self.stopped = self.stopped | self._outside(moved).any(-1)
        return state

    def _raise(self, t: Tensor, x: Tensor, moved: Tensor) -> Tensor:
        outside = self._outside(moved)
        if bool(outside.any()):
            path, state = outside.nonzero()[0].tolist()
            raise NumericalError(
                f"{self.names[state]} of path {path} left its domain at t={float(t):.6g} "
                f'for {float(moved[path, state]):.6g}. Use a smaller dt, or boundary="reflect" or "absorb".'
            )
        return moved

    def _outside(self, moved: Tensor) -> Tensor:
        outside = torch.zeros_like(moved, dtype=torch.bool)
        if self.lower is not None:
            outside |= moved < self.lower
        if self.upper is not None:
            outside |= moved > self.upper
        return outside
