"""The simulated series against closed moments, and their independence of how many are simulated."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.fitting import samples
from benchmarks.fitting.densities import cir_log_density
from benchmarks.fitting.truth import cir, double_well, ornstein_uhlenbeck, stationary_density


def test_a_path_does_not_depend_on_the_other_seeds(tmp_path: Path) -> None:
    process = double_well()
    together = samples.double_well_paths(process, 0.01, 300, range(4))
    np.testing.assert_array_equal(together[2:], samples.double_well_paths(process, 0.01, 300, range(2, 4)))
    samples.prepare(process, 0.01, 300, 2, tmp_path)
    samples.prepare(process, 0.01, 300, 4, tmp_path)  # only the two that are missing
    np.testing.assert_array_equal(samples.path(process, 0.01, 300, 3, tmp_path), together[3])


def test_double_well_paths_keep_their_stationary_law() -> None:
    """A biased drift or noise term would show in the second and fourth moments."""
    process = double_well()
    x = samples.double_well_paths(process, 2.0, 3, range(3000))[:, -1]
    grid, weight = stationary_density(process)
    for power in (2, 4):
        exact = np.sum(weight * grid**power)
        error = stats.sem(x**power)
        assert np.mean(x**power) == pytest.approx(exact, abs=5 * error)


def test_ou_path_has_its_law() -> None:
    x = samples.ou_path(ornstein_uhlenbeck(), 0.5, 40_000, 0)
    residual = (x[1:] - np.exp(-0.5) * x[:-1]) / np.sqrt(0.125 * -np.expm1(-1.0))
    assert stats.kstest(residual, "norm").pvalue > 1e-4


@pytest.mark.parametrize("theta", [(3.0, 0.3, 0.2), (0.5, 0.06, 0.316)])
def test_cir_density_and_sampler_are_the_noncentral_chi_square(theta: tuple[float, float, float]) -> None:
    process, dt = cir(*theta), 0.5
    x = samples.cir_path(process, dt, 4000, 0)
    kappa, mu, sigma = theta
    scale = sigma**2 * -np.expm1(-kappa * dt) / (4 * kappa)
    law = stats.ncx2(4 * kappa * mu / sigma**2, np.exp(-kappa * dt) * x[:-1] / scale)
    assert stats.kstest(law.cdf(x[1:] / scale), "uniform").pvalue > 1e-4
    np.testing.assert_allclose(cir_log_density(theta, dt, x), law.logpdf(x[1:] / scale) - np.log(scale), atol=1e-7)
