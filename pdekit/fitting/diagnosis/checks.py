"""What a diagnostic check returns, and the one test that most of them share.

If the model holds, PIT values, products of residuals and the like are martingale differences with a known variance, so
their sum Z has covariance n I - B C B^T: B = sum phi s^T is their covariance with the scores s, C the covariance of the
estimate. The second term is what estimating the parameters takes away (Bontemps and Meddahi 2012); without it the tests
would be timid.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from pdekit.report import Flag

# One false alarm in a thousand clean data sets per check: a dozen checks then disturb about one fit in a hundred.
LEVEL = 1e-3
# Directions of which estimation leaves less variance than the first do not count as degrees of freedom. No variance is
# taken for smaller than the second: errors of second order, which the correction does not see, would be blown up; and a
# grossly wrong model would hide behind it.
_USED_UP = 0.05
_LEAST_VARIANCE = 0.3
# Of fewer terms the covariance with the scores is mostly noise; without it the test errs on the timid side.
_FEW = 100


@dataclass(frozen=True)
class Check:
    """One line of the table of diagnostics.

    Attributes:
        name: What was checked.
        statistic: What was found, as text.
        limit: The p-value, or the limit that it was held against, as text.
        flag: The finding in plain language; its severity is the verdict.
    """

    name: str
    statistic: str
    limit: str
    flag: Flag


@dataclass(frozen=True)
class MomentTest:
    """A quadratic form in the sum of moments, chi-square under the model.

    Attributes:
        statistic: Z^T V^{-1} Z, with small variances rounded up.
        dof: Its degrees of freedom.
        p_value: The chance of a larger one under the model.
    """

    statistic: float
    dof: int
    p_value: float


def moment_test(moments: np.ndarray, scores: np.ndarray, covariance: np.ndarray, counts: np.ndarray) -> MomentTest:
    """Tests whether the moments have mean zero, as they have if the model holds.

    Args:
        moments: Uncorrelated with variance 1 under the model, 0 where not available, (n, m).
        scores: d log p / d theta of the same pairs or blocks of pairs, (n, k).
        covariance: Of the estimate, (k, k).
        counts: How many of each moment are available, (m,).

    Example:
        >>> z = np.random.default_rng(0).standard_normal((1000, 3))
        >>> moment_test(z, np.zeros((1000, 1)), np.zeros((1, 1)), np.full(3, 1000)).dof
        3
    """
    used = counts > 0
    size = np.sqrt(counts[used])
    sums = moments[:, used].sum(0) / size
    cross = moments[:, used].T @ scores / size[:, None]
    variance = np.eye(len(size)) - (cross @ covariance @ cross.T if len(moments) >= _FEW else 0.0)
    values, vectors = np.linalg.eigh(variance)
    statistic = float(np.sum((vectors.T @ sums) ** 2 / np.maximum(values, _LEAST_VARIANCE)))
    dof = max(1, int((values > _USED_UP).sum()))
    return MomentTest(statistic, dof, float(chdtrc(dof, statistic)))


def p_text(p_value: float) -> str:
    """A p-value for a table."""
    return "p < 1e-16" if p_value < 1e-16 else f"p = {p_value:.2g}" if p_value < 0.001 else f"p = {p_value:.3f}"


def percent(share: float) -> str:
    """A share for a sentence: 12%, or 15 times where per cent are no longer read."""
    return f"{share:.0%}" if share < 10.0 else f"{share:.3g} times"


def legendre(u: np.ndarray, degree: int) -> np.ndarray:
    """The Legendre polynomials of degree 1 ... `degree` on (0, 1), normalised, (n, degree)."""
    basis = np.polynomial.legendre.legvander(2.0 * u - 1.0, degree)[:, 1:]
    return basis * np.sqrt(2.0 * np.arange(1, degree + 1) + 1.0)
