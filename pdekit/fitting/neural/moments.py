"""Steps that are too long for Euler: the mean and covariance that a normal law would have after them.

    m' = E f(X),   C' = E[(X - m) f(X)^T] + E[f(X) (X - m)^T] + E[G G^T](X),   X ~ N(m, C),

with expectations over the 2 d points m +- sqrt(d) C^{1/2} e_j, exact for cubic f and G G^T (Arasaratnam and Haykin
2009,
IEEE Trans. Automat. Control 54; Sarkka 2007, ibid. 52). No derivatives of the network are needed.

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

from pdekit.fitting.neural.member import Member, factor
from pdekit.fitting.neural.transitions import Rows, Source

MOST_SUBSTEPS = 32
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
    """The moments after each step, by the midpoint rule over so many substeps."""
    dim = member.dim
    at_once = max(1, _AT_ONCE // (2 * dim * max(dim * dim, member.columns)))
    parts = [_predict(member, rows.at(slice(k, k + at_once)), substeps) for k in range(0, max(1, len(rows)), at_once)]
    return parts[0] if len(parts) == 1 else Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _predict(member: Member, rows: Rows, substeps: int) -> Prediction:
    with torch.no_grad():
        drift, noise = member.fields(rows.t, rows.x0)
        f, s = drift, noise @ noise.mT
        mean, h = rows.x0, rows.dt / substeps
        covariance = torch.zeros_like(s)
        for k in range(substeps):
            t = rows.t + k * h
            if k:
                f, s = _slopes(member, t, mean, covariance)
            middle = mean + 0.5 * h * f, covariance + 0.5 * h[..., None] * s
            f, s = _slopes(member, t + 0.5 * h, *middle)
            mean, covariance = mean + h * f, covariance + h[..., None] * s
        return Prediction(mean, torch.linalg.cholesky_ex(covariance)[0], drift, noise)


def _slopes(member: Member, t: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    d = member.dim
    root = torch.linalg.cholesky_ex(covariance)[0].mT * d**0.5  # (n, d directions, d)
    offsets = torch.cat([root, -root], 1)
    x = (mean[:, None] + offsets).flatten(0, 1)
    f, log_noise, phi = member.anywhere(t.repeat_interleave(2 * d, 0), x)
    f = f.view(offsets.shape)
    if phi is None:
        tensor = torch.diag_embed(torch.exp(2.0 * log_noise).view(offsets.shape).mean(1))
    else:
        g = factor(log_noise, phi)
        tensor = (g @ g.mT).view(*offsets.shape, d).mean(1)
    across = offsets.mT @ f / (2 * d)
    return f.mean(1), across + across.mT + tensor


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
