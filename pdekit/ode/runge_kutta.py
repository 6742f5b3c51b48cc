"""Steps of explicit and of singly diagonally implicit Runge-Kutta methods."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.field import Field
from pdekit.ode.filtering import damped
from pdekit.ode.implicit_function import solved_with_gradient
from pdekit.ode.inside import defect, larger
from pdekit.ode.nonlinear.equation import column
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.solvers import Solver
from pdekit.ode.stage import StageEquation, StageSystem
from pdekit.ode.stepper import Attempt, History, Stepper
from pdekit.ode.tableau import Tableau

_MIDDLE = 0.5


@dataclass(frozen=True, eq=False)
class Explicit(Stepper):
    """An explicit method."""

    tableau: Tableau

    @property
    def order(self) -> int:
        """See `Stepper`."""
        return self.tableau.order

    @property
    def interpolates(self) -> bool:
        """See `Stepper`."""
        return self.tableau.order_of_extension >= self.tableau.order - 1

    def start(self, t: np.ndarray, y: Tensor, slope: Tensor) -> History:
        """See `Stepper`."""
        return History({"slope": slope})

    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """See `Stepper`."""
        tableau, step = self.tableau, column(h, y)
        stages, value = [history["slope"]], y
        for i in range(1, tableau.stages):
            value = y + step * combine(tableau.a[i, :i], stages)
            stages.append(field(t + tableau.c[i] * h, value))
        error = step * combine(tableau.error_weights, stages)
        return Attempt(
            value,
            error,
            np.ones(len(h), dtype=bool),
            tableau.error_order,
            History({"slope": stages[-1]}),
            lambda: extension(tableau, stages, step),
        )


@dataclass(frozen=True, eq=False)
class DiagonallyImplicit(Explicit):
    """A singly diagonally implicit method with an explicit first stage.

    Args:
        tableau: Its coefficients.
        solver: For the stages.
        limit: How accurately they are solved, in units of the tolerance.
        filtered: Whether the estimate of the error is damped by M^-1, as a method needs whose embedded value is not
            damped itself.
        gradient_order: Up to which order derivatives are wanted.
        inside: Whether the error between the ends of steps counts as well.
    """

    solver: Solver
    limit: float
    filtered: bool = False
    gradient_order: int = 1
    inside: bool = False

    @property
    def interpolates(self) -> bool:
        """See `Stepper`."""
        return False

    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """See `Stepper`."""
        tableau, step = self.tableau, column(h, y)
        scale = tableau.gamma * h
        stages, value, solved = [history["slope"]], y, np.ones(len(h), dtype=bool)
        equation = None
        for i in range(1, tableau.stages):
            offset = y + step * combine(tableau.a[i, :i], stages) if tableau.a[i, :i].any() else y
            guess = offset + column(scale, y) * combine(tableau.predictors[i, :i], stages)
            system = StageSystem(field, t + tableau.c[i] * h, scale)
            equation = StageEquation(system, offset, weights)
            value, converged = solved_with_gradient(
                equation, guess, self.solver, memory, limit=self.limit, order=self.gradient_order
            )
            solved &= converged
            stages.append((value - offset) / column(scale, y))
        error = (step * combine(tableau.error_weights, stages)).detach()
        if self.filtered and equation is not None and solved.any():
            error = self._damped(error, equation, value.detach(), memory)
        if self.inside and equation is not None and solved.any():
            missed = defect(field, t, y, h, extension(tableau, stages, step), _MIDDLE)
            missed = self._damped(tableau.gamma * missed, equation, value.detach(), memory)
            error = larger(error, missed, weights)
        return Attempt(
            value,
            error,
            solved,
            tableau.error_order,
            History({"slope": stages[-1]}),
            lambda: extension(tableau, stages, step),
        )

    def _damped(self, error: Tensor, equation: StageEquation, z: Tensor, memory: Memory) -> Tensor:
        return damped(error, equation.weights, equation=equation, at=z, product=equation.product(z), memory=memory)


def combine(weights: np.ndarray, stages: list[Tensor]) -> Tensor:
    """sum_i w_i K_i."""
    used = [(float(w), k) for w, k in zip(weights, stages, strict=True) if w]
    (first, k), *rest = used or [(0.0, stages[0])]
    total = first * k
    for w, k in rest:
        total = torch.add(total, k, alpha=w)
    return total


def extension(tableau: Tableau, stages: list[Tensor], step: Tensor) -> Tensor:
    """The coefficients of theta, theta^2, ... of the continuous extension, (n, degree, d)."""
    return torch.stack([step * combine(weights, stages) for weights in tableau.extension.T], 1)


__all__ = ["DiagonallyImplicit", "Explicit", "combine", "extension"]
