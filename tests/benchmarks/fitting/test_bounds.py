"""The information bounds against closed forms and published values."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.fitting.bounds import bound, generator, ou_information
from benchmarks.fitting.densities import cir_log_density
from benchmarks.fitting.truth import cir, double_well, drift_error, ornstein_uhlenbeck, stationary_density


@pytest.mark.parametrize("dt", [0.1, 0.5, 2.0])
def test_ou_information_matches_closed_form(dt: float) -> None:
    process = ornstein_uhlenbeck()
    exact = ou_information(1.0, 0.5, dt)
    numeric = bound(process, dt, n=1).information
    # after Richardson the grid error is of fourth order in .1 to .2 one-step standard deviations
    np.testing.assert_allclose(numeric, exact, rtol=2e-4, atol=1e-9)


def test_ou_closed_form_is_the_mean_curvature_of_its_log_density() -> None:
    theta, mu, sigma, dt = 1.3, 0.2, 0.7, 0.4

    def expected_log_density(params: np.ndarray) -> float:
        """E log p(y | x; params) under the truth: the minus Hessian at the truth is the information."""
        t, m, s = params
        e, e0 = np.exp(-t * dt), np.exp(-theta * dt)
        v, v0 = s**2 * (1 - e**2) / (2 * t), sigma**2 * (1 - e0**2) / (2 * theta)
        stationary = sigma**2 / (2 * theta)
        shift = (mu - m) * (1 - e)  # mean of (true mean - modelled mean) over stationary x
        return -0.5 * np.log(v) - (v0 + shift**2 + (e0 - e) ** 2 * stationary) / (2 * v)

    h, point = 1e-4, np.array([theta, mu, sigma])
    steps = np.eye(3) * h
    hessian = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            corners = [
                expected_log_density(point + a * steps[i] + b * steps[j]) * a * b for a in (1, -1) for b in (1, -1)
            ]
            hessian[i, j] = -sum(corners) / (4 * h * h)
    np.testing.assert_allclose(ou_information(theta, sigma, dt), hessian, rtol=1e-5, atol=1e-6)


def test_double_well_bounds_are_those_published() -> None:
    coarse = bound(double_well(), 0.5, 5000)
    assert 100 * coarse.drift_error == pytest.approx(4.38, abs=0.005)
    assert 100 * coarse.relative("sigma") == pytest.approx(1.31, abs=0.005)


def test_cir_information_matches_monte_carlo_scores() -> None:
    process, dt, n = cir(), 0.1, 200_000
    rng = np.random.default_rng(1)
    kappa, mu, sigma = process.theta
    x = rng.gamma(2 * kappa * mu / sigma**2, sigma**2 / (2 * kappa), n)
    scale = sigma**2 * -np.expm1(-kappa * dt) / (4 * kappa)
    y = scale * rng.noncentral_chisquare(4 * kappa * mu / sigma**2, np.exp(-kappa * dt) * x / scale)
    scores = []
    for i, value in enumerate(process.theta):
        h = 1e-4 * value
        up, down = list(process.theta), list(process.theta)
        up[i], down[i] = value + h, value - h
        scores.append([(_pairs(up, dt, x, y) - _pairs(down, dt, x, y)) / (2 * h)])
    stacked = np.concatenate(scores)
    monte_carlo = stacked @ stacked.T / n
    numeric = bound(process, dt, 1).information
    scale_matrix = np.sqrt(np.outer(np.diag(numeric), np.diag(numeric)))
    # a mean of 2e5 squares of near-normal scores has relative error sqrt(2 / 2e5) = .003; five of those
    np.testing.assert_allclose(numeric / scale_matrix, monte_carlo / scale_matrix, atol=0.016)


def _pairs(theta: list[float], dt: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    interleaved = np.stack([x, y], axis=1).ravel()
    return cir_log_density(theta, dt, interleaved)[::2]


def test_generator_is_reversible_and_has_the_stationary_law() -> None:
    process = cir()
    rates, mass = generator(process, np.asarray(process.theta), 200)
    np.testing.assert_allclose(rates.sum(axis=1), 0, atol=1e-12 * np.abs(rates).max())
    flux = mass[:, None] * rates
    np.testing.assert_allclose(flux, flux.T, atol=1e-12 * np.abs(flux).max())


def test_stationary_density_of_cir_is_gamma() -> None:
    process = cir()
    x, weight = stationary_density(process)
    kappa, mu, sigma = process.theta
    exact = stats.gamma(2 * kappa * mu / sigma**2, scale=sigma**2 / (2 * kappa)).pdf(x) * (x[1] - x[0])
    np.testing.assert_allclose(weight, exact, atol=1e-4 * exact.max())


def test_drift_error_of_a_scaled_drift_is_its_scale() -> None:
    process = double_well()
    assert drift_error(process, lambda x: 1.1 * (x - x**3)) == pytest.approx(0.1, rel=1e-12)
