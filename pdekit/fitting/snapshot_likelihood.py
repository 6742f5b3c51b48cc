"""The estimate of a model with named parameters from unpaired samples of its law."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.estimate import Details, Estimate
from pdekit.fitting.inference.uncertainty import Covariances
from pdekit.fitting.snapshots.estimate import SnapshotEstimate
from pdekit.report import Flag

_TEXT = {
    "grid": "Maximum likelihood of unpaired samples: a law at the first snapshot, a mixture of normal laws, is carried "
    "through time by the Fokker-Planck equation, and its parameters are estimated together with the model's; so "
    "standard errors count what is not known of that law.",
    "weak": "Weak equations: means of test functions at the snapshots obey d/dt E[phi] = E[L phi] with the generator "
    "L, solved by generalised least squares with the covariance of these means.",
}


@dataclass(frozen=True, eq=False)
class SnapshotLikelihood(Estimate):
    """What snapshots say about a model's parameters.

    Args:
        found: The estimate.
    """

    found: SnapshotEstimate

    kind = "snapshots"
    title = "Fit of a stochastic differential equation to snapshots"

    @property
    def theta(self) -> Tensor:
        """See `Estimate`."""
        return self.found.theta

    @property
    def covariances(self) -> Covariances:
        """See `Estimate`."""
        return Covariances(self.found.covariance.numpy(), self.found.sandwich.numpy())

    @property
    def loglik(self) -> float | None:  # type: ignore[override]
        """Of all samples; None for weak equations, which have none."""
        return self.found.loglik

    @property
    def density(self) -> TransitionDensity:
        """Snapshots have no transitions.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("Snapshots are not paired, so there is no transition density to speak of.")

    def density_of(self, pairs: Pairs) -> TransitionDensity:
        """See `density`."""
        return self.density

    @property
    def n_estimated(self) -> float:
        """The model's parameters that were estimated, those at a bound included, without those of the first law."""
        return int(self.found.free.sum()) + len(self.found.at_bound)

    @property
    def converged(self) -> bool:
        """See `Estimate`."""
        return self.found.converged

    @property
    def route(self) -> str:
        """See `Estimate`."""
        return self.found.route

    @property
    def free(self) -> np.ndarray:
        """See `Estimate`."""
        return self.found.free

    @property
    def at_bound(self) -> tuple[str, ...]:
        """See `Estimate`."""
        return self.found.at_bound

    @property
    def details(self) -> Details:
        """See `Estimate`."""
        return (("Method", self.route), *self.found.details)

    @property
    def explanation(self) -> str:
        """See `Estimate`."""
        return _TEXT[self.found.method]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """See `Estimate`."""
        return self.found.flags

    def to_record(self) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """See `Estimate`."""
        found = self.found
        plain = ("loglik", "converged", "method", "route", "settled", "shift")
        record = {name: getattr(found, name) for name in plain}
        record |= {
            "at_bound": list(found.at_bound),
            "details": [list(pair) for pair in found.details],
            "flags": [
                {"severity": f.severity, "title": f.title, "detail": f.detail, "action": f.action, "value": f.value}
                for f in found.flags
            ],
        }
        arrays = {"theta": found.theta, "covariance": found.covariance, "sandwich": found.sandwich}
        return record, {**arrays, "free": torch.from_numpy(found.free.astype(np.uint8))}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor], model: Any) -> "SnapshotLikelihood":
        """The estimate that `to_record` described; the law at the first snapshot is not kept."""
        plain = ("loglik", "converged", "method", "route", "settled", "shift")
        found = SnapshotEstimate(
            model=model,
            theta=arrays["theta"],
            covariance=arrays["covariance"],
            sandwich=arrays["sandwich"],
            free=arrays["free"].numpy().astype(bool),
            at_bound=tuple(record["at_bound"]),
            details=tuple((str(a), str(b)) for a, b in record["details"]),
            flags=tuple(Flag(**flag) for flag in record["flags"]),
            law=None,
            alpha=None,
            **{name: record[name] for name in plain},
        )
        return cls(found)


__all__ = ["SnapshotLikelihood"]
