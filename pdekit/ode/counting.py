"""What an integration cost, counted for each sample."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

Rows = np.ndarray  # indices of samples


@dataclass
class Counts:
    """Numbers of evaluations and steps, each (samples,).

    Args:
        f: Evaluations of the field.
        diagonal: Evaluations of the Jacobian's diagonal, at about the cost of the field's.
        jvp: Products of the Jacobian with a vector; a dense Jacobian is d of them.
        vjp: Products of a vector with the Jacobian.
        factorisations: Dense matrices that were factorised.
        solves: Triangular solves with such a matrix.
        accepted: Steps.
        rejected: Steps tried again because their error was too large.
        unsolved: Steps tried again because the nonlinear solver did not converge.
    """

    f: np.ndarray
    diagonal: np.ndarray
    jvp: np.ndarray
    vjp: np.ndarray
    factorisations: np.ndarray
    solves: np.ndarray
    accepted: np.ndarray
    rejected: np.ndarray
    unsolved: np.ndarray

    @classmethod
    def none(cls, samples: int) -> "Counts":
        """Zeros."""
        return cls(*(np.zeros(samples, dtype=np.int64) for _ in fields(cls)))

    @property
    def equivalents(self) -> np.ndarray:
        """Evaluations of the field and what costs about as much: f + diagonal + jvp + vjp."""
        return self.f + self.diagonal + self.jvp + self.vjp

    def copy(self) -> "Counts":
        """The numbers as they stand now."""
        return Counts(*(array.copy() for _, array in self))

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={array.sum()}" for name, array in self if array.any())
        return f"Counts({listed})"


__all__ = ["Counts", "Rows"]
