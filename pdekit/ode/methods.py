"""Integration methods as options."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode import tableaus
from pdekit.ode.multistep import Adams
from pdekit.ode.nonlinear.ladder import Ladder
from pdekit.ode.nonlinear.solvers import JacobiNewton, Solver
from pdekit.ode.numbers_given import real, settle
from pdekit.ode.radau import Radau
from pdekit.ode.runge_kutta import DiagonallyImplicit, Explicit
from pdekit.ode.stepper import Stepper


@dataclass(frozen=True)
class Method(ABC):
    """A method with its options."""

    @abstractmethod
    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """What makes its steps; `inside`: whether states within them are asked for."""

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """The Jacobian's diagonal in closed form, where one was given."""
        return None


class _Explicit(Method):
    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        return Explicit(getattr(tableaus, type(self).__name__.lower())())


@dataclass(frozen=True)
class Tsit5(_Explicit):
    """The explicit pair of order 5(4) by Tsitouras: for smooth problems that are not stiff."""


@dataclass(frozen=True)
class Dopri5(_Explicit):
    """The explicit pair of order 5(4) by Dormand and Prince."""


@dataclass(frozen=True)
class RK4(_Explicit):
    """The classical explicit method of order 4, with an embedded one of order 3."""


@dataclass(frozen=True)
class Euler(_Explicit):
    """Euler's explicit method of order 1."""


@dataclass(frozen=True)
class Implicit(Method):
    """An implicit method.

    Args:
        nonlinear: How its equations are solved.
        accuracy: How accurately, in units of the tolerance.
    """

    nonlinear: Solver = Ladder()
    accuracy: float = 0.02

    def __post_init__(self) -> None:
        if not isinstance(self.nonlinear, Solver):
            raise InputError(f"nonlinear must be a solver such as Ladder() or JacobiNewton(), got {self.nonlinear!r}.")
        settle(self, accuracy=real(self.accuracy, "accuracy must be between 0 and 1", lambda x: 0 < x < 1))

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """See `Method`."""
        return self.nonlinear.diagonal


@dataclass(frozen=True)
class ImplicitEuler(Implicit):
    """Implicit Euler, order 1, L-stable: crude and robust."""

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return _diagonally_implicit(tableaus.implicit_euler(), self, gradient_order, inside, filtered=True)


@dataclass(frozen=True)
class TRBDF2(Implicit):
    """The trapezoidal rule followed by BDF2 in one step, order 2, L-stable: for low accuracy."""

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return _diagonally_implicit(tableaus.trbdf2(), self, gradient_order, inside, filtered=True)


@dataclass(frozen=True)
class Kvaerno3(Implicit):
    """Kvaerno's pair of order 3(2), L-stable."""

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return _diagonally_implicit(tableaus.kvaerno3(), self, gradient_order, inside)


@dataclass(frozen=True)
class Kvaerno5(Implicit):
    """Kvaerno's pair of order 5(4), L-stable: the one to begin with for stiff problems."""

    accuracy: float = 0.005  # what its six equations leave in each of many short steps adds up

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return _diagonally_implicit(tableaus.kvaerno5(), self, gradient_order, inside)


@dataclass(frozen=True)
class RadauIIA5(Implicit):
    """Radau IIA with three stages, order 5, L-stable: for high accuracy on stiff problems."""

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return Radau(self.nonlinear, self.accuracy, gradient_order, inside)


@dataclass(frozen=True)
class AdamsBashforthMoulton(Implicit):
    """The Adams-Bashforth-Moulton pair of order 4 with variable steps; the corrected value goes on.

    With `nonlinear=Functional()` it is the classical predictor-corrector method, with `JacobiNewton()` that of Chen and
    Duvenaud. Its stability ends near h lambda = -3: for mildly stiff problems.
    """

    nonlinear: Solver = JacobiNewton()

    def stepper(self, gradient_order: int, *, inside: bool) -> Stepper:
        """See `Method`."""
        return Adams(self.nonlinear, self.accuracy, gradient_order, inside)


def _diagonally_implicit(
    tableau: Any, method: Implicit, gradient_order: int, inside: bool, *, filtered: bool = False
) -> Stepper:
    return DiagonallyImplicit(tableau, method.nonlinear, method.accuracy, filtered, gradient_order, inside)


__all__ = [
    "RK4",
    "TRBDF2",
    "AdamsBashforthMoulton",
    "Dopri5",
    "Euler",
    "Implicit",
    "ImplicitEuler",
    "Kvaerno3",
    "Kvaerno5",
    "Method",
    "RadauIIA5",
    "Tsit5",
]
