"""The mass that lies beyond the free ends of a grid, and was normalised away."""

import numpy as np

_PART = 40  # of an axis: over how far a tail's decay is taken from what is there


def beyond(mass: np.ndarray, free: np.ndarray) -> float:
    """The share of a law beyond free ends, its tails continued by exponentials in the grid's coordinates.

    Tails that fall faster have less. An end at which masses don't fall is taken to go on for another grid.

    Args:
        mass: Of nodes, (n_1, ..., n_d).
        free: Which ends are cuts, (d, 2); see `Frame`.
    """
    found, total = 0.0, float(mass.sum())
    for i in range(mass.ndim):
        profile = mass.sum(axis=tuple(j for j in range(mass.ndim) if j != i))
        for side in np.flatnonzero(free[i]):
            found += _beyond_last(profile[::-1] if side == 0 else profile)
    return found / total


def _beyond_last(profile: np.ndarray) -> float:
    n = len(profile)
    part = max(1, n // _PART)
    last, before = float(profile[-2]), float(profile[-2 - part])  # the very last may have half a cell
    if last <= 0.0:
        return 0.0
    ratio = (last / before) ** (1.0 / part) if before > 0.0 else 1.0
    return last * (min(ratio / (1.0 - ratio), n) if ratio < 1.0 else n)


__all__ = ["beyond"]
