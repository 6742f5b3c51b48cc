"""The ladder: the cheapest solver first, the next one where it is too slow, remembered for each sample."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pdekit.ode.nonlinear.equation import Equation, indices
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.outcome import Outcome
from pdekit.ode.nonlinear.solvers import Anderson, JacobiNewton, Newton, NewtonKrylov, Solver, check_closed_form
from pdekit.ode.numbers_given import settle, whole

_ANDERSON = 1  # which rung


@dataclass(frozen=True)
class Ladder(Solver):
    """Newton's method for small systems; for others Jacobi-Newton, then Anderson, then Newton, dense or by Krylov.

    Each sample begins on the rung that solved its last system, climbs where that one can't reach the tolerance within
    its iterations at the contraction rate it measures, and tries the rung below again after a while. Where a dense
    Jacobian takes few products because of its zeros, Newton follows Jacobi-Newton.

    Args:
        dense_below: Fields of up to so many states are solved by dense Newton alone.
        dense_most: Fields of more states never are; their last rung is Newton-Krylov.
        patience: After how many systems in a row a lower rung is tried.
        closed_form: See `JacobiNewton`.
    """

    dense_below: int = 32
    dense_most: int = 600
    patience: int = 200
    closed_form: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        settle(
            self,
            dense_below=whole(self.dense_below, "dense_below", 0),
            dense_most=whole(self.dense_most, "dense_most", 0),
            patience=whole(self.patience, "patience"),
        )
        check_closed_form(self.closed_form)

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """See `Solver`."""
        return self.closed_form

    def rungs(self, states: int) -> tuple[Solver, ...]:
        """The solvers in order for fields of so many states."""
        if states <= self.dense_below:
            return (Newton(),)
        # A dense Jacobian is kept over many steps, which beats products that are made anew for each system.
        last = Newton() if states <= self.dense_most else NewtonKrylov()
        return (JacobiNewton(most=10), Anderson(most=16), last)

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        rungs = self.rungs(equation.states)
        outcome = Outcome.at(z)
        self._try_lower(memory, equation)
        for number, solver in enumerate(rungs):
            at = np.flatnonzero(~outcome.converged & (memory.rung == number))
            if not len(at):
                continue
            some, part, start = equation.take(at), memory.take(at), z[indices(at, z)]
            found = solver.solve(some, start, part, limit)
            climb = ~found.converged & (number + 1 < len(rungs))
            if climb.any() and number + 1 == _ANDERSON and self._newton_is_cheap(some, start, part):
                part.rung = np.where(climb, _ANDERSON + 1, number)
            else:
                part.rung = np.where(climb, number + 1, number)
            part.successes = np.where(found.converged, part.successes + 1, 0)
            memory.tally[type(solver).__name__] += int(found.converged.sum())
            memory.put(at, part)
            outcome.put(at, found.z, converged=found.converged, rate=found.rate, iterations=found.iterations)
        return outcome

    def _try_lower(self, memory: Memory, equation: Equation) -> None:
        bold = (memory.successes >= self.patience) & (memory.rung > 0)
        memory.rung[bold] = 0 if equation.few_products else memory.rung[bold] - 1
        memory.successes[bold] = 0

    def _newton_is_cheap(self, equation: Equation, z: Tensor, memory: Memory) -> bool:
        """Whether few products make a Jacobian, for which the first one has to be made."""
        if equation.states > self.dense_most:
            return False
        if not memory.knows("matrix"):
            memory.inverse("matrix", equation, z)
        return equation.few_products


__all__ = ["Ladder"]
