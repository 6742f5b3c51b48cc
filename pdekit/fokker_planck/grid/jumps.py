"""exp(Q t) P by counting jumps: as accurate in the far tails as in the bulk.

With c the largest rate out of a node, I + Q / c has no negative entry, and

    exp(Q t) P = sum_k Poisson(k; c t) (I + Q / c)^k P

is a sum of positive terms, hardly more than c t of them where that is large: a fifth of the products that the Taylor
series of exp(Q t) takes, whose steps must be short for rounding's sake.

Source: A. Jensen, Markoff chains as an aid in the study of Markoff processes, Skand. Aktuarietidskr. 36 (1953) 87.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import gammaln, xlogy

from pdekit.errors import NumericalError
from pdekit.fokker_planck.grid.progress import Tell, silent

_LEAST = -650.0  # log of the smallest weight: what doubles can still add to others
_NEGLIGIBLE = 1e-16  # of what there is already
_FAINT = 1e-290  # of the greatest mass: nothing depends on how accurate that is
_EVERY = 8  # terms after which is looked whether all have become negligible
_TOLD = 64


def after_jumps(matrix: sp.csr_array, mass: np.ndarray, duration: float, tell: Tell = silent) -> np.ndarray:
    """exp(matrix * duration) @ mass, (N, c).

    Args:
        matrix: Q, (N, N), without negative entries off the diagonal; no column has a positive sum.
        mass: Without negative entries, (N, c).
        duration: t.
        tell: Is told how far this is.
    """
    fastest = float(-matrix.diagonal().min())
    mean = fastest * duration
    if mean <= 0.0:
        return mass
    jump: Any = sp.eye_array(len(mass), format="csr") + matrix / fastest
    k, weight = _first_weight(mean)
    power: np.ndarray = mass
    for done in range(k):
        power = jump @ power
        if done % _TOLD == 0:
            tell(done / mean)
    total, term, weights = np.multiply(power, weight), np.empty_like(power), weight
    while True:
        k += 1
        power = jump @ power
        weight *= mean / k
        np.multiply(power, weight, out=term)
        total += term
        weights += weight
        if k % _TOLD == 0:
            tell(k / mean)
        if k % _EVERY == 0 and not np.isfinite(total.sum()):
            raise NumericalError("The masses are not finite: a rate or the law at the start is not.")
        if k > mean and k % _EVERY == 0 and (term <= np.maximum(_NEGLIGIBLE * total, _FAINT * total.max())).all():
            return total / weights  # whose sum is one but for rounding in the first


def _first_weight(mean: float) -> tuple[int, float]:
    """The least number of jumps whose probability is not negligible, and that probability."""
    count = np.arange(int(mean) + 1)
    log_weight = xlogy(count, mean) - mean - gammaln(count + 1)
    first = int(np.argmax(log_weight > _LEAST))
    return first, float(np.exp(log_weight[first]))


__all__ = ["after_jumps"]
