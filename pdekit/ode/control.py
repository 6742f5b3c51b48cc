"""The length of steps: fixed, or chosen for each sample by the error of its last ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.field import Field
from pdekit.ode.nonlinear.equation import column, weighted_norm
from pdekit.ode.numbers_given import real, settle, whole


@dataclass(frozen=True)
class StepControl:
    """Steps that keep the local error within the tolerance, for each sample by itself.

    h <- h safety err^(-a / k) err_before^(b / k), err being the error in units of the tolerance and k the power of h
    that it goes with: a proportional-integral controller.

    Args:
        first_step: The first step; by default estimated from f and its change along f.
        min_step: No step is shorter, but for those that end at a given time; what needs shorter ones fails.
        max_step: No step is longer, but for one by 1 % that ends at a given time.
        max_steps: The most steps, rejected ones included.
        safety: See above.
        integral: a.
        proportional: b.
        least: The smallest factor from one step to the next.
        most: The largest.

    Source: K. Gustafsson, Control theoretic techniques for stepsize selection in explicit Runge-Kutta methods, ACM
    TOMS 17 (1991) 533; E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, section IV.2.
    """

    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = float("inf")
    max_steps: int = 100_000
    safety: float = 0.9
    integral: float = 0.7
    proportional: float = 0.4
    least: float = 0.2
    most: float = 8.0

    def __post_init__(self) -> None:
        if self.first_step is not None:
            settle(self, first_step=_length(self.first_step, "first_step"))
        settle(
            self,
            min_step=real(self.min_step, "min_step must be a number, at least 0", lambda x: 0 <= x < np.inf),
            max_step=real(self.max_step, "max_step must be a positive number, or infinite", lambda x: x > 0),
            max_steps=whole(self.max_steps, "max_steps"),
            safety=real(self.safety, "safety must be a number between 0 and 1", lambda x: 0 < x < 1),
            integral=real(self.integral, "integral must be a positive number", lambda x: 0 < x < np.inf),
            proportional=real(
                self.proportional, "proportional must be a number, at least 0", lambda x: 0 <= x < np.inf
            ),
            least=real(self.least, "least must be a number between 0 and 1", lambda x: 0 < x < 1),
            most=real(self.most, "most must be a number above 1", lambda x: 1 < x < np.inf),
        )
        if self.min_step >= self.max_step:
            raise InputError(f"min_step must be below max_step, got {self.min_step!r} and {self.max_step!r}.")

    def factor(self, error: np.ndarray, before: np.ndarray, order: Any, rejected: np.ndarray) -> np.ndarray:
        """By how much the next step is longer, (n,).

        Args:
            error: The error in units of the tolerance.
            before: That of the last accepted step.
            order: The power of h that it goes with.
            rejected: Whose last attempt was rejected: their steps don't grow.
        """
        error, before = np.maximum(error, 1e-10), np.maximum(before, 1e-4)
        accepted = error <= 1
        # A rejected step says all by itself; the one before it is no guide.
        exponent = np.where(accepted, self.integral, 1.0) / order
        found = self.safety * error**-exponent * np.where(accepted, before ** (self.proportional / order), 1.0)
        return np.clip(found, self.least, np.where(rejected | ~accepted, 1.0, self.most))


@dataclass(frozen=True)
class Fixed:
    """Steps of one length, shortened where an output time asks for it; errors are not looked at.

    Args:
        step: The length.
        max_steps: The most steps.
    """

    step: float
    max_steps: int = 10_000_000

    def __post_init__(self) -> None:
        settle(self, step=_length(self.step, "step"), max_steps=whole(self.max_steps, "max_steps"))


def _length(value: Any, name: str) -> float:
    return real(value, f"{name} must be a positive number", lambda x: 0 < x < np.inf)


Control = StepControl | Fixed


def first_step(
    control: Control,
    field: Field,
    t: np.ndarray,
    y: Tensor,
    slope: Tensor,
    weights: Tensor,
    span: np.ndarray,
    order: int,
) -> np.ndarray:
    """The first step of each sample, with the sign of its span, (n,).

    Source: E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I, section II.4.
    """
    sign, length = np.sign(span), np.abs(span)
    if isinstance(control, Fixed):
        return sign * np.minimum(control.step, length)
    if control.first_step is not None:
        return sign * np.minimum(min(control.first_step, control.max_step), length)
    size, speed = weighted_norm(y, weights), weighted_norm(slope, weights)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        trial = np.where((size < 1e-5) | (speed < 1e-5), 1e-6, 0.01 * size / speed)
        trial = np.where(trial > 0, np.minimum(trial, length), 1e-6 * length)
        moved = y + column(sign * trial, y) * slope
        bend = weighted_norm(field(t + sign * trial, moved) - slope, weights) / trial
        fastest = np.fmax(speed, bend)
        second = np.where(fastest <= 1e-15, np.maximum(1e-6, trial * 1e-3), (0.01 / fastest) ** (1 / order))
        found = np.minimum(100 * trial, second)
    found = np.where(np.isfinite(found) & (found > 0), found, trial * 1e-3)
    return sign * np.clip(found, control.min_step, np.minimum(control.max_step, length))


__all__ = ["Control", "Fixed", "StepControl", "first_step"]
