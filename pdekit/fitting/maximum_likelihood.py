"""The estimate of a model with named parameters: the maximum of its likelihood, with its error bars."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.densities.choose import Method, transition_density
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.estimate import Details, Estimate
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.maximum import Maximum
from pdekit.fitting.inference.optimise import Minimum
from pdekit.fitting.inference.uncertainty import Covariances, profile_interval
from pdekit.symbolic import SymbolicSDE


@dataclass(frozen=True, eq=False)
class MaximumLikelihood(Estimate):
    """The maximum of a likelihood.

    Args:
        model: The SDE.
        maximum: Where it is, with everything known about how it was reached.
        errors: Covariances of the parameters.
        method: The transition density that was asked for.
    """

    model: SymbolicSDE
    maximum: Maximum
    errors: Covariances
    method: Method

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
        shift = self.maximum.shift[np.isfinite(self.maximum.shift)]
        if len(shift) and abs(shift).max() > 0:
            found.append(("Discretisation", f"moves no estimate by more than {abs(shift).max():.2g} standard errors"))
        return tuple(found)

    @property
    def explanation(self) -> str:
        """See `Estimate`."""
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
            "loglik": self.loglik,
            "at_bound": list(maximum.at_bound),
            "evaluations": maximum.evaluations,
            "grid": _grid(maximum.objective.density),
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
        if record["grid"] is None:
            density = transition_density(model, pairs, theta, record["method"])
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
        return cls(model, maximum, errors, record["method"])


def _grid(density: TransitionDensity) -> dict[str, Any] | None:
    """The size of a likelihood that is one grid; other routes find theirs again by themselves."""
    if isinstance(density, FokkerPlanckTransition):
        return {"cells": density.cells, "extrapolate": density.extrapolate}
    return None


__all__ = ["MaximumLikelihood"]
