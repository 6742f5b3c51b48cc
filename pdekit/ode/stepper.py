"""What one step of any method takes and gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pdekit.ode.field import Field
from pdekit.ode.nonlinear.equation import indices, where_rows
from pdekit.ode.nonlinear.memory import Memory


class History(dict[str, Any]):
    """What a method carries from one step to the next: tensors and arrays with a row per sample."""

    def take(self, keep: np.ndarray) -> "History":
        """That of some samples."""
        return History({k: v[indices(keep, v)] if isinstance(v, Tensor) else v[keep] for k, v in self.items()})

    def chosen(self, mask: np.ndarray, other: "History") -> "History":
        """Rows of this one where the mask holds, else of the other."""
        if mask.all():
            return self
        return History({k: _chosen(mask, v, other[k]) for k, v in self.items()})

    def with_rows(self, keep: np.ndarray, part: "History") -> "History":
        """This one with the rows `keep` replaced."""
        return History({k: _replaced(keep, v, part[k]) for k, v in self.items()})


def _replaced(keep: np.ndarray, whole: Any, part: Any) -> Any:
    if isinstance(whole, Tensor):
        return whole.index_copy(0, indices(keep, whole), part)
    found = whole.copy()
    found[keep] = part
    return found


def _chosen(mask: np.ndarray, a: Any, b: Any) -> Any:
    return where_rows(mask, a, b) if isinstance(a, Tensor) else np.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)


@dataclass(eq=False)
class Attempt:
    """A step that was tried.

    Args:
        y: The new states, (n, d).
        error: The estimate of their local error, (n, d).
        solved: For which samples the method's equations were solved, (n,).
        error_order: The power of h that the estimate goes with, for all samples or each.
        history: What the next step needs.
        polynomial: () -> P, (n, degree, d), with y(t + theta h) = y + sum_k P_k theta^k.
    """

    y: Tensor
    error: Tensor
    solved: np.ndarray
    error_order: int | np.ndarray
    history: History
    polynomial: Callable[[], Tensor]


class Stepper(ABC):
    """A method, ready to step."""

    @property
    @abstractmethod
    def order(self) -> int:
        """The order of the method."""

    @property
    @abstractmethod
    def interpolates(self) -> bool:
        """Whether states between the ends of a step are about as accurate as at its ends; else steps end at outputs."""

    @abstractmethod
    def start(self, t: np.ndarray, y: Tensor, slope: Tensor) -> History:
        """The history at the start, where f has the value `slope`."""

    @abstractmethod
    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """One step of length h, (n,), from t and y."""


__all__ = ["Attempt", "History", "Stepper"]
