"""The estimate that is a pair of functions: drift and noise without named parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.protocol import TransitionDensity
from pdekit.fitting.estimate import Details, Estimate
from pdekit.fitting.inference.uncertainty import Covariances
from pdekit.fitting.learned import LearnedSDE
from pdekit.report import Flag

# Where the models of each kind are defined: "module:class".
_HOMES = {
    "kernel": "pdekit.fitting.kramers_moyal:KernelSDE",
    "network": "pdekit.fitting.neural:NetworkSDE",
    "matched": "pdekit.fitting.snapshots:MatchedSDE",
}
_NONE = torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class LearnedEstimate(Estimate):
    """Learned coefficients.

    Args:
        model: The learned SDE.
        pairs: The transitions it was learned from; None of snapshots, which have no likelihood then.
        text: How, in a few sentences.
        facts: Names and values for the section on the method.
        remarks: What the way of learning has to say.
        effective: The effective number of parameters; None where that has no meaning.
    """

    model: LearnedSDE
    pairs: Pairs | None
    text: str
    facts: Details = ()
    remarks: tuple[Flag, ...] = ()
    effective: float | None = None

    kind = "learned"
    title = "Learned drift and diffusion of a stochastic differential equation"

    @property
    def theta(self) -> Tensor:
        """None: (0,)."""
        return _NONE

    @property
    def covariances(self) -> Covariances:
        """None: (0, 0)."""
        return Covariances(np.zeros((0, 0)), np.zeros((0, 0)))

    @cached_property
    def density(self) -> TransitionDensity:  # type: ignore[override]
        """See `Estimate`.

        Raises:
            UnsupportedError: Of snapshots.
        """
        if self.pairs is None:
            raise UnsupportedError("Snapshots are not paired, so there is no transition density to speak of.")
        return self.density_of(self.pairs)

    def density_of(self, pairs: Pairs) -> TransitionDensity:
        """See `Estimate`."""
        return transition_density(self.model, pairs, _NONE)

    @cached_property
    def loglik(self) -> float | None:  # type: ignore[override]  # computed once, and absent of snapshots
        """See `Estimate`; None of snapshots."""
        if self.pairs is None:
            return None
        with torch.no_grad():
            return float(self.density.log_density(_NONE).sum())

    @property
    def n_estimated(self) -> float | None:
        """See `Estimate`."""
        return self.effective

    @property
    def converged(self) -> bool:
        """Nothing was searched for that could have been missed; what is doubtful stands among the flags."""
        return True

    @property
    def route(self) -> str:
        """See `Estimate`."""
        return "none: laws are matched" if self.pairs is None else self.density.route

    @property
    def details(self) -> Details:
        """See `Estimate`."""
        return (("Likelihood", self.route), *self.facts)

    @property
    def explanation(self) -> str:
        """See `Estimate`."""
        return self.text

    @property
    def flags(self) -> tuple[Flag, ...]:
        """See `Estimate`."""
        return self.remarks

    def to_record(self) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """See `Estimate`."""
        model, arrays = self.model.to_record()
        flags = [
            {"severity": f.severity, "title": f.title, "detail": f.detail, "action": f.action, "value": f.value}
            for f in self.remarks
        ]
        record = {
            "model": model,
            "text": self.text,
            "facts": [list(fact) for fact in self.facts],
            "flags": flags,
            "effective": self.effective,
        }
        return record, {f"model.{name}": value for name, value in arrays.items()}

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor], pairs: Pairs | None
    ) -> "LearnedEstimate":
        """The estimate that `to_record` described."""
        own = {name.removeprefix("model."): value for name, value in arrays.items() if name.startswith("model.")}
        return cls(
            model=_model_class(record["model"]["kind"]).from_record(record["model"], own),
            pairs=pairs,
            text=str(record["text"]),
            facts=tuple((str(name), str(value)) for name, value in record["facts"]),
            remarks=tuple(Flag(**flag) for flag in record["flags"]),
            effective=None if record["effective"] is None else float(record["effective"]),
        )


def _model_class(kind: Any) -> type[LearnedSDE]:
    if kind not in _HOMES:
        raise InputError(
            f"The saved fit is of a learned SDE of kind {kind!r}; known are {', '.join(_HOMES) or 'none'}."
        )
    module, name = _HOMES[kind].split(":")
    return getattr(import_module(module), name)


__all__ = ["LearnedEstimate"]
