"""What every transition density offers to inference and diagnostics."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pdekit.data import Pairs


class TransitionDensity(Protocol):
    """log p(x1, t + dt | x0, t; theta) of the pairs it was built with.

    Attributes:
        route: How it is computed, in words for a summary table.
    """

    route: str

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,), differentiable in theta (k,)."""
        ...

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,), without gradient; one state only."""
        ...


@runtime_checkable
class OnGrid(TransitionDensity, Protocol):
    """A density that is computed on a grid, and gets better on finer ones.

    Attributes:
        extrapolate: Whether two grids are combined.
        finest: The cells of its finest grid.
    """

    extrapolate: bool

    @property
    def finest(self) -> int:
        """See the class."""
        ...

    def refined(self) -> "OnGrid":
        """The same with half the cell width."""
        ...

    def extrapolated(self) -> "OnGrid":
        """The same combined with that of half the cell width."""
        ...


class MixedTransition:
    """Different densities for different pairs, for example by step size.

    Args:
        parts: (positions of its pairs, density) of each; together the positions are 0 ... n - 1.
    """

    def __init__(self, parts: Sequence[tuple[Tensor, TransitionDensity]]) -> None:
        self.parts = tuple(parts)
        self._order = torch.argsort(torch.cat([positions for positions, _ in self.parts]))
        self.route = "; ".join(f"{density.route} ({len(positions)} steps)" for positions, density in self.parts)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        return torch.cat([density.log_density(theta) for _, density in self.parts])[self._order]

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,)."""
        return torch.cat([density.cdf(theta) for _, density in self.parts])[self._order]


def select_pairs(pairs: Pairs, positions: Tensor) -> Pairs:
    """The pairs at these positions."""
    return Pairs(*(getattr(pairs, name)[positions] for name in ("t", "dt", "x0", "x1", "path")))
