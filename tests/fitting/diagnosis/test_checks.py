"""The moment test against the law it claims, where parameters were estimated and the textbook law is wrong."""

import numpy as np
import pytest
from scipy.special import ndtr

from pdekit.fitting.diagnosis.checks import legendre, moment_test, p_text, percent


def normal_fit(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PIT values, scores and covariance of a normal law fitted to n normal numbers."""
    z = rng.standard_normal(n)
    mean, sd = z.mean(), z.std()
    r = (z - mean) / sd
    scores = np.stack([r / sd, (r * r - 1.0) / sd], -1)
    return ndtr(r), scores, np.diag([sd**2, sd**2 / 2.0]) / n


def test_the_level_is_kept_although_parameters_were_estimated():
    rng = np.random.default_rng(0)
    p_values = np.empty(600)
    for i in range(len(p_values)):
        u, scores, covariance = normal_fit(rng, 500)
        p_values[i] = moment_test(legendre(u, 4), scores, covariance, np.full(4, 500)).p_value
    # Timid by design, if at all. Of 600 draws at 10 % the standard deviation is 1.2 %.
    assert 0.05 < (p_values < 0.1).mean() < 0.135


def test_directions_used_up_by_estimation_do_not_count():
    u, scores, covariance = normal_fit(np.random.default_rng(1), 2000)
    # Mean and variance of a fitted normal sample are fixed, and with them nearly the linear polynomial.
    test = moment_test(legendre(u, 4), scores, covariance, np.full(4, 2000))
    assert test.dof == 3


def test_a_gross_error_along_a_direction_used_up_is_still_seen():
    z = np.full((1000, 1), 0.5)
    assert moment_test(z, z, np.array([[0.004]]), np.array([1000])).p_value < 1e-6


def test_a_wrong_law_is_rejected():
    rng = np.random.default_rng(2)
    t = rng.standard_t(4, 2000)
    r = (t - t.mean()) / t.std()
    scores = np.stack([r, r * r - 1.0], -1)
    test = moment_test(legendre(ndtr(r), 4), scores, np.diag([1.0, 0.5]) / 2000, np.full(4, 2000))
    assert test.p_value < 1e-6


def test_legendre_polynomials_are_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(12)
    basis = legendre(0.5 * (nodes + 1.0), 5)
    # Quadrature of 12 nodes is exact for these degrees: only rounding remains.
    np.testing.assert_allclose(basis.T @ (0.5 * weights[:, None] * basis), np.eye(5), atol=1e-13)


@pytest.mark.parametrize(("p", "text"), [(0.0, "p < 1e-16"), (2.5e-5, "p = 2.5e-05"), (0.25, "p = 0.250")])
def test_p_values_in_words(p, text):
    assert p_text(p) == text


def test_shares_in_words():
    assert (percent(0.123), percent(150.0)) == ("12%", "150 times")
