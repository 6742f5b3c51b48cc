"""Drift, correlations and noise of a member as ridge regressions on its columns, each from sums over the data.

Given the noise, the likelihood of Euler steps is quadratic in W: weighted least squares of the increments. Given the
residuals r, r_i on r_j b (j < i) gives the correlations, and the log-variance of what is left is a generalised linear
model, solved by Fisher scoring, whose information 2 sum b b^T does not depend on V.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdekit.fitting.neural.member import Member, factor
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.ridge import Posterior, ridge
from pdekit.fitting.neural.transitions import Rows, Source, pieces

# Numbers in the columns of one portion: some tens of megabytes.
_PORTION = 4_000_000
_REMEMBERED = 20_000_000
_SCORING = 20
_STILL = 0.01  # in log-likelihood
# Correlations of a state with more regressors than this do not depend on the state.
_MOST_REGRESSORS = 600
# One scoring step changes a log noise by no more than this at the typical state.
_MOST_CHANGE = 1.0

Keep = Callable[[Tensor], Tensor]


@dataclass
class View:
    """The transitions that a regression sees.

    Attributes:
        source: All transitions, which Euler steps describe: see `moments`.
        processes: Each takes its share of the pieces.
        device: Where regressions are computed.
        keep: Which transitions count, by their numbers; None for all.
        thin: Every how manieth.
        kept: Columns that were computed before.
    """

    source: Source
    processes: Processes
    device: str
    keep: Keep | None = None
    thin: int = 1
    kept: dict[str, Any] = field(default_factory=dict)

    def columns(self, member: Member) -> Iterator[tuple[Rows, Tensor]]:
        """Transitions and the member's columns at their starts, one portion after the other.

        Columns are kept until another member asks, also for a view of the same transitions with other ends:
        regressions pass over them several times. The network of the member must not move meanwhile.
        """
        if self.kept.get("member") is member:
            yield from zip(self.portions(member), self.kept["columns"], strict=True)
            return
        n = sum(self.source.counts) // self.thin
        small = n * member.columns * (1 if member.shared else member.dim) <= _REMEMBERED
        done = []
        for rows in self.portions(member):
            b = member.basis(rows.t, rows.x0)
            if small:
                done.append(b)
            yield rows, b
        if small:
            self.kept.update(member=member, columns=done)

    def portions(self, member: Member) -> Iterator[Rows]:
        """Transitions, one portion after the other."""
        most = max(256, _PORTION // (member.columns * (1 if member.shared else member.dim)))
        for rows in pieces(self.source, most, self.processes.rank, self.processes.count, self.thin):
            rows = rows.to(self.device)
            if self.keep is not None:
                rows = rows.at(self.keep(rows.index))
            if len(rows):
                yield rows


@dataclass(frozen=True)
class Found:
    """What is known of the weights of a member.

    Attributes:
        drift: Of W.
        noise: Of V.
    """

    drift: Posterior
    noise: Posterior

    @property
    def evidence(self) -> float:
        """The log marginal likelihood of the drift, up to a constant of the data."""
        return float(self.drift.evidence.sum())


def find_heads(member: Member, view: View, *, sweeps: int = 2) -> Found:
    """Set W, M and V of a member to their posterior means.

    Args:
        member: Changed in place.
        view: The transitions.
        sweeps: How often drift and noise are found in turn.
    """
    with torch.no_grad():
        for _ in range(sweeps):
            drift = find_drift(member, view)
            if member.noise_form == "cholesky" and member.dim > 1:
                _find_mixing(member, view)
            noise = _find_noise(member, view)
        return Found(drift, noise)


def groups(member: Member) -> list[Tensor]:
    """The columns that share a ridge: the linear part, and the network's units."""
    straight, p = torch.arange(1, member.straight), torch.arange(member.straight, member.columns)
    return [g for g in (p, straight) if len(g)]


