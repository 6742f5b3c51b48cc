"""Where sums are kept and where estimates are made: what local regression needs to know of either."""

from abc import ABC, abstractmethod

import numpy as np

from pdekit.fitting.kramers_moyal.functions import Interpolant

# In place of the normal density one that is the same in the middle, and whose tail reaches the nearest data from
# anywhere: an estimate in a gap is one with a wider window rather than 0 / 0. The power comes by squaring.
_SQUARINGS = 4


def kernel(square: np.ndarray, power: int = 1) -> np.ndarray:
    """k(t)^power, power 1 or 2, with k(t) = (1 + |t|^2 / 32)^{-16}, which is nearly exp(-|t|^2 / 2)."""
    value = 1.0 + square / 2.0 ** (_SQUARINGS + 1)
    for _ in range(_SQUARINGS + power - 1):
        value *= value
    return 1.0 / value


class Design(ABC):
    """Sites, at which sums over increments are kept by fold, and nodes, at which functions are estimated.

    Attributes:
        position: Scaled position of each row of sums, (rows, d), the rows of a fold together.
        folds: The rows of each fold.
        nodes: Scaled positions, (C, d).
        supported: Nodes with enough data around, (C,).
        share: Of the data, at each node, (C,).
    """

    position: np.ndarray
    folds: list[slice]
    nodes: np.ndarray
    supported: np.ndarray
    share: np.ndarray

    @abstractmethod
    def deposit(self, u: np.ndarray, fold: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sums of columns (N, k) at the sites, (rows, k), of increments that begin at u (N, d)."""

    @abstractmethod
    def moments(self, weights: np.ndarray, width: np.ndarray, degree: int, power: int = 1) -> np.ndarray:
        """Sums of weights (rows, r) times monomials up to `degree` times the kernel, around each node, by fold.

        Returns:
            (folds, C, r, p).
        """

    @abstractmethod
    def basis(self, degree: int) -> np.ndarray:
        """The monomials of `moments` at each node itself, (C, p)."""

    @abstractmethod
    def at_rows(self, values: np.ndarray) -> np.ndarray:
        """Values at nodes by fold (folds, C, r), or the same for all (1, C, r), to those at the rows (rows, r)."""

    @abstractmethod
    def interpolant(self, values: np.ndarray) -> Interpolant:
        """The smooth function with values (C, r) at the nodes."""

    @abstractmethod
    def stand_ins(self) -> np.ndarray:
        """For each node the supported node that speaks for it, (C,): itself where it is supported."""


__all__ = ["Design", "kernel"]
