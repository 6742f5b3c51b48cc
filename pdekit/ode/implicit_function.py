"""Roots as differentiable functions of everything that their equations are made of.

If R(z, p) = 0 then dz/dp = -M^-1 dR/dp with M = dR/dz. Let z* be a root without a graph: z = z* - M^-1 R(z*, p), with M
held fixed, has the root's value and its first derivative; the same once more, from that z, has the second derivative
too, since each such step raises the order of what is missing by one. The whole M is needed: with its diagonal alone
gradients would be wrong.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from pdekit.errors import ConvergenceError, UnsupportedError
from pdekit.ode.field import unseen
from pdekit.ode.leaves import Guard
from pdekit.ode.nonlinear.equation import Equation, Inverse, Map
from pdekit.ode.nonlinear.gmres import gmres
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.solvers import Solver

_DENSE = 600  # unknowns up to which M is factorised
_DIRECTIONS = 200
_SLACK = 1e3  # times eps: the residual of linear systems
_FIRST = (
    "These gradients of an implicit method are of first order. For second-order ones solve with "
    "gradient=pdekit.ode.Discrete(order=2)."
)
_EVENTS = "Times and states of events have gradients of first order only."


class System(Protocol):
    """The Jacobian M of an equation at any z."""

    def matrix(self, z: Tensor) -> Tensor:
        """M, (n, m, m)."""
        ...

    def product(self, z: Tensor) -> Map:
        """v -> M v."""
        ...

    def transposed_product(self, z: Tensor) -> Map:
        """v -> M^T v."""
        ...

    def preconditioner(self, z: Tensor, *, transposed: bool) -> Inverse:
        """Roughly M^-1 or M^-T."""
        ...


class Differentiable(Equation):
    """An equation with what derivatives of its roots need.

    Attributes:
        system: Its Jacobian, holding no state: it is kept until gradients come back.
    """

    system: System

    @property
    @abstractmethod
    def has_graph(self) -> bool:
        """Whether it is known to depend on something that wants gradients."""

    @abstractmethod
    def detached(self) -> Self:
        """The same numbers without a graph."""


def solved_with_gradient(
    equation: Differentiable, guess: Tensor, solver: Solver, memory: Memory, *, limit: float, order: int
) -> tuple[Tensor, np.ndarray]:
    """The root of an equation, with a graph if anything that it is made of has one, and for which samples it was found.

    Args:
        equation: The equation.
        guess: Where to begin.
        solver: How.
        memory: What is known.
        limit: The error allowed, in the equation's norm.
        order: Up to which order derivatives are wanted.
    """
    wanted = torch.is_grad_enabled()
    # Iterations build no graph: with gradients enabled, they do only where f has parameters that were not seen before.
    with torch.set_grad_enabled(wanted and not equation.has_graph), unseen():
        outcome = solver.solve(equation.detached(), guess.detach(), memory, limit)
    value, solved = outcome.z.detach(), outcome.converged
    if wanted and (equation.has_graph or outcome.z.requires_grad):
        value = with_gradient(value, equation.residual, equation.system, order)
        # A last step of the iteration may have left the domain of f, where it has no derivative.
        last = equation.detached()
        with torch.no_grad(), unseen():
            solved = solved & torch.isfinite(last.residual(value.detach())).all(-1).cpu().numpy()
    return value, solved


def with_gradient(z: Tensor, residual: Callable[[Tensor], Tensor], system: System, order: int) -> Tensor:
    """A root z as a function of whatever `residual` depends on.

    Args:
        z: The root, (n, m), without a graph.
        residual: R, differentiable.
        system: Its Jacobian.
        order: Up to which order derivatives are wanted, 1 or 2.

    Returns:
        The same numbers with a graph.
    """
    for _ in range(order):
        r = residual(z)
        if not r.requires_grad:
            return z
        z = z - _Solve.apply(r, z.detach(), system, False, order, True, Guard.over(r))  # type: ignore[operator]
    return z


class _Solve(Function):
    """r -> M^-1 r or M^-T r, M being constant. The value is 0 where `silent`: r is nothing but what a solver left."""

    @staticmethod
    def forward(
        ctx: Any, r: Tensor, z: Tensor, system: System, transposed: bool, order: int, silent: bool, guard: Guard
    ) -> Tensor:
        ctx.save_for_backward(z, r)
        ctx.system, ctx.transposed, ctx.order, ctx.guard = system, transposed, order, guard
        return torch.zeros_like(r) if silent else solve_linear(system, z, r, transposed=transposed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, r = ctx.saved_tensors
        ctx.guard.check()  # the Jacobian is evaluated now
        found = _Solve.apply(grads[0], z, ctx.system, not ctx.transposed, ctx.order, False, ctx.guard)
        if ctx.order == 1 and torch.is_grad_enabled():
            found = _Refused.apply(found, r, _FIRST)
        return found, None, None, None, None, None, None


class _Refused(Function):
    # The second argument ties it to all that the equation depends on, so that no second derivative passes it by.
    @staticmethod
    def forward(ctx: Any, x: Tensor, whatever: Tensor, why: str) -> Tensor:
        ctx.why = why
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise UnsupportedError(ctx.why)


def first_order(x: Tensor) -> Tensor:
    """The same numbers, whose gradients can't be differentiated once more."""
    return _FirstOrder.apply(x)  # type: ignore[return-value]


class _FirstOrder(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return _Refused.apply(grads[0], x, _EVENTS) if torch.is_grad_enabled() else grads[0]


@torch.no_grad()
def solve_linear(system: System, z: Tensor, r: Tensor, *, transposed: bool) -> Tensor:
    """M^-1 r or M^-T r: dense for small systems, else by GMRES with the diagonal as preconditioner.

    Raises:
        ConvergenceError: If GMRES does not reach the accuracy of the dtype.
    """
    if z.shape[1] <= _DENSE:
        matrix = system.matrix(z)
        return torch.linalg.solve(matrix.mT if transposed else matrix, r.unsqueeze(-1)).squeeze(-1)
    product = system.transposed_product(z) if transposed else system.product(z)
    rtol = _SLACK * torch.finfo(r.dtype).eps
    inverse = system.preconditioner(z, transposed=transposed)
    found = gmres(product, r, inverse, torch.ones_like(r), rtol=rtol, atol=np.inf, most=_DIRECTIONS)
    worst = float(found.residual.max())
    if not (worst <= 1e3 * rtol and np.isfinite(found.error).all()):
        raise ConvergenceError(
            f"The linear system of a gradient left a relative residual of {worst:.1e} after {_DIRECTIONS} products. "
            "Try shorter steps (a smaller rtol), or pdekit.ode.Backsolve()."
        )
    return found.x


__all__ = ["Differentiable", "System", "first_order", "solve_linear", "solved_with_gradient", "with_gradient"]