def find_drift(member: Member, view: View, *, straight: bool = False) -> Posterior:
    """W by weighted least squares; with `straight`, of the linear part alone."""
    with torch.no_grad():
        d, p = member.dim, member.columns
        one_weight = member.shared and member.noise_form == "constant"
        information = member.drift_head.new_zeros(1 if one_weight else d, p, p)
        target = member.drift_head.new_zeros(d, p)
        s = member.drift_scale
        for rows, b in view.columns(member):
            variance = factor(member.log_noise_from(b), member.mixing_from(b)).square().sum(-1)
            step = (rows.x1 - rows.x0) * s / variance
            target += step.mT @ b[:, 0] if member.shared else torch.einsum("ni,nip->ip", step, b)
            weight = rows.dt if one_weight else rows.dt * s.square() / variance
            for i in range(len(information)):
                columns = b[:, 0 if member.shared else i]
                information[i] += (columns * weight[:, i, None]).mT @ columns
        view.processes.sum([information, target])
        if one_weight:
            # Constant noise may still be correlated; its variances are those of any state.
            information = information * (s.square() / variance[0])[:, None, None]
        if straight:
            q = member.straight
            found = ridge(information[:, :q, :q], target[:, :q], [g for g in groups(member) if int(g[0]) < q])
            member.drift_head.zero_()
            member.drift_head[:, :q] = found.mean
            return found
        found = ridge(information, target, groups(member))
        member.drift_head.copy_(found.mean)
        return found


def _find_mixing(member: Member, view: View) -> None:
    d, p = member.dim, member.columns
    widths = [p if i * p <= _MOST_REGRESSORS else 1 for i in range(d)]
    information = [member.drift_head.new_zeros(1, i * w, i * w) for i, w in enumerate(widths)]
    target = [member.drift_head.new_zeros(1, i * w) for i, w in enumerate(widths)]
    for rows, b in view.columns(member):
        miss = rows.x1 - rows.x0 - member.drift_from(b) * rows.dt
        weight = torch.exp(-2.0 * member.log_noise_from(b)) / rows.dt
        standard = miss / member.unit_noise
        for i in range(1, d):
            columns = b[:, 0 if member.shared else i, : widths[i]]
            regressors = (standard[:, :i, None] * columns[:, None]).flatten(1)
            weighted = regressors * (weight[:, i, None] * member.unit_noise[i].square())
            information[i] += weighted.mT @ regressors
            target[i] += weighted.mT @ standard[:, i]
    view.processes.sum(information[1:] + target[1:])
    member.mixing_head.zero_()
    member.mixing_effective.zero_()
    for i in range(1, d):
        numbers = torch.arange(i * widths[i])
        inner = numbers[numbers % widths[i] > 0]
        found = ridge(information[i], target[i], [inner] if len(inner) else [])
        member.mixing_head[i, :i, : widths[i]] = found.mean.view(i, widths[i])
        member.mixing_effective += found.effective.sum()


def _find_noise(member: Member, view: View) -> Posterior:
    d, p = member.dim, member.noise_head.shape[1]
    found = None
    information = member.noise_head.new_zeros(d, p, p)
    for trial in range(_SCORING if p > 1 else 1):
        score, count = member.noise_head.new_zeros(d, p), member.noise_head.new_zeros(1)
        for rows, b in view.columns(member):
            miss = rows.x1 - rows.x0 - member.drift_from(b) * rows.dt
            phi = member.mixing_from(b)
            if phi is not None:
                miss = miss - (phi @ miss[..., None])[..., 0]
            ratio = miss.square() / rows.dt * torch.exp(-2.0 * member.log_noise_from(b))
            count += len(rows)
            columns = b[..., :p]
            if p == 1:
                score += ratio.sum(0)[:, None]
                continue
            excess = ratio - 1.0
            score += excess.mT @ columns[:, 0] if member.shared else torch.einsum("ni,nip->ip", excess, columns)
            if trial == 0:
                gram = torch.einsum("nip,niq->ipq", columns, columns)
                information += 2.0 * gram
        view.processes.sum([score, count] + ([information] if trial == 0 else []))
        if p == 1:
            # The mean of the squares is the answer itself.
            member.noise_head.add_(0.5 * torch.log((score / count).clamp_min(1e-300)))
            flat = torch.zeros_like(member.noise_head)
            return Posterior(
                member.noise_head.clone(), (0.5 / count).expand(d, 1, 1).clone(), flat, flat[:, 0], flat[:, 0] + 1.0
            )
        found = ridge(information, score + (information @ member.noise_head[..., None])[..., 0], groups(member))
        change = found.mean - member.noise_head
        size = torch.einsum("ip,ipq,iq->i", change, information, change).div(2.0 * count).sqrt()
        member.noise_head.add_(change * (_MOST_CHANGE / size.clamp_min(_MOST_CHANGE))[:, None])
        if trial and bool((size.square() * count < _STILL).all()):
            break
    return found  # type: ignore[return-value]


__all__ = ["Found", "View", "find_drift", "find_heads", "groups"]
