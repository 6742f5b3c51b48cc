"""Systems of equations, one per sample, as nonlinear solvers see them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.counting import Counts, Rows

Map = Callable[[Tensor], Tensor]
_ROUNDING = 4  # times eps


class Inverse(Protocol):
    """An approximate inverse of a Jacobian, for n samples."""

    def __call__(self, r: Tensor) -> Tensor:
        """P r, (n, m)."""
        ...

    def take(self, keep: np.ndarray) -> "Inverse":
        """That of some samples."""
        ...


class Equation(ABC):
    """R(z) = 0 for n samples of m unknowns each, made of a field with d unknowns.

    R's Jacobian M depends on the field's Jacobian J, of which a solver may know the diagonal only, or an older value.

    Attributes:
        counts: Where costs are counted.
        rows: The samples in the whole batch.
        weights: 1 / (atol + rtol |y|), (n, m): the norm in which errors count.
    """

    counts: Counts
    rows: Rows
    weights: Tensor

    @property
    def states(self) -> int:
        """The number of states of the field."""
        return self.weights.shape[1]

    @property
    @abstractmethod
    def few_products(self) -> bool:
        """Whether J is known to have so many zeros that few products make it."""

    @abstractmethod
    def residual(self, z: Tensor) -> Tensor:
        """R(z), (n, m)."""

    @abstractmethod
    def diagonal(self, z: Tensor) -> Tensor:
        """The diagonal of J at z, (n, d)."""

    @abstractmethod
    def matrix(self, z: Tensor) -> Tensor:
        """J at z, (n, d, d)."""

    @abstractmethod
    def inverse_by_diagonal(self, diagonal: Tensor) -> Inverse:
        """M^-1 if J had this diagonal and nothing else."""

    @abstractmethod
    def inverse_by_matrix(self, matrix: Tensor) -> Inverse:
        """M^-1 with this J, by a dense factorisation."""

    @abstractmethod
    def product(self, z: Tensor) -> Map:
        """v -> M v at z."""

    @abstractmethod
    def take(self, keep: np.ndarray) -> Self:
        """The equation of some of the samples."""

    def norm(self, x: Tensor) -> np.ndarray:
        """The weighted root mean square of each sample, (n,)."""
        return weighted_norm(x, self.weights)


@dataclass(frozen=True, eq=False)
class Elementwise:
    """r -> factor * r."""

    factor: Tensor

    def __call__(self, r: Tensor) -> Tensor:
        """See `Inverse`."""
        return self.factor * r

    def take(self, keep: np.ndarray) -> "Elementwise":
        """See `Inverse`."""
        return Elementwise(self.factor[indices(keep, self.factor)])


def reciprocal(values: Tensor) -> Elementwise:
    """r -> r / values; no number where a value is none, which 1 / inf = 0 would hide."""
    return Elementwise(torch.where(torch.isfinite(values), 1 / values, torch.nan))


@dataclass(frozen=True, eq=False)
class Factorised:
    """r -> A^-1 r by a factorised batch of matrices; a singular one gives no finite number."""

    lu: Tensor
    pivots: Tensor
    counts: Counts
    rows: Rows

    @classmethod
    def of(cls, matrix: Tensor, counts: Counts, rows: Rows) -> "Factorised":
        """Factorise (n, m, m)."""
        counts.factorisations[rows] += 1
        lu, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        return cls(lu, pivots, counts, rows)

    def __call__(self, r: Tensor) -> Tensor:
        """See `Inverse`."""
        self.counts.solves[self.rows] += 1
        return torch.linalg.lu_solve(self.lu, self.pivots, r.unsqueeze(-1)).squeeze(-1)

    def take(self, keep: np.ndarray) -> "Factorised":
        """See `Inverse`."""
        at = indices(keep, self.lu)
        return Factorised(self.lu[at], self.pivots[at], self.counts, self.rows[keep])


def weighted_norm(x: Tensor, weights: Tensor) -> np.ndarray:
    """sqrt(mean((x w)^2)) of each row, in float64."""
    squares = (x.detach() * weights).square().mean(-1)
    return squares.to("cpu", torch.float64).sqrt().numpy()


def rounding(equation: Equation, z: Tensor) -> np.ndarray:
    """Increments so small are nothing but rounding, in the equation's norm, (n,)."""
    return _ROUNDING * torch.finfo(z.dtype).eps * equation.norm(z)


def column(values: Any, like: Tensor) -> Tensor:
    """Numbers, one per sample, as a column (n, 1) beside states."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device).unsqueeze(-1)


def indices(keep: np.ndarray, like: Tensor) -> Tensor:
    """Positions as an index of tensors."""
    return torch.as_tensor(keep, dtype=torch.long, device=like.device)


def where_rows(mask: np.ndarray, a: Tensor, b: Tensor) -> Tensor:
    """Rows of a where the mask holds, else of b."""
    if mask.all():
        return a
    return torch.where(torch.as_tensor(mask, device=a.device).reshape(-1, *[1] * (a.ndim - 1)), a, b)


__all__ = [
    "Elementwise",
    "Equation",
    "Factorised",
    "Inverse",
    "Map",
    "column",
    "indices",
    "reciprocal",
    "rounding",
    "weighted_norm",
    "where_rows",
]
