"""The best subset of coefficients of a likelihood that is quadratic in them.

About a reference b the log-likelihood is s.(b' - b) - (b' - b).I.(b' - b)/2 with score s and information I. With
y = s + I b, the coefficients of a subset S alone reach y_S.(I_SS)^{-1} y_S / 2 more than none at all: all subsets are
judged from one vector and one matrix.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

# All 2^12 subsets cost a few milliseconds.
_EXHAUSTIVE = 12
_MOST_MOVES = 1000
_RANDOM_STARTS = 6
# Coordinates that the others explain to this share of their square add rounding, not information.
_EXPLAINED = 1e-10

Admissible = Callable[[np.ndarray], bool]


class Quadratic:
    """A quadratic log-likelihood in P coefficients, and what each of them must gain to be kept.

    Args:
        target: y = s + I b, (P,).
        information: I, (P, P), positive definite.
        prices: The price of each coefficient, (P,).
    """

    def __init__(self, target: np.ndarray, information: np.ndarray, prices: np.ndarray) -> None:
        # In units in which each coefficient has information one: x and x^5 may differ by many orders.
        self.size = np.sqrt(np.diag(information))
        self.target, self.information = target / self.size, information / np.outer(self.size, self.size)
        self.prices = prices

    @classmethod
    def about(
        cls, reference: np.ndarray, score: np.ndarray, information: np.ndarray, prices: np.ndarray
    ) -> "Quadratic":
        """From score and information at a reference, (P,)."""
        return cls(score + information @ reference, information, prices)

    def __len__(self) -> int:
        return len(self.target)

    def coefficients(self, chosen: np.ndarray) -> np.ndarray:
        """The maximiser over a subset (P,) bool, (P,), zero elsewhere."""
        return self._scaled(chosen) / self.size

    def _scaled(self, chosen: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self))
        if chosen.any():
            out[chosen] = np.linalg.solve(self.information[np.ix_(chosen, chosen)], self.target[chosen])
        return out

    def stderr(self, chosen: np.ndarray) -> np.ndarray:
        """Standard errors of the chosen coefficients, (P,), zero elsewhere."""
        out = np.zeros(len(self))
        if chosen.any():
            inverse = np.linalg.inv(self.information[np.ix_(chosen, chosen)])
            out[chosen] = np.sqrt(np.diag(inverse)) / self.size[chosen]
        return out

    def gain(self, chosen: np.ndarray) -> float:
        """The log-likelihood that a subset gains over no coefficient at all."""
        return 0.5 * float(self.target @ self._scaled(chosen))

    def value(self, chosen: np.ndarray) -> float:
        """Its gain less its price."""
        return self.gain(chosen) - float(self.prices[chosen].sum())

    def dropping(self, chosen: np.ndarray) -> np.ndarray:
        """What the gain loses when one of the chosen is dropped, (P,); 0 elsewhere."""
        errors = np.where(chosen, self.stderr(chosen) * self.size, 1.0)
        return 0.5 * (self._scaled(chosen) / errors) ** 2

    def adding(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficient that one more would have, and what the gain would win, each (P,); 0 for the chosen."""
        slope = self.target - self.information @ self._scaled(chosen)
        own = np.ones(len(self))
        if chosen.any():
            across = self.information[chosen]
            own -= (across * np.linalg.solve(self.information[np.ix_(chosen, chosen)], across)).sum(0)
        free = ~chosen & (own > _EXPLAINED)
        safe = np.where(free, own, 1.0)
        return np.where(free, slope / safe / self.size, 0.0), np.where(free, slope**2 / (2.0 * safe), 0.0)


