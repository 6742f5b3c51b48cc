"""What a fit hands to its diagnostics and figures: the model, the data and the maximum of the likelihood."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from pdekit.data import Pairs, Trajectories
from pdekit.fitting.coefficients import Coefficients, Model
from pdekit.fitting.densities.protocol import TransitionDensity


@dataclass(frozen=True, eq=False)
class Evidence:
    """A fitted model beside the data it was fitted to.

    Attributes:
        model: The SDE as the user stated it, or as it was learned; `model.ito()` is what the likelihood uses.
        data: The trajectories.
        pairs: Their transitions.
        theta: The estimate, (k,), in the order of `model.param_names`; (0,) of a learned model.
        covariance: Its covariance (inverse observed information), (k, k); rows of parameters that were held or are at
            a bound are zero.
        density: The transition density bound to `pairs`.
        seed: Of everything random in the diagnostics.
    """

    model: Model
    data: Trajectories
    pairs: Pairs
    theta: Tensor
    covariance: Tensor
    density: TransitionDensity
    seed: int

    @cached_property
    def coefficients(self) -> Coefficients:
        """Drift and noise of the model."""
        return Coefficients(self.model)
