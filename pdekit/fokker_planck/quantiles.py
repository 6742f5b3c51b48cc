"""Between which values nearly all of a mass lies."""

import numpy as np


def reach(x: np.ndarray, weights: np.ndarray, faint: float) -> tuple[float, float]:
    """The least and the greatest value, but for a share of the mass at each end.

    Args:
        x: Values, (n,).
        weights: Their masses, (n,).
        faint: The share.

    Example:
        >>> import numpy as np
        >>> reach(np.arange(100.0), np.ones(100), 0.05)
        (4.0, 94.0)
    """
    order = np.argsort(x)
    share = np.cumsum(weights[order])
    first, last = np.searchsorted(share, np.array([faint, 1 - faint]) * share[-1])
    return float(x[order[first]]), float(x[order[min(last, len(x) - 1)]])


__all__ = ["reach"]
