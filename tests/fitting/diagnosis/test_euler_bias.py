"""Euler's bias against the parameters that Euler's likelihood of an exact OU path is known to converge to."""

import math

import numpy as np
import pytest

from pdekit.fitting.diagnosis.euler_bias import check_euler_step, euler_bias
from pdekit.fitting.estimation import fit
from pdekit.symbolic import models


@pytest.mark.parametrize(("dt", "severity"), [(0.2, "serious"), (0.01, "ok")])
def test_the_bias_of_an_ornstein_uhlenbeck_fit(ornstein_uhlenbeck_path, dt, severity):
    found = fit(models.ornstein_uhlenbeck(), ornstein_uhlenbeck_path(4000, dt, 2), method="euler").evidence
    theta, _, sigma = found.theta.tolist()
    errors = found.covariance.diagonal().sqrt().numpy()
    # Euler takes (1 - e^{-theta dt}) / dt for theta and the exact one-step variance over dt for sigma^2.
    to_theta = -math.expm1(-theta * dt) / dt - theta
    to_sigma = sigma * (math.sqrt(-math.expm1(-2.0 * theta * dt) / (2.0 * theta * dt)) - 1.0)
    expected = np.array([to_theta, 0.0, to_sigma]) / errors
    bias, noise = euler_bias(found)
    # First order in the bias: the score is linearised over up to ten per cent. Monte Carlo: four of its errors.
    np.testing.assert_allclose(bias, expected, atol=float(4.0 * noise.max()), rtol=0.25)
    check = check_euler_step(found)
    assert check is not None
    assert check.flag.severity == severity


def test_exact_densities_are_not_checked(ornstein_uhlenbeck_path):
    found = fit(models.ornstein_uhlenbeck(), ornstein_uhlenbeck_path(200)).evidence
    assert check_euler_step(found) is None
