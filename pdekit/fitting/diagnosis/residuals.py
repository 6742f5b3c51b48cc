"""Residuals of a fit: independent and standard normal if the model holds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from pdekit.fitting.coefficients import Model
from pdekit.fitting.densities.choose import resolved, transition_density
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.protocol import TransitionDensity, select_pairs
from pdekit.fitting.evidence import Evidence

# Distribution functions cost far more than densities; this many residuals see every effect worth a warning.
MOST_RESIDUALS = 10_000
_BLOCKS = 20
_SCORE_STEP = 0.02


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of some or all pairs, and the scores of all.

    Attributes:
        positions: Which pairs the residuals belong to, (n,): all, or contiguous blocks of a long record.
        pit: P(X <= x1 | x0) under the fitted model, (n,), uniform if it holds; None for several states.
        values: For one state the normal quantile of `pit`, (n, 1), exact at any step; for several the
            standardised miss of the normal density that was used, or of one Euler step, (n, d).
        path: The path of each residual, (n,).
        scores: d log p / d theta of every pair, (N, k); 0 for parameters that were held.
    """

    positions: np.ndarray
    pit: np.ndarray | None
    values: np.ndarray
    path: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence) -> "Residuals":
        """The residuals at the estimate."""
        positions = _blocks(len(evidence.pairs))
        scores = score_differences(
            evidence.density, len(evidence.pairs), evidence.model, evidence.theta, evidence.covariance
        )
        path = evidence.pairs.path.numpy()[positions]
        pairs = select_pairs(evidence.pairs, torch.from_numpy(positions))
        if hasattr(evidence.density, "states"):
            return cls._of_filter(evidence, positions, path, scores)
        density = evidence.density
        if len(positions) < len(evidence.pairs):
            density = transition_density(evidence.model, pairs, evidence.theta, resolved(density, "auto"))  # type: ignore[arg-type]
        if evidence.model.dim > 1:
            if not isinstance(density, GaussianTransition):
                density = EulerTransition(evidence.model, pairs)
            return cls(positions, None, density.residuals(evidence.theta).numpy(), path, scores)
        pit = density.cdf(evidence.theta).numpy()
        # Beyond eight standard deviations a distribution function near 1 has no digits left.
        return cls(positions, pit, ndtri(pit.clip(1e-16, 1.0 - 1e-16))[:, None], path, scores)

    @classmethod
    def _of_filter(cls, evidence: Evidence, positions: np.ndarray, path: np.ndarray, scores: np.ndarray) -> "Residuals":
        """Innovations, which a filter standardises itself: all of them, as each needs what came before."""
        density: Any = evidence.density
        if len(evidence.data.names) > 1:
            return cls(positions, None, density.residuals(evidence.theta).numpy()[positions], path, scores)
        pit = density.cdf(evidence.theta).numpy()[positions]
        return cls(positions, pit, ndtri(pit.clip(1e-16, 1.0 - 1e-16))[:, None], path, scores)

    def previous(self, lag: int) -> np.ndarray:
        """The index of the residual `lag` steps earlier on the same path, -1 where there is none, (n,)."""
        index = np.arange(len(self.positions)) - lag
        earlier = index.clip(min=0)
        same = (self.path[earlier] == self.path) & (self.positions - self.positions[earlier] == lag) & (index >= 0)
        return np.where(same, index, -1)

    @property
    def own_scores(self) -> np.ndarray:
        """The scores of the pairs that the residuals belong to, (n, k)."""
        return self.scores[self.positions]


def _blocks(total: int) -> np.ndarray:
    if total <= MOST_RESIDUALS:
        return np.arange(total)
    length = MOST_RESIDUALS // _BLOCKS
    first = np.linspace(0, total - length, _BLOCKS).astype(np.int64)
    return (first[:, None] + np.arange(length)).ravel()


@torch.no_grad()
def score_differences(
    density: TransitionDensity, count: int, model: Model, theta: Tensor, covariance: Tensor
) -> np.ndarray:
    """d log p / d theta of every pair of `density`, of which there are `count`, (n, k)."""
    if not len(theta):
        return np.zeros((count, 0))
    errors = covariance.diagonal().clamp_min(0.0).sqrt().tolist()
    scores = np.zeros((count, len(theta)))
    for i, (name, error) in enumerate(zip(model.param_names, errors, strict=True)):
        lower, upper = model.params[name]
        step = torch.zeros_like(theta)
        step[i] = min(_SCORE_STEP * error, 0.5 * (float(theta[i]) - lower), 0.5 * (upper - float(theta[i])))
        if step[i] > 0.0:
            ahead, behind = theta + step, theta - step
            difference = density.log_density(ahead) - density.log_density(behind)
            scores[:, i] = (difference / (ahead[i] - behind[i])).numpy()
    return np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
