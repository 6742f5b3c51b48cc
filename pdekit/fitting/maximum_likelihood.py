"""The estimate of a model with named parameters: the maximum of its likelihood, with its error bars."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.densities.choose import resolved, transition_density
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.estimate import Details, Estimate
from pdekit.fitting.filtering import Observation, filter_likelihood
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.maximum import Maximum
from pdekit.fitting.inference.optimise import Minimum
from pdekit.fitting.inference.uncertainty import Covariances, profile_interval
from pdekit.fitting.sparse import SparseSearch
from pdekit.report import Flag, Table
from pdekit.symbolic import SymbolicSDE

_UNSETTLED = Flag(
    "warning",
    "The search for terms did not come to rest",
    "Two sets of terms are about equally good; the better of them is shown.",
    "State the model yourself, or give fewer candidates.",
)


@dataclass(frozen=True, eq=False)
class MaximumLikelihood(Estimate):
    """The maximum of a likelihood.

    Args:
        model: The SDE.
        maximum: Where it is, with everything known about how it was reached.
        errors: Covariances of the parameters.
        method: The transition density, or the filter, that was asked for.
        observation: How the data see the state; None if they are the state.
        search: The search that found the model; None if it was stated.
    """

    model: SymbolicSDE
    maximum: Maximum
    errors: Covariances
    method: str
    observation: Observation | None = None
    search: SparseSearch | None = None

    kind = "maximum-likelihood"
    title = "Maximum-likelihood fit of a stochastic differential equation"

    @property
    def theta(self) -> Tensor:
        """See `Estimate`."""
        return self.maximum.theta

    @property
    def covariances(self) -> Covariances:
        """See `Estimate`."""
        return self.errors

    @property
    def loglik(self) -> float:
        """See `Estimate`."""
        return self.maximum.loglik

    @cached_property
    def density(self) -> TransitionDensity:  # type: ignore[override]
        """See `Estimate`."""
        return self.maximum.density

    def density_of(self, pairs: Pairs) -> TransitionDensity:
        """See `Estimate`."""
        method: Any = self.method
        if self.observation is not None:
            return filter_likelihood(self.model, pairs, self.observation, self.theta, method)
        return transition_density(self.model, pairs, self.theta, resolved(self.density, method))  # type: ignore[arg-type]

    @property
    def n_estimated(self) -> float:
        """The number of parameters that were estimated, those at a bound included."""
        return int(self.maximum.free.sum()) + len(self.maximum.at_bound)

    @property
    def converged(self) -> bool:
        """Whether the maximum was reached."""
        return self.maximum.minimum.converged

    @property
    def free(self) -> np.ndarray:
        """See `Estimate`."""
        return self.maximum.free

    @property
    def at_bound(self) -> tuple[str, ...]:
        """See `Estimate`."""
        return self.maximum.at_bound

    @property
    def shift(self) -> np.ndarray | None:
        """See `Estimate`."""
        return self.maximum.shift if self.maximum.on_grids else None

    @property
    def flags(self) -> tuple[Flag, ...]:
        """See `Estimate`."""
        if self.search is None:
            return ()
        settled = () if self.search.settled else (_UNSETTLED,)
        return (*settled, *(Flag("note", "About the search for terms", note) for note in self.search.notes))

    @property
    def tables(self) -> tuple[Table, ...]:
        """See `Estimate`."""
        return () if self.search is None else (self.search.table(),)

    def profile(self, position: int, level: float) -> tuple[float, float] | None:
        """See `Estimate`."""
        return profile_interval(self.maximum, position, level)

    @property
    def details(self) -> Details:
        """See `Estimate`."""
        start = ", ".join(f"{name} = {value:.5g}" for name, value in self.model.named(self.maximum.start).items())
        found = [
            ("Likelihood", self.route),
            ("Starting values", start),
            ("Gradients used", str(self.maximum.evaluations)),
            ("Newton decrement", f"{self.maximum.minimum.decrement:.2g}"),
        ]
        if self.observation is not None:
            found.append(("Observation", repr(self.observation)))
        if self.search is not None:
            found += [("Search", self.search.settings), ("Regime", f"{self.search.regime} steps: {self.search.reason}")]
        shift = self.maximum.shift[np.isfinite(self.maximum.shift)]
        if len(shift) and abs(shift).max() > 0:
            found.append(("Discretisation", f"moves no estimate by more than {abs(shift).max():.2g} standard errors"))
        return tuple(found)

    @property
    def explanation(self) -> str:
        """See `Estimate`."""
        if self.observation is not None:
            return (
                "Maximum likelihood of readings that see the state with noise or only in part: each reading "
                "contributes the logarithm of its density given all earlier ones of its path, which a filter computes. "
                "Standard errors come from the observed information, robust ones from the sandwich of curvature and "
                "scores."
            )
        text = (
            "Maximum likelihood: each step between consecutive observations contributes the logarithm of its "
            "transition density under the SDE, computed as named below. Standard errors come from the observed "
            "information (the curvature of the log-likelihood at its maximum), robust ones from the sandwich of "
            "curvature and scores."
        )
        if self.model.dim == 1:
            text += (
                " PIT values are the fitted transition distribution at each observation, so they are right at any "
                "step at which the transition density is."
            )
        return text

    def to_record(self) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """See `Estimate`."""
        maximum, minimum = self.maximum, self.maximum.minimum
        record = {
            "method": self.method,
            "density": resolved(self.density, self.method),
            "loglik": self.loglik,
            "route": self.route,
            "at_bound": list(maximum.at_bound),
            "evaluations": maximum.evaluations,
            "grid": _grid(maximum.objective.density),
            "observation": None if self.observation is None else self.observation.to_record(),
            "search": None if self.search is None else self.search.to_dict(),
            "minimum": {
                "value": minimum.value,
                "decrement": minimum.decrement if np.isfinite(minimum.decrement) else None,
                "converged": minimum.converged,
            },
        }
        arrays = {
            "theta": self.theta,
            "start": maximum.start,
            "free": torch.from_numpy(maximum.free.astype(np.uint8)),
            "covariance.observed": torch.from_numpy(self.errors.observed),
            "covariance.sandwich": torch.from_numpy(self.errors.sandwich),
            "minimum.point": torch.from_numpy(minimum.point),
            "minimum.gradient": torch.from_numpy(minimum.gradient),
            "minimum.hessian": torch.from_numpy(minimum.hessian),
            "correction": torch.from_numpy(maximum.correction),
            "shift": torch.from_numpy(maximum.shift),
        }
        return record, arrays

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor], model: SymbolicSDE, pairs: Pairs
    ) -> "MaximumLikelihood":
        """The estimate that `to_record` described; its likelihood is built anew on the same grid."""
        theta, free = arrays["theta"], arrays["free"].numpy().astype(bool)
        observation = record["observation"] and Observation.from_record(record["observation"])
        if observation is not None:
            density: TransitionDensity = filter_likelihood(model, pairs, observation, theta, record["method"])
        elif record["grid"] is None:
            density = transition_density(model, pairs, theta, record["density"])
            density.route = record["route"]
        else:
            density = FokkerPlanckTransition.lay(model, pairs, theta, **record["grid"])
        bijection = Bijection([model.params[name] for name in model.param_names])
        decrement = record["minimum"]["decrement"]
        minimum = Minimum(
            point=arrays["minimum.point"].numpy(),
            value=float(record["minimum"]["value"]),
            gradient=arrays["minimum.gradient"].numpy(),
            hessian=arrays["minimum.hessian"].numpy(),
            decrement=float("inf") if decrement is None else float(decrement),
            evaluations=int(record["evaluations"]),
            converged=bool(record["minimum"]["converged"]),
        )
        maximum = Maximum(
            theta=theta,
            loglik=float(record["loglik"]),
            objective=NegativeLogLikelihood(density, bijection, free, theta),
            minimum=minimum,
            correction=arrays["correction"].numpy(),
            free=free,
            at_bound=tuple(record["at_bound"]),
            shift=arrays["shift"].numpy(),
            evaluations=int(record["evaluations"]),
            start=arrays["start"],
        )
        errors = Covariances(arrays["covariance.observed"].numpy(), arrays["covariance.sandwich"].numpy())
        search = record["search"] and SparseSearch.from_dict(record["search"])
        return cls(model, maximum, errors, record["method"], observation, search)


def _grid(density: TransitionDensity) -> dict[str, Any] | None:
    """The size of a likelihood that is one grid; other routes find theirs again by themselves."""
    if isinstance(density, FokkerPlanckTransition):
        return {"cells": density.cells, "extrapolate": density.extrapolate}
    return None


__all__ = ["MaximumLikelihood"]
