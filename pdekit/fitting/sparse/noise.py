"""Which candidates make up a squared noise, from the squares of what the drift leaves unexplained.

A squared residual per unit of time, R = e^2 / dt, has mean s(x) = sum_k c_k psi_k(x) and variance 2 s^2, so that

    l(c) = -1/2 sum_i (log s(x_i) + R_i / s(x_i)),

the log-likelihood of Gaussian residuals. It is maximised by Fisher scoring, with s kept positive at all states.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdekit.errors import InputError
from pdekit.fitting.sparse.subsets import Quadratic, best_subset, changes, flipped

_MOST_ITERATIONS = 100
_MOST_ROUNDS = 6
_STILL = 1e-9
# Changes that the quadratic likelihood takes to be worse by no more than this are fitted.
_CLOSE = 3.0
# A step of the scoring leaves this share of the smallest variance at least.
_SHRINK = 0.1


@dataclass(frozen=True)
class NoiseChoice:
    """The terms of one squared noise.

    Attributes:
        chosen: Which candidates, (q,) bool.
        coefficients: Their coefficients, (q,), zero elsewhere.
        quadratic: The likelihood about them, in all candidates.
        value: Log-likelihood less price.
        rivals: What the value changes by, exactly, for changes of the chosen that `quadratic` calls close.
    """

    chosen: np.ndarray
    coefficients: np.ndarray
    quadratic: Quadratic
    value: float
    rivals: Mapping[tuple[int, ...], float]


def choose_noise(columns: np.ndarray, squares: np.ndarray, prices: np.ndarray, what: str, *, seed: int) -> NoiseChoice:
    """The best admissible subset of candidates for one squared noise.

    Args:
        columns: psi_k at the states, (n, q).
        squares: R, (n,).
        prices: The price of each candidate, (q,).
        what: What the noise is called in messages.
        seed: Of the search.

    Raises:
        InputError: If no combination of candidates is positive at all states.
    """
    search = _Search(columns, squares, prices, seed)
    reference = search.fit(np.ones(columns.shape[1], dtype=bool))
    if reference is None:
        raise InputError(
            f"No candidate for the {what} is positive at all observed states, so that none can be a variance. "
            'Add the constant to the library: + Library.of("1").'
        )
    best = search.judge(np.ones(columns.shape[1], dtype=bool), reference)
    for _ in range(_MOST_ROUNDS):
        better = search.improve(best)
        if better is None:
            return best
        best = better
    return best


class _Search:
    def __init__(self, columns: np.ndarray, squares: np.ndarray, prices: np.ndarray, seed: int) -> None:
        self._size = np.sqrt((columns**2).mean(0))
        self._columns, self._squares = columns / self._size, squares
        self._prices, self._seed = prices, seed
        self._known: dict[bytes, np.ndarray | None] = {}

    def variance(self, scaled: np.ndarray) -> np.ndarray:
        return self._columns @ scaled

    def value(self, coefficients: np.ndarray, chosen: np.ndarray) -> float:
        return _loglik(self.variance(coefficients * self._size), self._squares) - float(self._prices[chosen].sum())

    def quadratic(self, coefficients: np.ndarray) -> Quadratic:
        """About these coefficients."""
        score, information = self._scoring(coefficients * self._size, slice(None))
        return Quadratic.about(
            coefficients, score * self._size, information * np.outer(self._size, self._size), self._prices
        )

    def judge(self, chosen: np.ndarray, coefficients: np.ndarray) -> NoiseChoice:
        """A choice with what its close rivals would change."""
        quadratic, value = self.quadratic(coefficients), self.value(coefficients, chosen)
        level, rivals = quadratic.value(chosen), {}
        for change in changes(chosen):
            other = flipped(chosen, *change)
            if other.any() and quadratic.value(other) > level - _CLOSE:
                found = self.fit(other)
                rivals[change] = -np.inf if found is None else self.value(found, other) - value
        return NoiseChoice(chosen, coefficients, quadratic, value, rivals)

    def improve(self, now: NoiseChoice) -> NoiseChoice | None:
        """A choice of greater value: the best subset by the quadratic likelihood, or the best close rival."""
        trials = [best_subset(now.quadratic, admissible=self.admissible, starts=[now.chosen], seed=self._seed)]
        if now.rivals:
            trials.append(flipped(now.chosen, *max(now.rivals, key=lambda change: now.rivals[change])))
        for chosen in trials:
            found = None if chosen is None or not chosen.any() else self.fit(chosen)
            if chosen is not None and found is not None and self.value(found, chosen) > now.value + 1e-9:
                return self.judge(chosen, found)
        return None

    def _scoring(self, scaled: np.ndarray, which: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns, variance = self._columns[:, which], self.variance(scaled)
        weighted = columns / (2.0 * variance**2)[:, None]
        return weighted.T @ (self._squares - variance), weighted.T @ columns

    def admissible(self, chosen: np.ndarray) -> bool:
        """Whether these candidates can make a positive variance."""
        return self.fit(chosen) is not None

    def fit(self, chosen: np.ndarray) -> np.ndarray | None:
        """The maximiser over a subset, (q,); None where no positive combination was found."""
        key = chosen.tobytes()
        if key not in self._known:
            start = self._start(chosen)
            self._known[key] = None if start is None else self._maximise(chosen, start) / self._size
        return self._known[key]

    def _start(self, chosen: np.ndarray) -> np.ndarray | None:
        """A positive combination: the best of the single terms, and of those that add up."""
        signs = np.where(self._columns.min(0) >= 0, 1.0, np.where(self._columns.max(0) <= 0, -1.0, 0.0)) * chosen
        trials = [np.eye(len(chosen))[k] * signs[k] for k in np.flatnonzero(signs)] + [signs]
        found = []
        for trial in trials:
            variance = self.variance(trial)
            if trial.any() and variance.min() > 0:
                level = float((self._squares / variance).mean())
                found.append((_loglik(level * variance, self._squares), level * trial))
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def _maximise(self, chosen: np.ndarray, start: np.ndarray) -> np.ndarray:
        scaled, inside = start, np.flatnonzero(chosen)
        value = _loglik(self.variance(scaled), self._squares)
        for _ in range(_MOST_ITERATIONS):
            score, information = self._scoring(scaled, inside)
            move = np.zeros(len(chosen))
            move[inside] = np.linalg.lstsq(information, score, rcond=1e-13)[0]
            if 0.5 * float(move[inside] @ score) < _STILL:
                break
            step = self._uphill(scaled, move, value)
            if step is None:
                break
            scaled, value = step
        return scaled

    def _uphill(self, scaled: np.ndarray, move: np.ndarray, value: float) -> tuple[np.ndarray, float] | None:
        variance, change = self.variance(scaled), self.variance(move)
        falling = change < 0
        length = min(1.0, (1.0 - _SHRINK) * float((variance[falling] / -change[falling]).min(initial=np.inf)))
        for _ in range(20):
            higher = _loglik(variance + length * change, self._squares)
            if higher > value:
                return scaled + length * move, higher
            length *= 0.4
        return None


def _loglik(variance: np.ndarray, squares: np.ndarray) -> float:
    if not variance.min() > 0.0:  # rounding on the way to an observation where it vanishes
        return -np.inf
    return -0.5 * float((np.log(variance) + squares / variance).sum())
