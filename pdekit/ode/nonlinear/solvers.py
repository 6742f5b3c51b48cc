"""Nonlinear solvers as options: what to do about R(z) = 0."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.nonlinear.anderson import accelerate
from pdekit.ode.nonlinear.equation import Elementwise, Equation, indices
from pdekit.ode.nonlinear.fixed_slope import iterate
from pdekit.ode.nonlinear.gmres import gmres
from pdekit.ode.nonlinear.memory import Kind, Memory
from pdekit.ode.nonlinear.outcome import Outcome
from pdekit.ode.numbers_given import settle, whole

_LINEAR = 0.1  # of the limit: the error that linear systems may have
_INEXACT = 0.1  # of the increment: likewise
_FINEST = 1e-10
_CERTAIN = 1e-3  # of the limit: after so small a step of Newton's method nothing is left
_STALE = 0.3  # a contraction rate that asks for a new Jacobian in the next step


@dataclass(frozen=True)
class Solver(ABC):
    """A nonlinear solver."""

    @abstractmethod
    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """Roots near z, each with an error below `limit` in the equation's norm."""

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """The Jacobian's diagonal in closed form, where one was given."""
        return None


@dataclass(frozen=True)
class Functional(Solver):
    """z <- z - R(z): converges where the step is short beside the field's fastest scale.

    Args:
        most: The most iterations.
    """

    most: int = 20

    def __post_init__(self) -> None:
        settle(self, most=whole(self.most, "most"))

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        return iterate(equation, z, Elementwise(torch.ones_like(z)), limit=limit, most=self.most)


@dataclass(frozen=True)
class JacobiNewton(Solver):
    """z <- z - R(z) / D R(z) with the exact diagonal D R of the Jacobian: Newton's method without linear algebra.

    Converges where the diagonal dominates. Its cost per iteration is one evaluation of the field in any dimension.

    Args:
        most: The most iterations.
        closed_form: The diagonal of the Jacobian, (df_i / dy_i)_i of shape (*batch, d), where it is known in closed
            form. It is called as the function itself is: (t, y) by `odeint`, (z) by `solve_root`, with `context=` where
            there is one; and compared once, at the start, with derivatives. By default the operator layer computes it:
            for hollow functions at the cost of about one evaluation.

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019.
    """

    most: int = 12
    closed_form: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        settle(self, most=whole(self.most, "most"))
        check_closed_form(self.closed_form)

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """See `Solver`."""
        return self.closed_form

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        return _by_kept_slope("diagonal", equation, z, memory, limit, self.most)


@dataclass(frozen=True)
class Newton(Solver):
    """Newton's method with a dense Jacobian, kept as long as it does well.

    Args:
        most: The most iterations.
    """

    most: int = 10

    def __post_init__(self) -> None:
        settle(self, most=whole(self.most, "most"))

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        return _by_kept_slope("matrix", equation, z, memory, limit, self.most)


@dataclass(frozen=True)
class Anderson(Solver):
    """The Jacobi-Newton iteration with Anderson acceleration.

    Args:
        most: The most iterations.
        window: How many differences of iterates are combined.
        closed_form: See `JacobiNewton`.
    """

    most: int = 30
    window: int = 8
    closed_form: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        settle(self, most=whole(self.most, "most"), window=whole(self.window, "window"))
        check_closed_form(self.closed_form)

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """See `Solver`."""
        return self.closed_form

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        inverse = memory.inverse("diagonal", equation, z)
        rate = memory.rates["diagonal"]
        outcome = accelerate(equation, z, inverse, limit=limit, most=self.most, window=self.window, rate=rate)
        _refresh_what_failed("diagonal", equation, memory, outcome)
        return outcome


@dataclass(frozen=True)
class NewtonKrylov(Solver):
    """Newton's method with GMRES on Jacobian-vector products, preconditioned by the exact diagonal.

    Args:
        most: The most Newton iterations.
        directions: The most products for each.
        closed_form: See `JacobiNewton`.
    """

    most: int = 6
    directions: int = 40
    closed_form: Callable[..., Tensor] | None = None

    def __post_init__(self) -> None:
        settle(self, most=whole(self.most, "most"), directions=whole(self.directions, "directions"))
        check_closed_form(self.closed_form)

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        """See `Solver`."""
        return self.closed_form

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        """See `Solver`."""
        outcome, at = Outcome.at(z), np.arange(len(z))
        inverse = memory.inverse("diagonal", equation, z)
        known = memory.rates["krylov"]
        previous = np.full(len(z), np.nan)
        for k in range(self.most):
            r = equation.residual(z)
            solved = gmres(
                equation.product(z),
                r,
                inverse,
                equation.weights,
                rtol=_INEXACT,
                # Accurate enough for this to be the last iteration if the system is nearly linear.
                atol=np.maximum(_LINEAR * limit, _FINEST * equation.norm(inverse(r))),
                most=self.directions,
            )
            z, size = z - solved.x, equation.norm(solved.x)
            with np.errstate(divide="ignore", invalid="ignore"):
                rate = size / previous if k else known
                left = np.where(size <= _CERTAIN * limit, 0.0, np.where(rate < 1, size * rate, np.inf))
                done = left + solved.error <= limit
                lost = ~np.isfinite(size) | ((size > 2 * previous) & (k > 0))
            stop = done | lost if k + 1 < self.most else np.ones_like(done)
            previous = size
            if stop.any():
                stopped = np.flatnonzero(stop)
                outcome.put(
                    at[stopped], z[indices(stopped, z)], converged=done[stopped], rate=rate[stopped], iterations=k + 1
                )
                if stop.all():
                    break
                keep = np.flatnonzero(~stop)
                at, previous, known = at[keep], previous[keep], known[keep]
                equation, inverse, z = equation.take(keep), inverse.take(keep), z[indices(keep, z)]
        measured = np.isfinite(outcome.rate)
        memory.rates["krylov"][measured] = outcome.rate[measured]
        _refresh_what_failed("diagonal", equation, memory, outcome)
        return outcome


def _by_kept_slope(kind: Kind, equation: Equation, z: Tensor, memory: Memory, limit: float, most: int) -> Outcome:
    inverse = memory.inverse(kind, equation, z)
    outcome = iterate(equation, z, inverse, limit=limit, most=most, known=memory.rates[kind])
    retry = np.flatnonzero(~outcome.converged & ~memory.is_new(kind))
    if len(retry):
        some, again, start = equation.take(retry), memory.take(retry), z[indices(retry, z)]
        found = iterate(some, start, again.refresh(kind, some, start), limit=limit, most=most)
        memory.put(retry, again)
        outcome.put(retry, found.z, converged=found.converged, rate=found.rate, iterations=found.iterations)
    measured = np.isfinite(outcome.rate)
    memory.rates[kind][measured] = outcome.rate[measured]
    memory.expire(kind, (outcome.rate > _STALE) | ~outcome.converged)
    return outcome


def _refresh_what_failed(kind: Kind, equation: Equation, memory: Memory, outcome: Outcome) -> None:
    memory.expire(kind, ~outcome.converged)


def check_closed_form(value: Any) -> None:
    """Refuses a diagonal that is no function.

    Raises:
        InputError: If it is none.
    """
    if value is not None and not callable(value):
        raise InputError(f"closed_form must be a function that returns the Jacobian's diagonal, got {value!r}.")


__all__ = ["Anderson", "Functional", "JacobiNewton", "Newton", "NewtonKrylov", "Solver", "check_closed_form"]
