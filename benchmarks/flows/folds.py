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
    """A split of the first fold's training rows: the first fold's images stay unseen; those of others choose a rate."""
    rows, _ = folds(n)[0]
    cut = len(rows) // FOLDS
    return rows[cut:], rows[:cut]


def chosen(kinds: Sequence[str], rates: Sequence[float], scores: Sequence[Outcome], key: str) -> dict[str, float]:
    """For each kind the rate with the lowest score; kinds vary slowly, rates quickly."""
    found = {}
    for i, kind in enumerate(kinds):
        mine = scores[i * len(rates) : (i + 1) * len(rates)]
        values = np.nan_to_num([o.get(key, np.inf) for o in mine], nan=np.inf)
        found[kind] = rates[int(np.argmin(values))]
    return found


def paired(a: Sequence[Any], b: Sequence[Any]) -> str:
    """Twice the standard errors of a - b: over trainings, one for each fold, and over items given these trainings.

    The first is what decides: two trainings that differ in the seed alone differ by more than their items tell.
    """
    gaps = [np.asarray(x, float) - np.asarray(y, float) for x, y in zip(a, b, strict=True)]
    means, items = np.array([g.mean() for g in gaps]), np.concatenate(gaps)
    over_items = items.std(ddof=1) / len(items) ** 0.5
    if len(means) < 2:
        return f"+- {2 * over_items:.2g} (2 s.e. over images)"
    over_folds = means.std(ddof=1) / len(means) ** 0.5
    return f"+- {2 * over_folds:.2g} (2 s.e. over {len(means)} trainings; over images alone {2 * over_items:.2g})"
