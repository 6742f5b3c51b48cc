"""Steps that are too long for Euler: the mean and covariance that a normal law would have after them.

Regressions know Euler steps only. So each observed end x1 is replaced by the one that an Euler step would have reached
from the same x0 with the same standardised surprise: x0 + f dt + G sqrt(dt) C^{-1/2} (x1 - m). Where the regression on
such ends returns the coefficients they were made with, sum_i b_i G^{-T} C^{-1/2} (x1_i - m_i) = 0: an estimating
function whose mean is zero at the truth as far as m is right, whatever the law of x1 (Bibby and Sorensen 1995,
Bernoulli 1).
"""

import copy
import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pdekit.fitting.densities.cubature import covariance_root, normal_moments
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.transitions import Rows, Source

MOST_SUBSTEPS = 16
# Numbers: in ends that are kept, and in what is worked on at once.
_REMEMBERED, _AT_ONCE = 20_000_000, 20_000_000


class Prediction(NamedTuple):
    """A normal law after each step, and the coefficients at its start.

    Attributes:
        mean, root: Its mean (n, d) and the Cholesky factor of its covariance (n, d, d).
        drift, noise: f (n, d) and G (n, d, d) at the start.
    """

    mean: Tensor
    root: Tensor
    drift: Tensor
    noise: Tensor


def predict(member: Member, rows: Rows, substeps: int) -> Prediction:
    """The moments after each step, integrated over so many substeps; NaN where these are too long."""
    dim = member.dim
    at_once = max(1, _AT_ONCE // (2 * dim * max(dim * dim, member.columns)))
    parts = [_predict(member, rows.at(slice(k, k + at_once)), substeps) for k in range(0, max(1, len(rows)), at_once)]
    return parts[0] if len(parts) == 1 else Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _predict(member: Member, rows: Rows, substeps: int) -> Prediction:
    def rates(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        f, g = member.fields(t, x)
        return f, g @ g.mT

    with torch.no_grad():
        mean, covariance = normal_moments(rates, rows.t, rows.x0, rows.dt, substeps)
        return Prediction(mean, covariance_root(covariance), *member.fields(rows.t, rows.x0))


def euler_ends(member: Member, rows: Rows, substeps: int) -> Rows:
    """The same transitions with the ends that Euler steps would have reached."""
    law = predict(member, rows, substeps)
    step = law.drift * rows.dt + (law.noise @ _white(law, rows)[..., None])[..., 0] * rows.dt.sqrt()
    # A row whose moments ran away keeps its own end: one Euler step.
    sound = torch.isfinite(step).all(-1, keepdim=True)
    return replace(rows, x1=torch.where(sound, rows.x0 + step, rows.x1))


def log_density(member: Member, rows: Rows, substeps: int) -> Tensor:
    """Log-density of each transition, (n,): Euler's without substeps, else of the normal law with these moments."""
    with torch.no_grad():
        euler = member.log_density(rows)
        if not substeps:
            return euler
        law = predict(member, rows, substeps)
        sizes = law.root.diagonal(dim1=-2, dim2=-1)
        value = -(0.5 * _white(law, rows).square() + torch.log(sizes) + 0.5 * math.log(2.0 * math.pi)).sum(-1)
        return torch.where(torch.isfinite(value), value, euler)


def _white(law: Prediction, rows: Rows) -> Tensor:
    """C^{-1/2} (x1 - m), (n, d)."""
    return torch.linalg.solve_triangular(law.root, (rows.x1 - law.mean)[..., None], upper=False)[..., 0]


def biases(member: Member, rows: Rows, substeps: int) -> tuple[Tensor, Tensor]:
    """What Euler steps would put into drift and log noise of these states, (n, d) each, in their own units."""
    law = predict(member, rows, substeps)
    own, grown = law.noise.square().sum(-1), law.root.square().sum(-1) / rows.dt
    return (law.mean - rows.x0) / rows.dt - law.drift, 0.5 * torch.log(grown / own)


class TurnedSource:
    """Transitions whose ends are those that Euler steps would have reached, as a member's moments say.

    Args:
        source: The transitions.
        member: Whose moments; a copy is kept.
        substeps: Of the moments.
        device: Where the member is.

    Attributes:
        member: The copy.
    """

    def __init__(self, source: Source, member: Member, substeps: int, device: str) -> None:
        self.names, self.counts = source.names, source.counts
        self._source, self.member, self._substeps, self._device = source, copy.deepcopy(member), substeps, device
        self._remembers = sum(source.counts) * member.dim <= _REMEMBERED
        self._pieces: dict[int, Rows] = {}

    def piece(self, number: int) -> Rows:
        """One piece; see `Source`."""
        if number in self._pieces:
            return self._pieces[number]
        rows = euler_ends(self.member, self._source.piece(number).to(self._device), self._substeps).to("cpu")
        if self._remembers:
            self._pieces[number] = rows
        return rows

    def identity(self) -> str:
        """As the source."""
        return self._source.identity()


__all__ = ["MOST_SUBSTEPS", "Prediction", "TurnedSource", "biases", "euler_ends", "log_density", "predict"]
