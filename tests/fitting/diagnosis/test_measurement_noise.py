"""Measurement noise of known size, and its absence."""

import numpy as np
import pytest

from pdekit.data import Trajectories
from pdekit.fitting.diagnosis.measurement_noise import check_measurement_noise, noise_estimate
from pdekit.fitting.diagnosis.residuals import Residuals
from pdekit.fitting.estimation import fit
from pdekit.symbolic import models


def noisy(data: Trajectories, sd: float, seed: int = 7) -> Trajectories:
    x = data.values[0][:, 0].numpy()
    return Trajectories.from_arrays(
        data.times[0].numpy(), x + sd * np.random.default_rng(seed).standard_normal(len(x)), time_unit="s"
    )


def test_noise_on_an_ornstein_uhlenbeck_path_is_measured(ornstein_uhlenbeck_path):
    data = noisy(ornstein_uhlenbeck_path(5000, 0.1, 1), 0.08)
    found = fit(models.ornstein_uhlenbeck(), data).evidence
    residuals = Residuals.of(found)
    estimate = noise_estimate(found, residuals)
    assert estimate.sd == pytest.approx(0.08, abs=4.0 * estimate.error + 0.004)
    assert check_measurement_noise(found, residuals).flag.severity in ("warning", "serious")


def test_noise_on_a_finely_sampled_double_well_is_measured(double_well_path):
    data = noisy(double_well_path(4000, 0.01, 3, substeps=4), 0.05)
    found = fit(models.double_well(), data).evidence
    residuals = Residuals.of(found)
    estimate = noise_estimate(found, residuals)
    assert estimate.sd == pytest.approx(0.05, abs=4.0 * estimate.error)
    # 2 eps^2 out of sigma^2 dt + 2 eps^2.
    assert estimate.share == pytest.approx(0.005 / 0.0075, rel=0.1)
    assert check_measurement_noise(found, residuals).flag.severity == "serious"


@pytest.mark.parametrize("dt", [0.01, 0.1, 0.5])
def test_clean_paths_are_not_suspected(ornstein_uhlenbeck_path, dt):
    for seed in range(4):
        found = fit(models.ornstein_uhlenbeck(), ornstein_uhlenbeck_path(1000, dt, seed)).evidence
        assert check_measurement_noise(found, Residuals.of(found)).flag.severity == "ok"


def test_a_wrong_drift_is_not_mistaken_for_noise(double_well_path):
    found = fit(models.ornstein_uhlenbeck(), double_well_path(5000, 0.1, 1, substeps=10)).evidence
    assert check_measurement_noise(found, Residuals.of(found)).flag.severity == "ok"