def best_subset(
    quadratic: Quadratic,
    *,
    admissible: Admissible = lambda chosen: True,
    starts: Sequence[np.ndarray] = (),
    seed: int = 0,
) -> np.ndarray | None:
    """The admissible subset of the greatest value, (P,) bool; None if none is admissible.

    Up to 12 coefficients all subsets are tried. Beyond, terms are added, dropped and exchanged while that helps, from
    the empty set, the full set, `starts` and a few random sets.

    Args:
        quadratic: The likelihood.
        admissible: Which subsets may be chosen.
        starts: Further subsets to start from.
        seed: Of the random starts.
    """
    count = len(quadratic)
    if count <= _EXHAUSTIVE:
        return _first_of_all(quadratic, admissible)
    generator = np.random.default_rng(seed)
    random = [generator.random(count) < share for share in np.linspace(0.1, 0.6, _RANDOM_STARTS)]
    none, everything = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    ends = [_climb(quadratic, np.array(s), admissible) for s in (*starts, none, everything, *random) if admissible(s)]
    return max(ends, key=quadratic.value, default=None)


def _first_of_all(quadratic: Quadratic, admissible: Admissible) -> np.ndarray | None:
    count = len(quadratic)
    matrix, target = quadratic.information, quadratic.target
    sets, values = [np.zeros((1, 0), dtype=int)], [np.zeros(1)]
    for k in range(1, count + 1):
        index = np.array(list(itertools.combinations(range(count), k)))
        right = target[index]
        solved = np.linalg.solve(matrix[index[:, :, None], index[:, None, :]], right[..., None])[..., 0]
        sets.append(index)
        values.append(0.5 * (right * solved).sum(1) - quadratic.prices[index].sum(1))
    flat = [index for group in sets for index in group]
    for i in np.argsort(-np.concatenate(values), kind="stable"):
        chosen = np.zeros(count, dtype=bool)
        chosen[flat[i]] = True
        if admissible(chosen):
            return chosen
    return None


def _climb(quadratic: Quadratic, chosen: np.ndarray, admissible: Admissible) -> np.ndarray:
    """Changes one coefficient at a time, or exchanges two, while the value grows."""
    for _ in range(_MOST_MOVES):
        better = _single(quadratic, chosen, admissible)
        if better is None:
            better = _exchange(quadratic, chosen, admissible)
        if better is None:
            return chosen
        chosen = better
    return chosen


def flipped(chosen: np.ndarray, *which: int) -> np.ndarray:
    """The subset with these in where they were out, and out where they were in."""
    out = chosen.copy()
    out[list(which)] ^= True
    return out


def _single(quadratic: Quadratic, chosen: np.ndarray, admissible: Admissible) -> np.ndarray | None:
    profit = np.where(
        chosen, quadratic.prices - quadratic.dropping(chosen), quadratic.adding(chosen)[1] - quadratic.prices
    )
    for j in np.argsort(-profit):
        if profit[j] <= 1e-9:
            return None
        if admissible(candidate := flipped(chosen, int(j))):
            return candidate
    return None


def _exchange(quadratic: Quadratic, chosen: np.ndarray, admissible: Admissible) -> np.ndarray | None:
    now = quadratic.value(chosen)
    found: list[tuple[float, int, int]] = []
    for j in np.flatnonzero(chosen):
        without = flipped(chosen, int(j))
        profit = quadratic.value(without) - now + quadratic.adding(without)[1] - quadratic.prices
        found += [(float(profit[k]), int(j), int(k)) for k in np.flatnonzero(~chosen) if profit[k] > 1e-9]
    for _, j, k in sorted(found, reverse=True):
        if admissible(candidate := flipped(chosen, j, k)):
            return candidate
    return None


def order_of_entry(quadratic: Quadratic, chosen: np.ndarray) -> list[int]:
    """The coefficients by what each adds to those before it: first the chosen ones, then the others."""
    order: list[int] = []
    inside = np.zeros(len(chosen), dtype=bool)
    for group in (chosen, ~chosen):
        left = group.copy()
        while left.any():
            profit = np.where(left, quadratic.adding(inside)[1] - quadratic.prices, -np.inf)
            j = int(np.argmax(profit))
            order.append(j)
            inside[j], left[j] = True, False
    return order


def changes(chosen: np.ndarray) -> list[tuple[int, ...]]:
    """What differs by one step: one coefficient more or less, or one in place of another."""
    inside, outside = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    return [*((int(k),) for k in range(len(chosen))), *((int(j), int(k)) for j in inside for k in outside)]
