"""How the integration of a sample ended, and what to say about it."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pdekit.errors import ConvergenceError, NumericalError


class Status(IntEnum):
    """How the integration of one sample ended."""

    SUCCESS = 0
    EVENT = 1
    TOO_MANY_STEPS = 2
    STEP_TOO_SMALL = 3
    NOT_FINITE = 4
    NOT_SOLVED = 5

    @property
    def failed(self) -> bool:
        """Whether it did not get where it should."""
        return self > Status.EVENT


_WHAT = {
    Status.TOO_MANY_STEPS: "took more steps than max_steps",
    Status.STEP_TOO_SMALL: "needs steps below the smallest one to keep the tolerance",
    Status.NOT_FINITE: "met a right-hand side that is not finite",
    Status.NOT_SOLVED: "met equations that the nonlinear solver could not solve, however short the step",
}
_TRY = {
    Status.TOO_MANY_STEPS: "Try an implicit method such as Kvaerno5() if the problem is stiff, a larger rtol or atol, "
    "or StepControl(max_steps=...).",
    Status.STEP_TOO_SMALL: "Look for a singularity or a jump there; try an implicit method, float64, or a larger rtol "
    "or atol.",
    Status.NOT_FINITE: "Look whether the solution leaves the domain of f or blows up; a smaller rtol keeps it closer.",
    Status.NOT_SOLVED: "Try nonlinear=Ladder() or Newton(), float64, or look whether f is smooth there.",
}


@dataclass(frozen=True)
class Failure:
    """Where a sample failed.

    Args:
        sample: Its index in the batch.
        status: How.
        t: The time it got to.
        h: The last step tried.
        component: The state with the largest error, or the first that is not finite.
    """

    sample: tuple[int, ...]
    status: Status
    t: float
    h: float
    component: int

    def __str__(self) -> str:
        which = f"Sample {', '.join(map(str, self.sample))}" if self.sample else "The solution"
        return (
            f"{which} {_WHAT[self.status]}, at t = {self.t:.9g} with a step of {self.h:.3g}; worst in component "
            f"{self.component}. {_TRY[self.status]}"
        )


def raise_for(failures: list[Failure], samples: int) -> None:
    """Raise what the first failure says, if there is one.

    Raises:
        NumericalError: If a sample's right-hand side is not finite, or its step too small.
        ConvergenceError: If it took too many steps, or its equations were not solved.
    """
    if not failures:
        return
    first = failures[0]
    text = str(first)
    if samples > 1:
        text += f" {len(failures)} of {samples} samples failed; raise_on_failure=False returns the others."
    kind = NumericalError if first.status in (Status.NOT_FINITE, Status.STEP_TOO_SMALL) else ConvergenceError
    raise kind(text)


def statuses(codes: np.ndarray) -> np.ndarray:
    """Names for codes."""
    names = np.array([s.name.lower() for s in Status])
    return names[codes]


__all__ = ["Failure", "Status", "raise_for", "statuses"]
