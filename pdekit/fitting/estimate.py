"""What a way of fitting found, in the form in which a `Fit` shows, checks and keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.inference.uncertainty import Covariances
from pdekit.report import Flag, Table

Details = tuple[tuple[str, str], ...]


class Estimate(ABC):
    """Parameters or learned coefficients with the likelihood that the data have under them.

    A subclass is one way of fitting. It states `kind`, under which its files are read back, and a `title` for tables.
    """

    kind: ClassVar[str]
    title: ClassVar[str]

    @property
    @abstractmethod
    def theta(self) -> Tensor:
        """The parameters, (k,), in the order of the model's; (0,) for learned coefficients."""

    @property
    @abstractmethod
    def covariances(self) -> Covariances:
        """Of the parameters."""

    @property
    @abstractmethod
    def loglik(self) -> float:
        """The log-likelihood of the data at the estimate."""

    @property
    @abstractmethod
    def density(self) -> TransitionDensity:
        """The transition density that `loglik` is made of."""

    @abstractmethod
    def density_of(self, pairs: Pairs) -> TransitionDensity:
        """The same density of other transitions."""

    @property
    @abstractmethod
    def n_estimated(self) -> float | None:
        """How many numbers were estimated, effectively; None where that has no meaning."""

    @property
    @abstractmethod
    def converged(self) -> bool:
        """Whether the search ended where it should."""

    @property
    @abstractmethod
    def details(self) -> Details:
        """Names and values for the section on the method."""

    @property
    @abstractmethod
    def explanation(self) -> str:
        """How it was found, in a few sentences."""

    @abstractmethod
    def to_record(self) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """A dictionary that `json.dumps` accepts, and tensors."""

    @property
    def route(self) -> str:
        """How the transition density was computed, in words."""
        return self.density.route

    @property
    def free(self) -> np.ndarray:
        """Which parameters were estimated, (k,) bool."""
        return np.zeros(len(self.theta), dtype=bool)

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Parameters that the data push onto their bound."""
        return ()

    @property
    def shift(self) -> np.ndarray | None:
        """The discretisation error left in the free parameters, in standard errors; None where nothing was cut up."""
        return None

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What this way of fitting has to say beside what is checked of any fit."""
        return ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """Tables of its own for the page."""
        return ()

    def profile(self, position: int, level: float) -> tuple[float, float] | None:
        """A profile-likelihood interval of one parameter.

        Raises:
            UnsupportedError: If this way of fitting has no likelihood to profile.
        """
        raise UnsupportedError(f"A {self.title[:1].lower()}{self.title[1:]} has no profile intervals.")


__all__ = ["Details", "Estimate"]
