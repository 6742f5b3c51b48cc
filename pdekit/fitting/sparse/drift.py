"""The drift's coefficients from the mean of the steps: a quasi-likelihood whose weights stay fixed while they move.

With m and V as in `Step`, Q(B) = 1/2 sum_i (x1 - m)^T V^{-1} (x1 - m). Its gradient has mean zero at the truth whether
or not the steps are Gaussian, as far as m is right (Wedderburn 1974).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import NumericalError
from pdekit.fitting.sparse.step import Step

# Slopes of n steps in d states by a coefficients: chunks of about this many numbers stay in the cache.
_CHUNK = 400_000
_MOST_ITERATIONS = 30
_STILL = 1e-8


@dataclass(frozen=True)
class Steps:
    """Observed steps in the shapes that `Step` takes: t and dt (n, 1), x0 and x1 (n, d)."""

    t: Tensor
    dt: Tensor
    x0: Tensor
    x1: Tensor

    @classmethod
    def of(cls, pairs: Pairs) -> "Steps":
        """All transitions."""
        return cls(pairs.t[:, None], pairs.dt[:, None], pairs.x0, pairs.x1)

    def __len__(self) -> int:
        return len(self.dt)

    def at(self, rows: Tensor) -> "Steps":
        """Those of these rows."""
        return Steps(self.t[rows], self.dt[rows], self.x0[rows], self.x1[rows])

    def thinned(self, most: int) -> "Steps":
        """At most so many, evenly chosen."""
        return self.at(torch.linspace(0, len(self) - 1, min(len(self), most)).long())


@dataclass(frozen=True)
class Sums:
    """Score (a,), information (a, a) and misfit Q of the active coefficients."""

    score: np.ndarray
    information: np.ndarray
    misfit: float


def whitening(step: Step, steps: Steps) -> Tensor:
    """L^{-1} of V = L L^T, (n, d, d).

    Raises:
        NumericalError: If a covariance is not finite or not positive definite.
    """
    with torch.no_grad():
        covariance = step.covariance(steps.t, steps.dt, steps.x0)
        if covariance.shape[-1] == 1:
            white = covariance.rsqrt()
        else:
            factor, _ = torch.linalg.cholesky_ex(covariance)
            white = torch.linalg.solve_triangular(factor, torch.eye(covariance.shape[-1]).double(), upper=False)
    if not bool(torch.isfinite(white).all()):
        raise NumericalError("The covariance of a step is not positive definite.")
    return white


def _whiten(white: Tensor, columns: Tensor) -> Tensor:
    """(n, d, d) by (n, d, a); for one state a product of numbers, which is far faster than one of small matrices."""
    return white * columns if white.shape[-1] == 1 else white @ columns


def misses(step: Step, steps: Steps) -> Tensor:
    """x1 - m, (n, d)."""
    with torch.no_grad():
        return steps.x1 - step.mean(steps.t, steps.dt, steps.x0)


def sums(step: Step, steps: Steps, white: Tensor, active: np.ndarray) -> Sums:
    """Score, information and misfit of the active coefficients, (d p,) bool, at the step's own."""
    positions = torch.from_numpy(np.flatnonzero(active))
    a, d = len(positions), steps.x0.shape[1]
    score, information, misfit = torch.zeros(a).double(), torch.zeros(a, a).double(), 0.0
    with torch.no_grad():
        for rows in torch.arange(len(steps)).split(max(1, _CHUNK // max(1, a * d))):
            part = steps.at(rows)
            mean, slopes = step.mean_and_slopes(part.t, part.dt, part.x0, positions)
            columns = torch.cat([slopes, (part.x1 - mean)[..., None]], -1)
            whitened = _whiten(white[rows], columns).flatten(0, 1)
            design, miss = whitened[:, :-1], whitened[:, -1]
            score += design.T @ miss
            information += design.T @ design
            misfit += 0.5 * float(miss @ miss)
    return Sums(score.numpy(), information.numpy(), misfit)


def _misfit(step: Step, steps: Steps, white: Tensor) -> float:
    return 0.5 * float(_whiten(white, misses(step, steps)[..., None]).square().sum())


def refit(step: Step, steps: Steps, white: Tensor, active: np.ndarray, start: np.ndarray) -> Step:
    """The step whose active coefficients minimise Q, by Gauss-Newton.

    Args:
        step: Its terms and noise.
        steps: The observations.
        white: The weights, from `whitening`.
        active: Which coefficients move, (d p,) bool; the others are zero.
        start: Coefficients to start from, (d p,).

    Raises:
        NumericalError: If the mean of a step is not finite: the steps are too long to follow the drift.
    """
    flat = np.where(active, start, 0.0)
    now = _with(step, flat)
    if not active.any():
        return now
    for _ in range(_MOST_ITERATIONS):
        found = sums(now, steps, white, active)
        if not np.isfinite(found.misfit) or not np.isfinite(found.information).all():
            raise NumericalError("The drift cannot be followed over a step.")
        size = np.sqrt(np.diag(found.information))
        move = np.linalg.solve(found.information / np.outer(size, size), found.score / size) / size
        if 0.5 * float(move @ found.score) < _STILL:
            return now
        for share in (1.0, 0.5, 0.25, 0.1, 0.02):
            trial = flat.copy()
            trial[active] += share * move
            candidate = _with(step, trial)
            if _misfit(candidate, steps, white) < found.misfit:
                flat, now = trial, candidate
                break
        else:
            return now
        if not step.second_order:
            return now
    return now


def _with(step: Step, flat: np.ndarray) -> Step:
    p = len(step.terms)
    return replace(step, drift=torch.from_numpy(flat.reshape(-1, p).T.copy()))


def flat_coefficients(step: Step) -> np.ndarray:
    """B state by state, (d p,)."""
    return step.drift.T.flatten().numpy()
