"""What a fit hands to its diagnostics and figures: the model, the data and the maximum of the likelihood."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
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
        filtered: Whether data and pairs are what a filter made of readings; see `of_states`.
    """

    model: Model
    data: Trajectories
    pairs: Pairs
    theta: Tensor
    covariance: Tensor
    density: TransitionDensity
    seed: int
    filtered: bool = False

    @property
    def residual_names(self) -> tuple[str, ...]:
        """What the columns of residuals belong to: the states, or the readings that a filter predicts."""
        return self.data.names if hasattr(self.density, "states") else self.model.state_names

    @cached_property
    def of_states(self) -> "Evidence":
        """The same with the states that a filter found in place of noisy or partial readings; else itself.

        A path begins with its first reading; a state that is not read begins with its first filtered value.
        """
        density: Any = self.density
        if not hasattr(density, "states"):
            return self
        with torch.no_grad():
            found = density.states(self.theta)
        names, values = self.model.state_names, []
        place = [names.index(n) for n in density.observation.states(self.model)]
        for path, readings in enumerate(self.data.values):
            later = found[self.pairs.path == path]
            first = later[:1].clone()
            first[0, place] = readings[0]
            values.append(torch.cat([first, later]))
        data = replace(self.data, values=tuple(values), names=names)
        return replace(self, data=data, pairs=data.pairs(), filtered=True)

    @cached_property
    def coefficients(self) -> Coefficients:
        """Drift and noise of the model."""
        return Coefficients(self.model)
