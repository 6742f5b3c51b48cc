"""Laws under linear equations: normal laws stay normal, and mixtures of them stay mixtures."""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm, solve_continuous_lyapunov

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.law import Distributed, Law, Point, Samples
from pdekit.fokker_planck.linear_equation import Coefficients, Linear
from pdekit.fokker_planck.normal_laws import Parts, normal_mixture

_EXACT, _INTEGRATED = 1e-12, 1e-9  # errors named: matrix exponentials, moment equations
_STIFF = 1e4


@dataclass(frozen=True, eq=False)
class Transition:
    """X_t given X_s is N(factor X_s + shift, covariance).

    Args:
        factor: (d, d).
        shift: (d,).
        covariance: (d, d).
    """

    factor: np.ndarray
    shift: np.ndarray
    covariance: np.ndarray


def transitions(linear: Linear, t0: float, times: np.ndarray) -> list[Transition]:
    """From t0 to each of the times (k,).

    Raises:
        NumericalError: If one overflows, or can't be integrated.
    """
    if linear.autonomous:
        found = [_exponential(linear.at(t0), float(t - t0)) for t in times]
    else:
        found = _integrated(linear, t0, times)
    for t, step in zip(times, found, strict=True):
        if not all(np.isfinite(part).all() for part in (step.factor, step.shift, step.covariance)):
            raise NumericalError(f"The moments overflow at t = {t:g}: ask for earlier times.")
    return found


def _exponential(c: Coefficients, t: float) -> Transition:
    """Van Loan's block exponential over a short step, doubled until the time is reached.

    With (X, 1) as the state the shift is a part of the matrix. Doubling, P(2h) = P(h) + E P(h) E^T, adds positive
    matrices only, whereas the block itself would hold exp(-A t), which overflows for a stable A and a long time.

    Source: C. F. Van Loan, IEEE Trans. Automatic Control 23 (1978) 395-404.
    """
    d = len(c.shift)
    matrix, noise = np.zeros((d + 1, d + 1)), np.zeros((d + 1, d + 1))
    matrix[:d, :d], matrix[:d, d], noise[:d, :d] = c.matrix, c.shift, 2 * c.tensor
    halvings = max(0, int(np.ceil(np.log2(max(np.linalg.norm(c.matrix, 1) * t, 1e-300)))))
    h = t / 2**halvings
    block = expm(np.block([[-matrix, noise], [np.zeros_like(matrix), matrix.T]]) * h)
    factor = block[d + 1 :, d + 1 :].T
    covariance = factor @ block[: d + 1, d + 1 :]
    with np.errstate(all="ignore"):
        for _ in range(halvings):
            covariance, factor = covariance + factor @ covariance @ factor.T, factor @ factor
    return Transition(factor[:d, :d], factor[:d, d], _symmetric(covariance[:d, :d]))


def _integrated(linear: Linear, t0: float, times: np.ndarray) -> list[Transition]:
    """d E = A E, d m = A m + a, d P = A P + P A^T + 2 D, from E = 1, m = 0, P = 0."""
    first = linear.at(t0)
    d = len(first.shift)
    shapes = [(d, d), (d,), (d, d)]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])

    def split(y: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(s) for part, s in zip(np.split(y, ends[:-1]), shapes, strict=True)]

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        c, (factor, shift, covariance) = linear.at(float(t)), split(y)
        half = c.matrix @ covariance + c.tensor
        parts = (c.matrix @ factor, c.matrix @ shift + c.shift, half + half.T)
        return np.concatenate([part.reshape(-1) for part in parts])

    later = times[times > t0]
    start = np.concatenate([np.eye(d).reshape(-1), np.zeros(d), np.zeros(d * d)])
    states = [start] * (len(times) - len(later))
    if len(later):
        span = float(later[-1] - t0)
        kind = "Radau" if np.linalg.norm(first.matrix, 1) * span > _STIFF else "DOP853"
        run = solve_ivp(slope, (t0, float(later[-1])), start, kind, later, rtol=1e-12, atol=1e-15, max_step=span / 16)
        if not run.success:
            raise NumericalError(f"The moment equations can't be integrated: {run.message}")
        states += list(run.y.T)
    return [Transition(e, m, _symmetric(p)) for e, m, p in (split(y) for y in states)]


def _symmetric(z: np.ndarray) -> np.ndarray:
    return 0.5 * (z + z.T)


def moved(law: Law, linear: Linear, t0: float, times: np.ndarray) -> list[GaussianMixture]:
    """The law at each of the times, (k,).

    Raises:
        UnsupportedError: If the law at the start is not a mixture of normal laws or points.
        NumericalError: If there is no density at one of the times.
    """
    weights, means, covariances = _mixture(law)
    error = _EXACT if linear.autonomous else _INTEGRATED
    found = []
    for t, step in zip(times, transitions(linear, t0, times), strict=True):
        spread = _symmetric_all(step.factor @ covariances @ step.factor.T) + step.covariance
        try:
            found.append(GaussianMixture(weights, means @ step.factor.T + step.shift, spread, error))
        except NumericalError as cause:
            raise NumericalError(f"There is no density at t = {t:g}. {cause}") from cause
    return found


def _symmetric_all(z: np.ndarray) -> np.ndarray:
    return 0.5 * (z + z.transpose(0, 2, 1))


def _mixture(law: Law) -> Parts:
    """Weights (k,), means (k, d) and covariances (k or 1, d, d)."""
    if isinstance(law, Point | Samples):
        x = np.atleast_2d(law.x)
        return np.full(len(x), 1 / len(x)), x, np.zeros((1, law.dim, law.dim))
    found = normal_mixture(law)
    if found is None:
        what = type(law.distribution).__name__ if isinstance(law, Distributed) else type(law).__name__.lower()
        raise UnsupportedError(
            f"ClosedForm() moves points, samples, normal laws and mixtures of them through a linear equation, not this "
            f"initial law ({what}). Use Grid() in up to three dimensions, Score() in more; or give samples of it."
        )
    return found


def settled(linear: Linear) -> GaussianMixture:
    """The stationary law, A C + C A^T + 2 D = 0.

    Raises:
        UnsupportedError: If there is none, or it has no density.
    """
    c = linear.at(0.0)
    rate = float(np.linalg.eigvals(c.matrix).real.max())
    if rate >= -1e-12 * max(np.linalg.norm(c.matrix), 1e-300):
        raise UnsupportedError(
            "This linear equation has no stationary law: it is not stable, the real part of an eigenvalue of its "
            f"matrix is {rate:.3g}. Ask for times with solve()."
        )
    covariance = _symmetric(solve_continuous_lyapunov(c.matrix, -2 * c.tensor))
    mean = -np.linalg.solve(c.matrix, c.shift)
    try:
        return GaussianMixture(np.ones(1), mean[None], covariance[None], _EXACT)
    except NumericalError as cause:
        raise UnsupportedError(f"The stationary law has no density. {cause}") from cause


__all__ = ["Transition", "moved", "settled", "transitions"]
