"""A probability density at one time, however it was found."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError

if TYPE_CHECKING:
    from pdekit.fokker_planck.marginal import Marginal


@dataclass(frozen=True, eq=False)
class Quadrature:
    """States with weights: sums instead of integrals.

    Args:
        states: (n, d).
        weights: (n,), with the density's mass as their sum.
    """

    states: np.ndarray
    weights: np.ndarray

    def moments(self) -> "Moments":
        """Mean and covariance of what mass is left."""
        share = self.weights / self.weights.sum()
        mean = share @ self.states
        centered = self.states - mean
        return Moments(mean, (centered * share[:, None]).T @ centered)


@dataclass(frozen=True, eq=False)
class Moments:
    """The first two moments.

    Args:
        mean: (d,).
        covariance: (d, d).
    """

    mean: np.ndarray
    covariance: np.ndarray


class Density(ABC):
    """A density on R^d.

    Attributes:
        dim: d.
        error: The estimated relative L2 error, ||p - exact|| / ||exact||; None where nothing is known.
    """

    dim: int
    error: float | None = None

    @abstractmethod
    def log_values(self, x: np.ndarray) -> np.ndarray:
        """log p at states (n, d)."""

    @abstractmethod
    def score_values(self, x: np.ndarray) -> np.ndarray:
        """grad log p at states (n, d)."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples (n, d)."""

    @abstractmethod
    def quadrature(self) -> Quadrature:
        """What integrals are taken with."""

    @property
    def mass(self) -> float:
        """The mass that is left: one, unless some was absorbed."""
        return float(self.quadrature().weights.sum())

    def log_pdf(self, x: Any) -> Tensor:
        """log p at states (*batch, d), (*batch,)."""
        return self._at(x, self.log_values, ())

    def pdf(self, x: Any) -> Tensor:
        """p at states (*batch, d), (*batch,)."""
        return self.log_pdf(x).exp()

    def score(self, x: Any) -> Tensor:
        """grad log p at states (*batch, d), likewise."""
        return self._at(x, self.score_values, (self.dim,))

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Samples (n, d) of what mass is left."""
        for name, value in (("n", n), ("seed", seed)):
            if isinstance(value, bool) or not (isinstance(value, int) and value >= 0):
                raise InputError(f"{name} must be a whole number that is not negative, got {value!r}.")
        return torch.as_tensor(self.draw(n, np.random.default_rng(seed)))

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The integral of function(x) p(x): function takes (n, d) and returns (n, ...)."""
        if not callable(function):
            raise InputError(f"expectation takes a function of states (n, d), got {function!r}.")
        found = self.quadrature()
        values = function(torch.as_tensor(found.states))
        if not isinstance(values, Tensor) or values.shape[:1] != (len(found.states),):
            raise InputError("The function must take states (n, d) and return a tensor (n, ...).")
        return torch.tensordot(torch.as_tensor(found.weights).to(values.dtype), values, 1)

    def moments(self) -> Moments:
        """Mean and covariance of what mass is left."""
        return self.quadrature().moments()

    def marginal(self, *states: int) -> "Marginal":
        """The density of one or two of the states, whatever the others are.

        On a grid masses are summed; where the density is known by samples, or has more than three states, it is a
        smoothed histogram.

        Args:
            *states: Which, by number: `marginal(0)`, `marginal(0, 2)`.
        """
        from pdekit.fokker_planck.marginal import marginal

        return marginal(self, states)

    def _at(self, x: Any, values: Callable[[np.ndarray], np.ndarray], tail: tuple[int, ...]) -> Tensor:
        state = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x, dtype=np.float64))
        if state.ndim == 0 or state.shape[-1] != self.dim:
            raise InputError(f"x must be states (*batch, {self.dim}), got shape {tuple(state.shape)}.")
        if not bool(torch.isfinite(state).all()):
            raise InputError("x is not finite.")
        flat = state.detach().reshape(-1, self.dim).double().cpu().numpy()
        found = values(flat) if len(flat) else np.zeros((0, *tail))
        dtype = state.dtype if state.is_floating_point() else torch.float64
        return torch.as_tensor(found).reshape((*state.shape[:-1], *tail)).to(dtype).to(state.device)


__all__ = ["Density", "Moments", "Quadrature"]
