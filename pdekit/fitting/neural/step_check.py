"""Whether Euler steps are good enough at the data's own step, measured in standard errors."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pdekit.fitting.neural.heads import Found, View, find_heads
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.moments import MOST_SUBSTEPS, TurnedSource, biases
from pdekit.fitting.neural.transitions import Rows

# Biases below this many standard errors are left; substeps are doubled until they agree to the second number.
_TOLERATED, _AGREED = 0.5, 0.25
_MOST_TURNS = 8
_STILL = 0.1
_LOST = 0.01  # of the rows may be too long for their substeps


class StepCheck(NamedTuple):
    """What was found.

    Attributes:
        size: The bias that Euler steps would leave in drift or noise, in standard errors (root mean square over
            states), whichever is greater.
        substeps: How many substeps the moments need; 0 if Euler steps are good enough.
    """

    size: float
    substeps: int


def stderrs(member: Member, found: Found, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior standard deviations of the drift and of the log noise at states within reach, (n, d) each."""
    b = member.basis(t, x)
    drift = member.drift_scale * _spread(b, found.drift.covariance)
    return drift, _spread(b[..., : found.noise.mean.shape[1]], found.noise.covariance)


def _spread(b: Tensor, covariance: Tensor) -> Tensor:
    """(b_i^T C_i b_i)^{1/2} of columns (n, 1 or d, p), (n, d)."""
    parts = [torch.einsum("np,pq,nq->n", c, covariance[i], c) for i, c in enumerate(_columns(b, len(covariance)))]
    return torch.stack(parts, -1).clamp_min(0.0).sqrt()


def _columns(b: Tensor, dim: int) -> list[Tensor]:
    return [b[:, 0 if b.shape[1] == 1 else i] for i in range(dim)]


def check_step(member: Member, found: Found, sample: Rows) -> StepCheck:
    """Compare Euler steps with finer ones from the observed states."""
    with torch.no_grad():
        errors = stderrs(member, found, sample.t, sample.x0)
    substeps, coarse = 1, biases(member, sample, 1)
    size = _size(coarse, errors)
    while substeps < MOST_SUBSTEPS:
        fine = biases(member, sample, 2 * substeps)
        size, change = _size(fine, errors), _size(tuple(f - c for f, c in zip(fine, coarse, strict=True)), errors)
        # The finer of two that agree: the weights will move, and explicit steps must not be at the edge of stability.
        substeps, coarse = 2 * substeps, fine
        if change < _AGREED:
            break
    return StepCheck(size, 0 if size < _TOLERATED else substeps)


def _size(parts: tuple[Tensor, ...], errors: tuple[Tensor, Tensor]) -> float:
    """The root mean square over states, relative to that of the standard errors; of the worst state and coefficient."""
    if float(torch.stack([~torch.isfinite(part) for part in parts]).any(-1).double().mean()) > _LOST:
        return float("inf")
    ratios = [
        (part.square().nanmean(0) / error.square().mean(0).clamp_min(1e-300)).amax()
        for part, error in zip(parts, errors, strict=True)
    ]
    value = float(torch.stack(ratios).amax().sqrt())
    return value if value == value else float("inf")


def settle(member: Member, view: View, sample: Rows, substeps: int) -> tuple[Found, Member]:
    """The weights under moments of so many substeps: ends are turned and regressions repeated until nothing moves.

    Args:
        member: Changed in place; its weights come from earlier ends.
        view: The transitions as observed.
        sample: States at which movement is measured.
        substeps: Of the moments, at least one.

    Returns:
        What is known then, and the member whose moments turned the ends of the last regression.
    """
    before = biases(member, sample, substeps)
    for turn in range(_MOST_TURNS):
        turned = TurnedSource(view.source, member, substeps, view.device)
        found = find_heads(member, replace(view, source=turned), sweeps=1)
        now = biases(member, sample, substeps)
        with torch.no_grad():
            errors = stderrs(member, found, sample.t, sample.x0)
        still = _size(tuple(a - b for a, b in zip(now, before, strict=True)), errors) < _STILL
        if still or turn == _MOST_TURNS - 1:
            break
        before = now
    return found, turned.member


__all__ = ["StepCheck", "check_step", "settle", "stderrs"]
