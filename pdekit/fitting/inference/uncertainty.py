"""Error bars of a maximum-likelihood estimate: observed information, sandwich, and profile likelihood."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from pdekit.errors import ConvergenceError
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.maximum import Maximum
from pdekit.fitting.inference.optimise import descend, difference_steps

# Profiles stop here; a likelihood this flat in both directions has no interval.
_FARTHEST = 12.0
_MOST_POINTS = 20
# More than rounding and the steps of the search leave.
_BETTER = 0.05


@dataclass(frozen=True)
class Covariances:
    """Covariances of the estimate, (k, k) in natural parameters; zero rows where a parameter was not estimated.

    Attributes:
        observed: The inverse observed information H^{-1}.
        sandwich: H^{-1} (sum_i s_i s_i^T) H^{-1} with the scores s_i of the transitions, right also where the model is
            wrong (White 1982), as long as it predicts each step's mean score.
    """

    observed: np.ndarray
    sandwich: np.ndarray


def covariances(maximum: Maximum) -> Covariances:
    """Both covariances at the maximum; NaN where the Hessian is not positive definite."""
    minimum, objective, free = maximum.minimum, maximum.objective, maximum.free
    k = len(free)
    observed, sandwich = np.zeros((k, k)), np.zeros((k, k))
    index = np.ix_(free, free)
    if not np.isfinite(minimum.decrement):
        observed[index] = sandwich[index] = np.nan
        return Covariances(observed, sandwich)
    if not free.any():
        return Covariances(observed, sandwich)
    inverse = np.linalg.inv(minimum.hessian)
    slope = objective.slope(maximum.point)
    scores = objective.scores(minimum.point, difference_steps(inverse, minimum.point, np.ones(len(minimum.point))))
    meat = scores.T @ scores
    outer = np.outer(slope, slope)
    observed[index] = outer * inverse
    sandwich[index] = outer * (inverse @ meat @ inverse)
    return Covariances(observed, sandwich)


def profile_interval(maximum: Maximum, position: int, level: float = 0.95) -> tuple[float, float]:
    """The values of one parameter that a likelihood-ratio test at this level keeps.

    All other parameters are maximised over at each value. An end is infinite, or the parameter's bound, where the
    likelihood never falls enough.

    Args:
        maximum: The maximum.
        position: Which parameter; it must be free.
        level: The confidence level.

    Raises:
        ConvergenceError: If the profile meets a higher likelihood than the estimate's, or no end can be found.
    """
    which = int(np.flatnonzero(np.flatnonzero(maximum.free) == position)[0])
    walker = _Profile(maximum.objective, maximum.minimum.point, maximum.minimum.hessian, which)
    # The profile is walked on the objective's own grid; its ends move with the maximum when that is extrapolated.
    correction = maximum.correction[which]
    threshold = float(ndtri(0.5 + 0.5 * level))
    ends = [walker.end(sign, threshold) for sign in (-1.0, 1.0)]
    bounds = maximum.objective.bounds[which]
    natural = [
        bounds[side] if end is None else float(maximum.objective.natural(walker.at(end + correction))[which])
        for side, end in enumerate(ends)
    ]
    return min(natural), max(natural)


class _Profile:
    """Walks along one transformed parameter with the others at their conditional maximum."""

    def __init__(self, objective: NegativeLogLikelihood, point: np.ndarray, hessian: np.ndarray, which: int) -> None:
        self._objective, self._point, self._which = objective, point, which
        self._others = np.arange(len(point)) != which
        self._inverse = np.linalg.inv(hessian[np.ix_(self._others, self._others)])
        # Along the valley the others move by this much per unit of the profiled one.
        self._valley = -self._inverse @ hessian[self._others, which]
        self._error = float(np.sqrt(np.linalg.inv(hessian)[which, which]))
        self._floor = objective(point)[0]

    def at(self, coordinate: float) -> np.ndarray:
        """The maximum's point with only the profiled parameter changed."""
        point = self._point.copy()
        point[self._which] = coordinate
        return point

    def end(self, sign: float, threshold: float) -> float | None:
        """Where the signed root of the likelihood ratio meets the threshold; None if it never does."""
        start = self._point[self._which]
        others = self._point[self._others]
        done = 0.0
        ahead = threshold * self._error
        below: tuple[float, float] = (0.0, 0.0)
        above: tuple[float, float] | None = None
        tried: list[float] = []
        farthest = _FARTHEST * threshold * self._error
        for _ in range(_MOST_POINTS):
            tried.append(ahead)
            predicted = others + self._valley * sign * (ahead - done)
            root, reached = self._root(start + sign * ahead, predicted)
            if root is None:
                ahead = 0.5 * (ahead + below[0])
                if ahead - below[0] < 1e-2 * self._error:
                    return None
                continue
            done, others = ahead, reached
            if abs(root - threshold) < 2e-3:
                return start + sign * ahead
            if root < threshold:
                # Twice as far for nothing: the likelihood has levelled off, and the interval is open on this side.
                if above is None and ahead >= 1.5 * below[0] > 0.0 and root - below[1] < 0.02 * threshold:
                    return None
                below = (ahead, root)
            else:
                above = (ahead, root)
            if above is None:
                if ahead >= farthest:
                    return None
                # Where the ratio hardly grows any more, larger steps find out sooner that it never gets there.
                growth = max(1.1 if len(tried) < 4 else 2.0, threshold / max(root, 1e-3))
                ahead = min(farthest, ahead * min(3.0, growth))
            else:
                share = (threshold - below[1]) / (above[1] - below[1])
                ahead = below[0] + float(np.clip(share, 0.05, 0.95)) * (above[0] - below[0])
        raise ConvergenceError(
            f"The profile likelihood did not settle in {_MOST_POINTS} points: it is not smooth or not monotone there. "
            "Use Wald or robust intervals, or look at the likelihood along this parameter."
        )

    def _root(self, coordinate: float, others: np.ndarray) -> tuple[float | None, np.ndarray]:
        """sqrt(2 (l_max - l)) at the conditional maximum, and the others there; None outside the domain."""
        point = self.at(coordinate)

        def along(free: np.ndarray) -> tuple[float, np.ndarray]:
            point[self._others] = free
            value, gradient = self._objective(point)
            return value, gradient[self._others]

        if not np.isfinite(along(others)[0]):
            return None, others
        found = descend(along, others, inverse=self._inverse, tolerance=1e-5, max_iterations=25)
        value, point[self._others] = found.value, found.point
        if value < self._floor - _BETTER:
            raise ConvergenceError(
                "The profile met a higher likelihood than the estimate's "
                f"(by {self._floor - value:.3g}): the estimate is a local maximum. Fit again with start={{...}} near "
                f"{self._objective.natural(point).round(6).tolist()} (the estimated parameters in their order)."
            )
        return float(np.sqrt(max(0.0, 2.0 * (value - self._floor)))), point[self._others]
