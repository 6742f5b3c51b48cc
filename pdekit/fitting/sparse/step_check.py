"""Whether the steps are short enough for the mean and covariance that the selection rests on."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fitting.sparse.drift import Steps, sums, whitening
from pdekit.fitting.sparse.fine import Selection
from pdekit.fitting.sparse.step import Step

_MOST_STEPS = 2_000


def bias_of_step(found: Selection, steps: Steps) -> float:
    """How far the step's error moves the worst coefficient in the model, in standard errors; infinite if beyond reach.

    Two steps of dt/2, the points between them spread by the covariance of the first, are nearer to the truth than one:
    of an error of order dt^3 they keep a quarter (of Euler's, of order dt^2, a half). The difference, so enlarged, goes
    through the same equations as the data.
    """
    some = steps.thinned(_MOST_STEPS)
    share = len(steps) / len(some)
    try:
        with torch.no_grad():
            mean, covariance = _two_halves(found.step, some)
            one = found.step.covariance(some.t, some.dt, some.x0)
            factor = 4.0 / 3.0 if found.step.second_order else 2.0
            off = factor * (mean - found.step.mean(some.t, some.dt, some.x0))
            growth = factor * ((covariance - one) / one).diagonal(dim1=-2, dim2=-1)
        shifts = [_drift_shift(found, some, off, share), *_noise_shifts(found, some, growth, share)]
    except (NumericalError, np.linalg.LinAlgError):
        return math.inf
    worst = max((float(np.abs(shift).max(initial=0.0)) for shift in shifts), default=0.0)
    return worst if math.isfinite(worst) else math.inf


def _two_halves(step: Step, steps: Steps) -> tuple[Tensor, Tensor]:
    """Mean (n, d) and covariance (n, d, d) of two steps of half the length."""
    half = steps.dt / 2
    n, d = steps.x0.shape
    mean = step.mean(steps.t, half, steps.x0)
    root, _ = torch.linalg.cholesky_ex(step.covariance(steps.t, half, steps.x0))
    spread = math.sqrt(d) * torch.cat([root, -root], -1).mT  # (n, 2d, d): symmetric points with that covariance
    points = (mean[:, None] + spread).flatten(0, 1)
    late, wide = (steps.t + half).repeat_interleave(2 * d, 0), half.repeat_interleave(2 * d, 0)
    ends = step.mean(late, wide, points).view(n, 2 * d, d)
    inner = step.covariance(late, wide, points).view(n, 2 * d, d, d).mean(1)
    center = ends.mean(1)
    away = ends - center[:, None]
    return center, inner + (away.mT @ away) / (2 * d)


def _drift_shift(found: Selection, steps: Steps, off: Tensor, share: float) -> np.ndarray:
    if not found.active.any():
        return np.zeros(0)
    # Observations that lie off the mean by exactly the error: their score is what the error adds to the data's.
    ahead = replace(steps, x1=found.step.mean(steps.t, steps.dt, steps.x0) + off)
    wrong = sums(found.step, ahead, whitening(found.step, steps), found.active)
    if not np.isfinite(wrong.score).all():
        raise NumericalError("The error of a step is not finite.")
    inverse = np.linalg.inv(wrong.information * share)
    return inverse @ (wrong.score * share) / np.sqrt(np.diag(inverse))


def _noise_shifts(found: Selection, steps: Steps, growth: Tensor, share: float) -> list[np.ndarray]:
    shifts = []
    columns = found.step.noise.terms.value(steps.t, steps.x0).numpy()
    for i, choice in enumerate(found.noise):
        inside = columns[:, choice.chosen]
        variance = inside @ choice.coefficients[choice.chosen]
        weighted = inside / (2.0 * variance**2)[:, None]
        inverse = np.linalg.inv(weighted.T @ inside * share)
        shifts.append(inverse @ (weighted.T @ (variance * growth[:, i].numpy()) * share) / np.sqrt(np.diag(inverse)))
    return shifts
