"""Radau IIA of order 5: three coupled implicit stages, L-stable, a collocation method.

Source: E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, 2nd edition, section IV.8.
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.counting import Counts, Rows
from pdekit.ode.field import Field
from pdekit.ode.filtering import damped
from pdekit.ode.implicit_function import Differentiable, solved_with_gradient
from pdekit.ode.inside import defect, larger
from pdekit.ode.nonlinear.equation import Factorised, Inverse, Map, column, indices, reciprocal
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.solvers import Solver
from pdekit.ode.stage import StageSystem
from pdekit.ode.stepper import Attempt, History, Stepper

_S = sqrt(6)
NODES = np.array([(4 - _S) / 10, (4 + _S) / 10, 1.0])
# Weights of collocation: a_ij is the integral of the j-th Lagrange polynomial from 0 to c_i.
_POWERS = np.arange(1, 4)
A = (NODES[:, None] ** _POWERS / _POWERS) @ np.linalg.inv(NODES[:, None] ** (_POWERS - 1))
_BETWEEN = 0.4  # of the step: in the middle of the longest way between nodes
_ERROR = np.array([-13 - 7 * _S, -13 + 7 * _S, -1]) / 3  # of the embedded method of order 3


def _eigen() -> tuple[Any, Any, Any]:
    """A = T diag(mu) T^-1 with the real eigenvalue first, then the one with positive imaginary part."""
    found: Any = np.linalg.eig(A)
    mu, t = found.eigenvalues, found.eigenvectors
    order = [int(np.argmin(np.abs(mu.imag))), int(np.argmax(mu.imag)), int(np.argmin(mu.imag))]
    return mu[order], t[:, order], np.linalg.inv(t[:, order])


_MU, _T, _T_INVERSE = _eigen()
_REAL, _COMPLEX = float(_MU[0].real), complex(_MU[1])


@dataclass(frozen=True, eq=False)
class _ByModes:
    """(1 - h A x J)^-1 for one J: the modes of A decouple, one real system and one complex one."""

    real: Inverse
    complex: Inverse
    transposed: bool = False

    def __call__(self, r: Tensor) -> Tensor:
        """See `Inverse`; (n, 3 d)."""
        stages = r.reshape(len(r), 3, -1)
        left, right = (_T_INVERSE.T, _T.T) if self.transposed else (_T, _T_INVERSE)
        first = torch.as_tensor(right[0].real, dtype=r.dtype, device=r.device)
        kind = torch.promote_types(r.dtype, torch.complex64)
        second = torch.as_tensor(right[1], dtype=kind, device=r.device)
        x = self.real(torch.einsum("i,nid->nd", first, stages))
        w = self.complex(torch.einsum("i,nid->nd", second, stages.to(kind)))
        back = torch.as_tensor(left[:, 0].real, dtype=r.dtype, device=r.device)
        pair = torch.as_tensor(left[:, 1], dtype=kind, device=r.device)
        found = torch.einsum("i,nd->nid", back, x) + 2 * torch.einsum("i,nd->nid", pair, w).real
        return found.reshape(r.shape)

    def take(self, keep: np.ndarray) -> "_ByModes":
        """See `Inverse`."""
        return _ByModes(self.real.take(keep), self.complex.take(keep), self.transposed)


@dataclass(frozen=True, eq=False)
class RadauSystem:
    """The Jacobian 1 - h A x J of the three stages, each with its own J.

    Args:
        field: f.
        t: The beginning of the step, (n,).
        h: Its length, (n,).
    """

    field: Field
    t: np.ndarray
    h: np.ndarray

    def times(self) -> list[np.ndarray]:
        """Those of the stages."""
        return [self.t + c * self.h for c in NODES]

    def slopes(self, z: Tensor) -> Tensor:
        """f at the stages, (n, 3, d)."""
        return torch.stack([self.field(t, y) for t, y in zip(self.times(), _stages(z), strict=True)], 1)

    def mixed(self, values: Tensor, *, transposed: bool = False) -> Tensor:
        """h A v, (n, 3, d)."""
        a = torch.as_tensor(A.T if transposed else A, dtype=values.dtype, device=values.device)
        return column(self.h, values).unsqueeze(-1) * torch.einsum("ij,njd->nid", a, values)

    def product(self, z: Tensor) -> Map:
        """v -> M v at z."""
        maps = [self.field.product(t, y) for t, y in zip(self.times(), _stages(z), strict=True)]

        def times(v: Tensor) -> Tensor:
            moved = torch.stack([m(x) for m, x in zip(maps, _stages(v), strict=True)], 1)
            return v - self.mixed(moved).reshape(v.shape)

        return times

    def transposed_product(self, z: Tensor) -> Map:
        """v -> M^T v at z."""
        maps = [self.field.transposed_product(t, y) for t, y in zip(self.times(), _stages(z), strict=True)]

        def times(v: Tensor) -> Tensor:
            mixed = self.mixed(v.reshape(len(v), 3, -1), transposed=True)
            moved = torch.stack([m(mixed[:, j].contiguous()) for j, m in enumerate(maps)], 1)
            return v - moved.reshape(v.shape)

        return times

    def matrix(self, z: Tensor) -> Tensor:
        """M at z, (n, 3 d, 3 d)."""
        jacobians = [self.field.jacobian(t, y) for t, y in zip(self.times(), _stages(z), strict=True)]
        h = column(self.h, z).unsqueeze(-1)
        rows = [torch.cat([-h * float(A[i, j]) * jacobians[j] for j in range(3)], -1) for i in range(3)]
        return torch.eye(z.shape[1], dtype=z.dtype, device=z.device) + torch.cat(rows, 1)

    def preconditioner(self, z: Tensor, *, transposed: bool) -> Inverse:
        """M^-1 or M^-T if J were the same diagonal at all stages."""
        end = _stages(z)[-1]
        return self.with_diagonal(self.field.diagonal(self.t + self.h, end), transposed=transposed)

    def with_diagonal(self, diagonal: Tensor, *, transposed: bool = False) -> "_ByModes":
        """M^-1 if J had this diagonal only."""
        scaled = column(self.h, diagonal) * diagonal
        return _ByModes(reciprocal(1 - _REAL * scaled), reciprocal(1 - _COMPLEX * scaled), transposed)

    def take(self, keep: np.ndarray) -> "RadauSystem":
        """That of some samples."""
        return RadauSystem(self.field.take(keep), self.t[keep], self.h[keep])


@dataclass(frozen=True, eq=False)
class RadauEquation(Differentiable):
    """R(Y)_i = Y_i - y - h sum_j A_ij f(t + c_j h, Y_j), for the stages (n, 3 d).

    Args:
        system: f, t and h.
        y: The state at the beginning, (n, d).
        weights: Of the norm, (n, 3 d).
    """

    system: RadauSystem
    y: Tensor
    weights: Tensor

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        """See `Equation`."""
        return self.system.field.counts

    @property
    def rows(self) -> Rows:  # type: ignore[override]
        """See `Equation`."""
        return self.system.field.rows

    @property
    def states(self) -> int:
        """See `Equation`."""
        return self.y.shape[1]

    @property
    def has_graph(self) -> bool:
        """See `Differentiable`."""
        return self.y.requires_grad or self.system.field.has_graph

    def detached(self) -> "RadauEquation":
        """See `Differentiable`."""
        return replace(self, y=self.y.detach())

    @property
    def few_products(self) -> bool:
        """See `Equation`."""
        return self.system.field.sparsity.products is not None

    def residual(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        stages = z.reshape(len(z), 3, -1)
        return (stages - self.y.unsqueeze(1) - self.system.mixed(self.system.slopes(z))).reshape(z.shape)

    def diagonal(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.field.diagonal(self.system.t + self.system.h, _stages(z)[-1])

    def matrix(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.field.jacobian(self.system.t + self.system.h, _stages(z)[-1])

    def inverse_by_diagonal(self, diagonal: Tensor) -> _ByModes:
        """See `Equation`."""
        return self.system.with_diagonal(diagonal)

    def inverse_by_matrix(self, matrix: Tensor) -> _ByModes:
        """See `Equation`."""
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        scaled = column(self.system.h, matrix).unsqueeze(-1) * matrix
        real = Factorised.of(eye - _REAL * scaled, self.counts, self.rows)
        return _ByModes(real, Factorised.of(eye - _COMPLEX * scaled, self.counts, self.rows))

    def product(self, z: Tensor) -> Map:
        """See `Equation`."""
        return self.system.product(z)

    def take(self, keep: np.ndarray) -> "RadauEquation":
        """See `Equation`."""
        at = indices(keep, self.y)
        return RadauEquation(self.system.take(keep), self.y[at], self.weights[at])


@dataclass(frozen=True, eq=False)
class Radau(Stepper):
    """Steps of Radau IIA.

    Args:
        solver: For the stages.
        limit: How accurately they are solved, in units of the tolerance.
        gradient_order: Up to which order derivatives are wanted.
        inside: Whether the error between the ends of steps counts as well.
    """

    solver: Solver
    limit: float
    gradient_order: int
    inside: bool = False

    @property
    def order(self) -> int:
        """See `Stepper`."""
        return 5

    @property
    def interpolates(self) -> bool:
        """See `Stepper`."""
        return False  # of order 3 only

    def start(self, t: np.ndarray, y: Tensor, slope: Tensor) -> History:
        """See `Stepper`."""
        nothing = torch.zeros(len(y), 3, y.shape[1], dtype=y.dtype, device=y.device)
        return History({"slope": slope, "polynomial": nothing, "length": np.ones(len(y))})

    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """See `Stepper`."""
        system = RadauSystem(field, t, h)
        equation = RadauEquation(system, y, weights.repeat(1, 3))
        z, solved = solved_with_gradient(
            equation, _guess(y.detach(), h, history), self.solver, memory, limit=self.limit, order=self.gradient_order
        )
        stages = z.reshape(len(z), 3, -1)
        after = stages[:, 2]
        error = self._error(equation, z.detach(), history["slope"].detach(), memory)
        slope = field(t + h, after)
        polynomial = _collocation(stages - y.unsqueeze(1))
        if self.inside and solved.any():
            missed = _REAL * defect(field, t, y, h, polynomial, _BETWEEN)
            error = larger(error, self._damped(missed, equation, z.detach(), memory), weights)
        new = {"slope": slope, "polynomial": polynomial.detach(), "length": np.abs(h)}
        return Attempt(after, error, solved, 4, History(new), lambda: polynomial)

    @torch.no_grad()
    def _error(self, equation: RadauEquation, z: Tensor, slope: Tensor, memory: Memory) -> Tensor:
        """(1 - mu h J)^-1 mu (h f(t, y) + sum_i e_i Z_i), mu being the real eigenvalue of A: of order 3."""
        system, y = equation.system, equation.y.detach()
        weights = torch.as_tensor(_ERROR, dtype=y.dtype, device=y.device)
        moved = torch.einsum("i,nid->nd", weights, z.reshape(len(z), 3, -1) - y.unsqueeze(1))
        raw = _REAL * (column(system.h, y) * slope + moved)
        return self._damped(raw, equation, z, memory)

    def _damped(self, error: Tensor, equation: RadauEquation, z: Tensor, memory: Memory) -> Tensor:
        system, dim = equation.system, error.shape[1]
        return damped(
            error,
            equation.weights[:, :dim],
            equation=equation,
            at=z,
            product=StageSystem(system.field, system.t + system.h, _REAL * system.h).product(_stages(z)[-1]),
            memory=memory,
            pick=lambda inverse: inverse.real,  # type: ignore[attr-defined]
        )


def _stages(z: Tensor) -> list[Tensor]:
    return [stage.contiguous() for stage in z.reshape(len(z), 3, -1).unbind(1)]


def _collocation(rises: Tensor) -> Tensor:
    """The coefficients of theta, theta^2, theta^3 of the polynomial with rises Y_i - y at the nodes, (n, 3, d)."""
    inverse = torch.as_tensor(np.linalg.inv(NODES[:, None] ** _POWERS), dtype=rises.dtype, device=rises.device)
    return torch.einsum("ki,nid->nkd", inverse, rises)


def _guess(y: Tensor, h: np.ndarray, history: History) -> Tensor:
    """The polynomial of the last step, continued: y + P(1 + c h / h_last) - P(1)."""
    theta = 1 + NODES * (np.abs(h) / history["length"])[:, None]
    powers = torch.as_tensor(theta[:, :, None] ** _POWERS - 1, dtype=y.dtype, device=y.device)
    rises = torch.einsum("nik,nkd->nid", powers, history["polynomial"])
    return (y.unsqueeze(1) + rises).reshape(len(y), -1)


__all__ = ["NODES", "A", "Radau", "RadauEquation", "RadauSystem"]
