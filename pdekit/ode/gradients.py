"""How gradients go through an integration, as options."""

from dataclasses import dataclass
from typing import Literal

from pdekit.errors import InputError
from pdekit.ode.numbers_given import one_of, settle


@dataclass(frozen=True)
class Discrete:
    """Gradients of the numbers that were computed.

    Every step is differentiated, implicit ones by the implicit function theorem with the full transposed Jacobian.
    Gradients reach every tensor that f uses. The choice of steps is held fixed. Those of times are f itself, as of the
    exact solution, and right to second order; times and states of events have first-order gradients.

    Args:
        order: Up to which order: 1, or 2 for gradients of gradients of implicit methods. Explicit ones have any order.
        checkpoint: Whether only the states between steps are kept, and each step is made again on the way back: a
            small part of the memory for less than twice the time.
    """

    order: Literal[1, 2] = 1
    checkpoint: bool = False

    def __post_init__(self) -> None:
        settle(self, order=one_of(self.order, "order must be 1 or 2", (1, 2)))
        if not isinstance(self.checkpoint, bool):
            raise InputError(f"checkpoint must be True or False, got {self.checkpoint!r}.")


__all__ = ["Discrete"]
