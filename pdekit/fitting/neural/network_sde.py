"""The SDE that a neural fit returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.fitting.learned import LearnedSDE
from pdekit.fitting.neural.heads import Found
from pdekit.fitting.neural.member import Member, Units
from pdekit.fitting.neural.ridge import Posterior
from pdekit.fitting.neural.step_check import stderrs
from pdekit.report import Flag

if TYPE_CHECKING:
    from pdekit.fitting.sparse.library import Library
    from pdekit.symbolic import SymbolicSDE

_FLAG = ("severity", "title", "detail", "action", "value")


@dataclass(frozen=True, eq=False)
class NeuralHistory:
    """How a training went, round by round; the first entry is the untrained network with its weights found exactly.

    Attributes:
        steps: Steps of each member so far, (r,).
        losses: The mean negative log-likelihood of the batches since the round before, (r,); NaN at the start.
        held_out: The log-likelihood of held-out transitions, their mean, (r,).
        gains: What their sum has gained over the start, (r,).
        errors: The standard error of that, (r,).
        chosen: Which round's network was kept.
    """

    steps: np.ndarray
    losses: np.ndarray
    held_out: np.ndarray
    gains: np.ndarray
    errors: np.ndarray
    chosen: int


class NetworkSDE(LearnedSDE):
    """Drift and noise as the mean of an ensemble of networks; see `LearnedSDE` and `NeuralSDE`.

    Args:
        members: The networks.
        found: What is known of the weights of each.
        states: Some of the observed states, (m, d).
        weight: The information that they stand for: observed time per state of `states`, and transitions per state.
        history: Of the training.
        details: Names and texts for a report.
        flags: What is worth knowing, in plain words.
        **common: What `LearnedSDE` takes.

    Attributes:
        effective: The effective number of parameters, the mean over members.
    """

    kind: ClassVar[str] = "network"

    def __init__(
        self,
        members: list[Member],
        found: list[Found],
        *,
        states: Tensor,
        times: Tensor,
        weight: tuple[float, float],
        history: NeuralHistory,
        details: tuple[tuple[str, str], ...] = (),
        flags: tuple[Flag, ...] = (),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.members, self.found = members, found
        for member in members:
            member.requires_grad_(False)
        self.states, self.times, self.weight, self.history = states, times, weight, history
        self.details, self.flags = tuple(details), tuple(flags)

    @property
    def effective(self) -> float:
        """How many directions in drift and noise the data determine, together."""
        own = [float(f.drift.effective.sum() + f.noise.effective.sum()) for f in self.found]
        mixing = [float(getattr(member, "mixing_effective", 0.0)) for member in self.members]
        return float(np.mean(own) + np.mean(mixing))

    def _flat(self, t: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-1:] != (self.dim,):
            raise InputError(f"States of shape (*batch, {self.dim}) were expected, got {tuple(x.shape)}.")
        flat = x.reshape(-1, self.dim)
        time = torch.as_tensor(t, dtype=torch.float64, device=x.device)
        return time.expand(*x.shape[:-1], 1).reshape(-1, 1), flat.to(torch.float64)

    def drift(self, t: Any, x: Tensor) -> Tensor:
        """f at states (*batch, d), (*batch, d)."""
        at = self._flat(t, x)
        return torch.stack([m.fields(*at)[0] for m in self.members]).mean(0).to(x.dtype).view(x.shape)

    def noise(self, t: Any, x: Tensor) -> Tensor:
        """G, lower triangular, (*batch, d, d): the root of the members' mean G G^T."""
        at = self._flat(t, x)
        if len(self.members) == 1:
            g = self.members[0].fields(*at)[1]
        else:
            factors = [m.fields(*at)[1] for m in self.members]
            tensor = torch.stack([g @ g.mT for g in factors]).mean(0)
            g = (
                torch.diag_embed(tensor.diagonal(dim1=-2, dim2=-1).sqrt())
                if self.diagonal
                else torch.linalg.cholesky(tensor)
            )
        return g.to(x.dtype).view(*x.shape, self.dim)

    def drift_stderr(self, x: Tensor) -> Tensor:
        """Pointwise standard errors of f at states (*batch, d), (*batch, d), at the middle of the time.

        The variance within members, given their units, plus that between them.
        """
        return self._errors(x, 0)

    def diffusion_stderr(self, x: Tensor) -> Tensor:
        """Those of (G G^T)_ii^{1/2}, (*batch, d)."""
        return self._errors(x, 1)

    def _errors(self, x: Tensor, which: int) -> Tensor:
        with torch.no_grad():
            middle = self.members[0].unit_clock[0]
            t, flat = self._flat(middle, x)
            within, centres = [], []
            for member, found in zip(self.members, self.found, strict=True):
                inside = torch.minimum(torch.maximum(flat, member.unit_low), member.unit_high)
                own = stderrs(member, found, t, inside)[which]
                f, g = member.fields(t, flat)
                if which:
                    size = g.square().sum(-1).sqrt()
                    # Only the state's own noise d_i has a posterior of its own: d_i^2 / size is what it adds to the
                    # size.
                    own = own * g.diagonal(dim1=-2, dim2=-1).square() / size
                within.append(own.square())
                centres.append(size if which else f)
            between = torch.stack(centres).var(0, correction=1) if len(centres) > 1 else 0.0
            return (torch.stack(within).mean(0) + between).sqrt().to(x.dtype).view(x.shape)

    def to_symbolic(self, library: "Library | None" = None) -> "SymbolicSDE":
        """A formula with as few terms as stand for the learned functions within their errors.

        See `pdekit.fitting.neural.distil`.

        Args:
            library: Candidate terms for drift and squared noise; by default those of `SparseSDE`.

        Returns:
            A `SymbolicSDE` whose coefficients have names, and whose `defaults` are their values. Fitting it to the
            data,
            `pk.fit(learned.to_symbolic(), data)`, gives them standard errors.
        """
        from pdekit.fitting.neural.distil import distil

        return distil(self, library)

    def to_record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As in `LearnedSDE`."""
        h = self.history
        series = {
            name: [_finite(v) for v in getattr(h, name)] for name in ("steps", "losses", "held_out", "gains", "errors")
        }
        record = {
            **self._common_record(),
            "architecture": [m.architecture for m in self.members],
            "weight": list(self.weight),
            "history": {**series, "chosen": h.chosen},
            "details": [list(pair) for pair in self.details],
            "flags": [{name: getattr(flag, name) for name in _FLAG} for flag in self.flags],
        }
        arrays = {"states": self.states, "times": self.times}
        for k, (member, found) in enumerate(zip(self.members, self.found, strict=True)):
            arrays |= {f"{k}.net.{name}": value for name, value in member.state_dict().items()}
            for part in ("drift", "noise"):
                arrays |= {f"{k}.{part}.{n}": v for n, v in getattr(found, part)._asdict().items()}
        return record, {name: value.detach().cpu().clone() for name, value in arrays.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> "NetworkSDE":
        """As in `LearnedSDE`."""
        common = cls._common_arguments(record)
        try:
            members, found = [], []
            for k, architecture in enumerate(record["architecture"]):
                state = {n.removeprefix(f"{k}.net."): v for n, v in arrays.items() if n.startswith(f"{k}.net.")}
                units = Units(*(state[f"unit_{name}"] for name in Units.__dataclass_fields__))
                member = Member(architecture, units)
                member.load_state_dict(state)
                members.append(member)
                parts = [Posterior(*(arrays[f"{k}.{p}.{n}"] for n in Posterior._fields)) for p in ("drift", "noise")]
                found.append(Found(*parts))
            series = dict(record["history"])
            chosen = int(series.pop("chosen"))
            history = NeuralHistory(
                **{n: np.array([np.nan if v is None else v for v in values]) for n, values in series.items()},
                chosen=chosen,
            )
            return cls(
                members,
                found,
                states=arrays["states"],
                times=arrays["times"],
                weight=(float(record["weight"][0]), float(record["weight"][1])),
                history=history,
                details=tuple((str(name), str(text)) for name, text in record["details"]),
                flags=tuple(Flag(**flag) for flag in record["flags"]),
                **common,
            )
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as cause:
            raise InputError(f"The record of a neural fit is incomplete or damaged ({cause}).") from cause


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


__all__ = ["NetworkSDE", "NeuralHistory"]
