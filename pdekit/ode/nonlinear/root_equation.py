"""F(z) = 0 as nonlinear solvers see it."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pdekit.ode.counting import Counts, Rows
from pdekit.ode.field import Field
from pdekit.ode.implicit_function import Differentiable
from pdekit.ode.nonlinear.equation import Factorised, Inverse, Map, indices, reciprocal


@dataclass(frozen=True, eq=False)
class RootSystem:
    """The Jacobian of F.

    Args:
        field: F, as a field.
    """

    field: Field

    def _at(self, z: Tensor) -> np.ndarray:
        return np.zeros(len(z))

    def product(self, z: Tensor) -> Map:
        """v -> J v at z."""
        return self.field.product(self._at(z), z)

    def transposed_product(self, z: Tensor) -> Map:
        """v -> J^T v at z."""
        return self.field.transposed_product(self._at(z), z)

    def matrix(self, z: Tensor) -> Tensor:
        """J at z."""
        return self.field.jacobian(self._at(z), z)

    def diagonal(self, z: Tensor) -> Tensor:
        """Its diagonal."""
        return self.field.diagonal(self._at(z), z)

    def preconditioner(self, z: Tensor, *, transposed: bool) -> Inverse:
        """1 / diagonal."""
        return reciprocal(self.diagonal(z))


@dataclass(frozen=True, eq=False)
class RootEquation(Differentiable):
    """F(z) = 0.

    Args:
        system: F and its Jacobian.
        weights: Of the norm, (n, m).
    """

    system: RootSystem
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
    def has_graph(self) -> bool:
        """See `Differentiable`."""
        return self.system.field.has_graph

    def detached(self) -> "RootEquation":
        """See `Differentiable`."""
        return self

    @property
    def few_products(self) -> bool:
        """See `Equation`."""
        return self.system.field.sparsity.products is not None

    def residual(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.field(np.zeros(len(z)), z)

    def diagonal(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.diagonal(z)

    def matrix(self, z: Tensor) -> Tensor:
        """See `Equation`."""
        return self.system.matrix(z)

    def inverse_by_diagonal(self, diagonal: Tensor) -> Inverse:
        """See `Equation`."""
        return reciprocal(diagonal)

    def inverse_by_matrix(self, matrix: Tensor) -> Inverse:
        """See `Equation`."""
        return Factorised.of(matrix, self.counts, self.rows)

    def product(self, z: Tensor) -> Map:
        """See `Equation`."""
        return self.system.product(z)

    def take(self, keep: np.ndarray) -> "RootEquation":
        """See `Equation`."""
        return RootEquation(RootSystem(self.system.field.take(keep)), self.weights[indices(keep, self.weights)])


__all__ = ["RootEquation", "RootSystem"]
