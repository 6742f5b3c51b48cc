"""The checks of solvers of equations: Jacobians against differences, GMRES and roots against dense algebra."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit import ode
from pdekit.ode.counting import Counts
from pdekit.ode.field import Field
from pdekit.ode.filtering import damped
from pdekit.ode.nonlinear.equation import Equation, Map, weighted_norm
from pdekit.ode.nonlinear.gmres import gmres
from pdekit.ode.nonlinear.memory import Kind, Memory
from pdekit.ode.nonlinear.outcome import Outcome
from pdekit.ode.nonlinear.solvers import Solver
from pdekit.ode.radau import RadauEquation, RadauSystem
from pdekit.ode.sparsity import group_columns
from pdekit.ode.stage import StageEquation, StageSystem
from pdekit.testing import CheckFailure
from verification.mutants.integrator_checks import closely, coupled

_DIFFERENCE = 1e-5


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _equations(f: Any) -> list[tuple[Any, int]]:
    """(equation, unknowns) of a stage and of Radau's stages, of two samples with two states."""
    field, t, h = Field(f, Counts.none(2), np.arange(2)), np.array([0.3, 1.2]), np.array([0.4, -0.7])
    y, weights = _random(2, 2), torch.ones(2, 2, dtype=torch.float64)
    return [
        (StageEquation(StageSystem(field, t, 0.26 * h), y, weights), 2),
        (RadauEquation(RadauSystem(field, t, h), y, weights.repeat(1, 3)), 6),
    ]


def jacobians() -> None:
    """Products with M, with M^T and M itself are those of the residual's differences."""
    for equation, size in _equations(coupled):
        z, eye, name = _random(2, size, seed=1), torch.eye(size, dtype=torch.float64), type(equation).__name__
        ends = [[equation.residual(z + sign * _DIFFERENCE * e) for e in eye] for sign in (1, -1)]
        plus, minus = (torch.stack(columns, -1) for columns in ends)
        true = (plus - minus) / (2 * _DIFFERENCE)
        system = equation.system
        columns = {
            "product": [system.product(z)(e.expand_as(z)) for e in eye],
            "transposed product": [system.transposed_product(z)(e.expand_as(z)) for e in eye],
        }
        closely(f"{name}: the matrix", system.matrix(z), true, 1e-8)
        closely(f"{name}: the product", torch.stack(columns["product"], -1), true, 1e-8)
        closely(f"{name}: the transposed product", torch.stack(columns["transposed product"], -1), true.mT, 1e-8)


def inverses() -> None:
    """Where f is linear the inverse by its matrix is that of M, and where it is diagonal that by its diagonal too."""
    full = torch.tensor([[-1.0, 2.0], [0.5, -3.0]], dtype=torch.float64)
    for matrix in (full, full.diagonal().diag()):
        for equation, size in _equations(lambda t, y, a=matrix: y @ a.T):
            z, r, name = _random(2, size, seed=1), _random(2, size, seed=2), type(equation).__name__
            true = equation.system.matrix(z)
            found = {"": equation.inverse_by_matrix(matrix.expand(2, -1, -1))}
            if not (matrix - matrix.diagonal().diag()).any():
                found[" by the diagonal"] = equation.inverse_by_diagonal(matrix.diagonal().expand(2, -1))
                found[" as a preconditioner"] = equation.system.preconditioner(z, transposed=False)
                transposed = equation.system.preconditioner(z, transposed=True)(r)
                solution = torch.linalg.solve(true.mT, r)
                closely(f"{name}: the transposed inverse as a preconditioner", transposed, solution, 1e-10)
            for how, inverse in found.items():
                closely(f"{name}: the inverse{how}", inverse(r), torch.linalg.solve(true, r), 1e-10)


