"""The stationary density against closed forms, and the models that have none."""

import numpy as np
import pytest
import torch

from pdekit import models
from pdekit.fitting.display.stationary import NoStationaryDensity, StationaryDensity, stationary_density

CASES = {
    "ornstein_uhlenbeck": ({"theta": 2.0, "mu": 1.0, "sigma": 0.7}, (0.5, 1.4)),
    "cir": ({"kappa": 3.0, "theta": 0.3, "sigma": 0.2}, (0.2, 0.5)),
    "jacobi": (None, None),
    "student": (None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_density_matches_the_closed_form(name):
    model = models.get(name)
    values, reach = CASES[name]
    theta = model.theta(values or model.defaults)
    reach = reach or ((0.3, 0.7) if name == "jacobi" else (-1.0, 1.0))
    found = stationary_density(model, theta, reach)
    assert isinstance(found, StationaryDensity)
    exact = model.function(model.closed_forms["stationary_density"])(0.0, found.x[:, None], theta)
    shown = found.pdf > 1e-3 * found.pdf.max()
    # cells of a two-thousandth of a range of several standard deviations: second order gives 1e-4
    torch.testing.assert_close(found.pdf[shown], exact[shown], rtol=2e-3, atol=2e-3 * float(exact[shown].max()))
    assert abs(float(found.mass.sum()) - 1.0) < 1e-12


def test_a_record_far_from_equilibrium_does_not_hide_it():
    model = models.get("ou")
    theta = model.theta({"theta": 0.1, "mu": 5.0, "sigma": 1.0})  # stationary sd 2.2 about 5
    found = stationary_density(model, theta, (0.0, 0.3))
    mean = float((found.mass * found.x).sum())
    assert abs(mean - 5.0) < 1e-3
    assert abs(float((found.mass * (found.x - mean) ** 2).sum()) - 5.0) < 5e-3
    assert abs(found.quantile(0.5) - 5.0) < 0.1


@pytest.mark.parametrize(
    ("name", "values", "reach", "says"),
    [
        ("gbm", {"mu": 0.1, "sigma": 0.2}, (1.0, 3.0), "large x"),
        ("gbm", {"mu": 0.122, "sigma": 0.2056}, (0.7, 13.3), "large x"),
        ("gbm", {"mu": -0.1, "sigma": 0.2}, (1.0, 3.0), "x"),
        ("brownian_motion", {"mu": 0.0, "sigma": 1.0}, (-1.0, 1.0), "both sides"),
        ("brownian_motion", {"mu": -0.5, "sigma": 1.0}, (-1.0, 1.0), "small x"),
        ("ckls", {"alpha": 0.1, "beta": 0.3, "sigma": 0.2, "gamma": 0.5}, (1.0, 4.0), "large r"),
    ],
)
def test_processes_that_run_away_say_so(name, values, reach, says):
    model = models.get(name)
    found = stationary_density(model, model.theta(values), reach)
    assert isinstance(found, NoStationaryDensity)
    assert says in found.reason


def test_several_states_and_time_dependence_are_named():
    hopf, resonance = models.get("hopf"), models.get("stochastic_resonance")
    assert "one state" in stationary_density(hopf, hopf.theta(hopf.defaults), (0.0, 1.0)).reason
    assert "time" in stationary_density(resonance, resonance.theta(resonance.defaults), (-1.0, 1.0)).reason


def test_a_pole_at_the_boundary_is_integrated():
    model = models.get("cir")
    theta = model.theta({"kappa": 1.0, "theta": 0.2, "sigma": 1.0})  # shape 0.4: infinite density at 0
    found = stationary_density(model, theta, (0.001, 1.0))
    assert abs(float((found.mass * found.x).sum()) - 0.2) < 2e-3
    assert np.isfinite(found.pdf.numpy()).all()
