"""Pass and fail, decided by statistics written down before the run."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

NOMINAL = 0.95
FAMILY_LEVEL = 0.01


def rejects(hits: int, trials: int, family: int, nominal: float = NOMINAL, level: float = FAMILY_LEVEL) -> bool:
    """Whether an exact two-sided binomial test rejects that `hits` of `trials` have probability `nominal`.

    Args:
        hits: Intervals that cover the truth. Failed fits count among the trials and not among the hits.
        trials: Intervals.
        family: How many such tests are made together; each is held to `level / family` (Bonferroni).
        nominal: The coverage claimed.
        level: Chance that any test of the family rejects although all claims are true.

    Example:
        >>> rejects(57, 60, family=27), rejects(45, 60, family=27)
        (False, True)
    """
    return bool(stats.binomtest(hits, trials, nominal).pvalue < level / family)


def rms(values: Sequence[float]) -> tuple[float, float]:
    """Root mean square and its standard error over seeds (delta method); NaN spreads, it is never dropped."""
    squares = np.asarray(values, dtype=float) ** 2
    root = float(np.sqrt(squares.mean()))
    if len(squares) < 2 or not root > 0:
        return root, float("nan")
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * root))
