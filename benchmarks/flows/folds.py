"""Five-fold cross-validation of things that are trained for a time, each tuned on a part of the first fold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.runner import Outcome

FOLDS = 5
_SEED = 20


def folds(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train with and to judge by, five times."""
    order = np.random.default_rng(_SEED).permutation(n)
    parts = np.array_split(order, FOLDS)
    return [(np.concatenate([p for j, p in enumerate(parts) if j != k]), parts[k]) for k in range(FOLDS)]


def tuning(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A split of the first fold's training rows: what is judged by later stays unseen."""
    rows, _ = folds(n)[0]
    cut = len(rows) // FOLDS
    return rows[cut:], rows[:cut]


def chosen(kinds: Sequence[str], rates: Sequence[float], scores: Sequence[Outcome], key: str) -> dict[str, float]:
    """For each kind the rate with the lowest score; kinds vary slowly, rates quickly."""
    found = {}
    for i, kind in enumerate(kinds):
        mine = scores[i * len(rates) : (i + 1) * len(rates)]
        values = [o.get(key, np.inf) for o in mine]
        found[kind] = rates[int(np.argmin(values))]
    return found


def paired(a: Sequence[Any], b: Sequence[Any]) -> tuple[float, float]:
    """Mean and standard error of a - b, paired by items."""
    gap = np.concatenate([np.asarray(x, float) for x in a]) - np.concatenate([np.asarray(x, float) for x in b])
    return float(gap.mean()), float(gap.std(ddof=1) / len(gap) ** 0.5)
