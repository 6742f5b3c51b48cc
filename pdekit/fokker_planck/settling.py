"""Whether paths have forgotten where they began."""

import numpy as np

_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_SIGNIFICANT = 4.5  # standard errors


def forgotten(start: np.ndarray, end: np.ndarray) -> bool:
    """Whether paths that began low and high in any state end with the same law."""
    for column in start.T:
        high = column > np.median(column)
        if high.any() and not high.all() and not agree(end[high], end[~high]):
            return False
    return True


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of states have the same share below each of some quantiles of both together."""
    for i in range(a.shape[1]):
        levels = np.quantile(np.concatenate([a[:, i], b[:, i]]), _LEVELS)
        for level, q in zip(_LEVELS, levels, strict=True):
            difference = np.mean(a[:, i] <= q) - np.mean(b[:, i] <= q)
            if abs(difference) > _SIGNIFICANT * np.sqrt(level * (1 - level) * (1 / len(a) + 1 / len(b))):
                return False
    return True


__all__ = ["agree", "forgotten"]
