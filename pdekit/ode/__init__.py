"""Ordinary differential equations: explicit and implicit methods, batched, adaptive and differentiable."""

from pdekit.ode.backsolve import Backsolve
from pdekit.ode.control import Fixed, StepControl
from pdekit.ode.counting import Counts
from pdekit.ode.events import Event, Occurrences
from pdekit.ode.field import autonomous
from pdekit.ode.gradients import Discrete
from pdekit.ode.integration import odeint
from pdekit.ode.methods import (
    RK4,
    TRBDF2,
    AdamsBashforthMoulton,
    Dopri5,
    Euler,
    ImplicitEuler,
    Kvaerno3,
    Kvaerno5,
    RadauIIA5,
    Tsit5,
)
from pdekit.ode.nonlinear.ladder import Ladder
from pdekit.ode.nonlinear.root import Root, solve_root
from pdekit.ode.nonlinear.solvers import Anderson, Functional, JacobiNewton, Newton, NewtonKrylov
from pdekit.ode.scipy_adapter import SciPy
from pdekit.ode.solution import Solution
from pdekit.ode.status import Failure, Status

__all__ = [
    "RK4",
    "TRBDF2",
    "AdamsBashforthMoulton",
    "Anderson",
    "Backsolve",
    "Counts",
    "Discrete",
    "Dopri5",
    "Euler",
    "Event",
    "Failure",
    "Fixed",
    "Functional",
    "ImplicitEuler",
    "JacobiNewton",
    "Kvaerno3",
    "Kvaerno5",
    "Ladder",
    "Newton",
    "NewtonKrylov",
    "Occurrences",
    "RadauIIA5",
    "Root",
    "SciPy",
    "Solution",
    "Status",
    "StepControl",
    "Tsit5",
    "autonomous",
    "odeint",
    "solve_root",
]