def krylov() -> None:
    """GMRES finds solutions as accurate as asked for in the weighted norm, and tells their residuals.

    In weights of sizes far apart, and for a nearly singular matrix, whose small residuals prove nothing.
    """
    n, m = 3, 40
    q = torch.linalg.qr(_random(n, m, m))[0]
    values = torch.linspace(1, 2, m, dtype=torch.float64)
    values[-1] = 1e-3  # what belongs to it is a tenth of the other components of the right side, but far more of x
    right = torch.ones(m, dtype=torch.float64)
    right[-1] = 0.1
    hard = q @ values.diag() @ q.mT
    easy = torch.eye(m, dtype=torch.float64) + 0.4 * _random(n, m, m, seed=1) / m**0.5
    wide = 10.0 ** torch.linspace(-3, 3, m, dtype=torch.float64).expand(n, m)
    cases = (
        (easy, _random(n, m, seed=2), wide, (1e-1, 1e-3, 1e-6)),
        (hard, q @ right, torch.ones_like(wide), (1e-3, 1e-6)),  # 1/10 is reached before the last component is seen
    )
    for a, b, weights, rtols in cases:
        truth = torch.linalg.solve(a, b)
        for rtol in rtols:
            size = weighted_norm(truth, weights)
            found = gmres(_product(a), b, lambda r: r, weights, rtol=rtol, atol=rtol * size, most=m)
            # The error that GMRES knows is an estimate.
            off = weighted_norm(found.x - truth, weights) / size
            closely(f"GMRES with rtol {rtol:g}, relatively", off, 0 * off, 4 * rtol)
            residual = weighted_norm(b - _product(a)(found.x), weights) / weighted_norm(b, weights)
            closely("the residual that GMRES tells", found.residual, residual, 1e-2 * float(residual.max()) + 1e-12)


def _product(a: Tensor) -> Map:
    return lambda v: (a @ v.unsqueeze(-1)).squeeze(-1)


def convergence() -> None:
    """What slow iterations call converged is within the tolerance, from starts far away and close."""
    tolerance, offset = 1e-8, torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    weights = torch.full((1, 2), 1 / tolerance, dtype=torch.float64)
    for rate in (0.9, 0.97):
        a = torch.tensor([[0.0, rate], [rate, 0.0]], dtype=torch.float64)
        truth = torch.linalg.solve(torch.eye(2, dtype=torch.float64) - a, offset.mT).mT
        field = Field(lambda t, y, a=a: y @ a.T, Counts.none(1), np.arange(1))
        equation = StageEquation(StageSystem(field, np.zeros(1), np.ones(1)), offset, weights)
        for solver in (ode.JacobiNewton(most=2500), ode.Functional(most=2500), ode.Anderson(), ode.Newton()):
            # The steps of a plain iteration from the eigenvector (1, 1) shrink by `rate`.
            for away in (1.0, 1e-3, 5 * tolerance):
                memory = Memory(1)
                memory.begin_step()
                found = solver.solve(equation, truth + away, memory, 1.0)
                error = float((found.z - truth).square().mean().sqrt()) / tolerance
                if found.converged[0] and not error <= 1.01:
                    what = f"{solver}, rate {rate}, from {away:g} away"
                    raise CheckFailure("solver", f"{what}: converged with an error of {error:.3g} tolerances")


def _ring(d: int, rate: float) -> tuple[StageEquation, Tensor]:
    """The equation of a stage of diffusion on a ring, and its matrix."""
    field = Field(
        lambda t, y: rate * (y.roll(1, -1) + y.roll(-1, -1) - 2 * y) - y,
        Counts.none(2),
        np.arange(2),
        diagonal_of=lambda t, y: torch.full_like(y, -2 * rate - 1),
    )
    eye, zero = torch.eye(d, dtype=torch.float64), torch.zeros(2, d, dtype=torch.float64)
    jacobian = rate * (eye.roll(1, -1) + eye.roll(-1, -1) - 2 * eye) - eye
    return StageEquation(StageSystem(field, np.zeros(2), np.full(2, 0.1)), zero, zero + 1), eye - 0.1 * jacobian


