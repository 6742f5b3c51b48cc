"""The equation of an implicit stage, Y = c + s f(t, Y)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.counting import Counts, Rows
from pdekit.ode.field import Field
from pdekit.ode.implicit_function import Differentiable
from pdekit.ode.nonlinear.equation import Factorised, Inverse, Map, column, indices, reciprocal


@dataclass(frozen=True, eq=False)
class StageSystem:
    """The Jacobian M = 1 - s J(t, Y) of a stage, for any Y.

    Args:
        field: f.
        t: The times of the stage, (n,).
        scale: s = h gamma, (n,).
    """

    field: Field
    t: np.ndarray
    scale: np.ndarray

    def product(self, z: Tensor) -> Map:
        """v -> M v at z."""
        times, scale = self.field.product(self.t, z), column(self.scale, z)
        return lambda v: v - scale * times(v)

    def transposed_product(self, z: Tensor) -> Map:
        """v -> M^T v at z."""
        times, scale = self.field.transposed_product(self.t, z), column(self.scale, z)
        return lambda v: v - scale * times(v)

    def matrix(self, z: Tensor) -> Tensor:
        """M at z, (n, d, d)."""
        return self.with_jacobian(self.field.jacobian(self.t, z))

    def with_jacobian(self, jacobian: Tensor) -> Tensor:
        """M with this J."""
        eye = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
        return eye - column(self.scale, jacobian).unsqueeze(-1) * jacobian

    def preconditioner(self, z: Tensor, *, transposed: bool) -> Inverse:
        """M^-1 if J had its diagonal only, and M^-T as well."""
        return self.with_diagonal(self.field.diagonal(self.t, z))

    def with_diagonal(self, diagonal: Tensor) -> Inverse:
        """M^-1 if J had this diagonal only."""
        return reciprocal(1 - column(self.scale, diagonal) * diagonal)

    def take(self, keep: np.ndarray) -> "StageSystem":
        """That of some samples."""
        return StageSystem(self.field.take(keep), self.t[keep], self.scale[keep])


@dataclass(frozen=True, eq=False)
class StageEquation(Differentiable):
    """R(Y) = Y - c - s f(t, Y).

    Args:
        system: f, t and s.
        offset: c, (n, d).
        weights: Of the norm, (n, d).
    """

    system: StageSystem
    offset: Tensor
    weights: Tensor

    @property
    def has_graph(self) -> bool:
        """See `Differentiable`."""
        return self.offset.requires_grad or self.system.field.has_graph

    def detached(self) -> "StageEquation":
        """See `Differentiable`."""
        return replace(self, offset=self.offset.detach())

    @property
    def counts(self) -> Counts:  # type: ignore[override]
        """See `Equation`."""
        return self.system.field.counts

    @property
    def rows(self) -> Rows:  # type: ignore[override]
        """See `Equation`."""
        return self.system.field.rows

    @property
    def few_products(self) -> bool:
        """See `Equation`."""
        return self.system.field.sparsity.products is not None

    def residual(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return z - self.offset - column(self.system.scale, z) * self.system.field(self.system.t, z)

    def diagonal(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.field.diagonal(self.system.t, z)

    def matrix(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.field.jacobian(self.system.t, z)

    def inverse_by_diagonal(self, diagonal: Tensor) -> Inverse:
        """See `Equation`."""
        return self.system.with_diagonal(diagonal)

    def inverse_by_matrix(self, matrix: Tensor) -> Inverse:
        """See `Equation`."""
        return Factorised.of(self.system.with_jacobian(matrix), self.counts, self.rows)

    def product(self, z: Tensor) -> Map:
        """See `Equation`."""
        return self.system.product(z)

    def take(self, keep: np.ndarray) -> "StageEquation":
        """See `Equation`."""
        at = indices(keep, self.offset)
        return replace(self, system=self.system.take(keep), offset=self.offset[at], weights=self.weights[at])


__all__ = ["StageEquation", "StageSystem"]
