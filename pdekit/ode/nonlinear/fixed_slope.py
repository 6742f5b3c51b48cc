"""Iterations z <- z - P R(z) with a P that does not change: functional, Jacobi-Newton and simplified Newton."""

import numpy as np
from torch import Tensor

from pdekit.ode.nonlinear.equation import Equation, Inverse, indices, rounding
from pdekit.ode.nonlinear.outcome import Outcome

_RATE_FLOOR = 1e-2
_HOPELESS = 0.98  # so slow that its own estimate, and with it the error, is not to be trusted


def iterate(
    equation: Equation,
    z: Tensor,
    inverse: Inverse,
    *,
    limit: float,
    most: int,
    known: np.ndarray | None = None,
) -> Outcome:
    """Iterate each sample until its error, increment * rate / (1 - rate), is below the limit.

    The rate is the larger of the last two ratios of increments: a first ratio flatters where errors that decay fast go
    first. A sample stops when it can't arrive within `most` iterations at its rate.

    Args:
        equation: The system.
        z: Where to begin, (n, m).
        inverse: P.
        limit: The error allowed, in the equation's norm.
        most: The most iterations.
        known: Rates measured with the same P on a neighbouring system, NaN for none: they count in the first iteration.
    """
    outcome = Outcome.at(z)
    at = np.arange(len(z))  # the samples that are still running
    previous = ratio = rate = np.full(len(z), np.nan)
    for k in range(most):
        increment = inverse(equation.residual(z))
        z, size = z - increment, equation.norm(increment)
        exact = size <= rounding(equation, z)
        if k == 0:
            # Without a rate a small increment proves nothing: a P far too small makes all increments so.
            first = np.full(len(z), np.nan) if known is None else known
            with np.errstate(divide="ignore", invalid="ignore"):
                done = exact | ((first < _HOPELESS) & (size * first / (1 - first) <= limit))
            lost = ~np.isfinite(size)
        else:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                before, ratio = ratio, size / previous
                rate = np.maximum(np.fmax(ratio, before), _RATE_FLOOR)
                left = size * rate / (1 - rate)
                done = exact | ((rate < _HOPELESS) & (left <= limit))
                arrives = (rate < _HOPELESS) & (left * rate ** (most - 1 - k) <= limit)
            lost = ~done & ~arrives
        stop = done | lost if k + 1 < most else np.ones_like(done)
        previous = size
        if stop.any():
            stopped = np.flatnonzero(stop)
            outcome.put(
                at[stopped], z[indices(stopped, z)], converged=done[stopped], rate=rate[stopped], iterations=k + 1
            )
            if stop.all():
                break
            keep = np.flatnonzero(~stop)
            at, previous, ratio, rate = at[keep], previous[keep], ratio[keep], rate[keep]
            equation, inverse, z = equation.take(keep), inverse.take(keep), z[indices(keep, z)]
    return outcome


__all__ = ["iterate"]