def filters() -> None:
    """Errors are filtered by M^-1, whatever was known of another M; hard large systems keep theirs as they are."""
    kinds: tuple[tuple[int, tuple[Kind | None, ...]], ...] = (
        (8, (None, "matrix")),
        (100, (None, "diagonal", "matrix")),
        (700, (None, "diagonal")),
    )
    for d, known in kinds:
        error = _random(2, d)
        for rate, kind in product((3.0, 1e5), known):
            (equation, m), memory = _ring(d, rate), Memory(2)
            if kind is not None:
                memory.inverse(kind, _ring(d, 100.0)[0], error)
            memory.begin_step()
            times = equation.product(error)
            found = damped(error, equation.weights, equation=equation, at=error, product=times, memory=memory)
            true = error if d == 700 and rate > 3 else torch.linalg.solve(m, error.mT).mT
            off = weighted_norm(found - true, equation.weights) / weighted_norm(true, equation.weights)
            closely(f"a filtered error, {d} unknowns, rate {rate:g}, known: {kind}", off, 0 * off, 0.05)


@dataclass(frozen=True)
class _Believing(Solver):
    """Takes its start for a root of the last sample."""

    closed_form: Callable[..., Tensor] | None = None

    @property
    def diagonal(self) -> Callable[..., Tensor] | None:
        return self.closed_form

    def solve(self, equation: Equation, z: Tensor, memory: Memory, limit: float) -> Outcome:
        outcome = Outcome.at(z)
        outcome.converged[-1] = True
        return outcome


def confirmation() -> None:
    """What a solver calls a root is one, or is found, or is refused where linear systems can't be solved."""
    squares = torch.tensor([[2.0], [3.0], [5.0]], dtype=torch.float64)
    root = ode.solve_root(
        lambda z, context: z**2 - context, 1 + 0 * squares, method=_Believing(), context=squares, rtol=1e-6
    )
    closely("roots that a solver only believed in", root.z, squares.sqrt(), 1e-6)
    # With the cyclic shift S, (1 - 1000 S) z = b: GMRES stands still, near 0, until it has all directions.
    b = torch.eye(640, dtype=torch.float64)[:1]
    found = ode.solve_root(
        lambda z: z - 1e3 * z.roll(1, -1) - b,
        0 * b,
        method=_Believing(torch.ones_like),
        restarts=1,
        rtol=1e-4,
        raise_on_failure=False,
    )
    if found.converged.any():
        closely("F at a root in 640 dimensions", found.residual, 0.0, 0.1)


def zeros() -> None:
    """Jacobians with known zeros take few products and are those of formulas, new entries among them."""
    d, t = 60, np.zeros(2)
    pattern = _random(d, d).numpy() > 1.5
    groups = group_columns(pattern)
    if max(pattern[:, groups == group].sum(1).max() for group in set(groups)) > 1:
        raise CheckFailure("sparsity", "columns of a group have a row in common")
    field = Field(lambda t, y: y * y.roll(1, -1) + y[:, 4:5] * y.roll(9, -1), Counts.none(2), np.arange(2))
    eye = torch.eye(d, dtype=torch.float64)
    for number, last in enumerate((0.0, 0.0, 1.0)):  # the fifth state of the second sample
        y = _random(2, d, seed=number)
        y[0, 4], y[1, 4] = 0.0, last
        spent = field.counts.jvp.copy()
        found = field.jacobian(t, y)
        true = y.roll(1, -1).unsqueeze(-1) * eye + y.unsqueeze(-1) * eye.roll(-1, -1)
        true = true + y[:, 4].reshape(2, 1, 1) * eye.roll(-9, -1)
        true[:, :, 4] += y.roll(9, -1)
        closely(f"Jacobian {number}", found, true, 1e-12)
        if number == 1 and int((field.counts.jvp - spent).max()) > 8:
            raise CheckFailure("sparsity", f"a Jacobian with known zeros takes {field.counts.jvp - spent} products")


CHECKS = {
    "GMRES": krylov,
    "Jacobians": jacobians,
    "inverses": inverses,
    "zeros of Jacobians": zeros,
    "filters": filters,
    "confirmation": confirmation,
    "roots": convergence,
}

__all__ = ["CHECKS"]
