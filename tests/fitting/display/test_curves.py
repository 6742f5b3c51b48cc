"""Curves and their bands against closed forms of the Ornstein-Uhlenbeck process."""

import math

import pytest
import torch

from pdekit import Trajectories, fit, models, simulate
from pdekit.errors import InputError
from pdekit.fitting.display.curves import binned_increments, coefficient_curve, increments_beside
from pdekit.fitting.evidence import Evidence

EXACT = 1e-12  # a few roundings of numbers of order one


def evidence_of(model, data, theta, covariance) -> Evidence:
    """A fit made up of what the curves look at; no likelihood is needed."""
    return Evidence(model, data, data.pairs(), theta, covariance, density=None, seed=0)  # pyright: ignore


@pytest.fixture(scope="module")
def data() -> Trajectories:
    sde = models.get("ou").at(theta=2.0, mu=1.0, sigma=0.5)
    path = simulate(sde, 1.0, torch.arange(4001.0) / 100, seed=1)
    return Trajectories.from_arrays(path.times, path.values[:, 0])


THETA = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.3, 0.02, 0.001], [0.02, 0.01, 0.0], [0.001, 0.0, 0.0004]], dtype=torch.float64)


def test_drift_and_its_band_are_those_of_the_formula(data):
    curve = coefficient_curve(evidence_of(models.get("ou"), data, THETA, COVARIANCE), "drift")
    x = curve.x
    torch.testing.assert_close(curve.value, 2.0 * (1.0 - x), rtol=0, atol=EXACT)
    # d f / d(theta, mu) = (mu - x, theta)
    variance = 0.3 * (1 - x) ** 2 + 2 * 0.02 * (1 - x) * 2.0 + 0.01 * 4.0
    torch.testing.assert_close(curve.stderr, variance.sqrt(), rtol=0, atol=EXACT)
    low, high = curve.band()
    torch.testing.assert_close(high - low, 2 * 1.959963984540054 * variance.sqrt(), rtol=0, atol=EXACT)
    assert float(x[0]) == float(data.values[0].min())
    assert float(x[-1]) == float(data.values[0].max())


def test_diffusion_is_its_size_and_its_band_stays_positive(data):
    theta = THETA.clone()
    theta[2] = -0.5  # the sign of a diffusion means nothing
    model = models.get("ou").with_bounds(sigma=None)
    wide = COVARIANCE.clone()
    wide[2, 2] = 4.0
    curve = coefficient_curve(evidence_of(model, data, theta, wide), "diffusion")
    torch.testing.assert_close(curve.value, torch.full_like(curve.x, 0.5), rtol=0, atol=EXACT)
    torch.testing.assert_close(curve.stderr, torch.full_like(curve.x, 2.0), rtol=0, atol=EXACT)
    assert float(curve.band()[0].min()) == 0.0


def test_a_held_parameter_adds_no_uncertainty(data):
    held = COVARIANCE.clone()
    held[0] = held[:, 0] = 0.0
    curve = coefficient_curve(evidence_of(models.get("ou"), data, THETA, held), "drift")
    torch.testing.assert_close(curve.stderr, torch.full_like(curve.x, 0.2), rtol=0, atol=EXACT)


@pytest.mark.parametrize("covariance", [torch.full((3, 3), torch.nan), torch.zeros(3, 3)])
def test_without_a_covariance_there_is_no_band(data, covariance):
    curve = coefficient_curve(evidence_of(models.get("ou"), data, THETA, covariance.double()), "drift")
    assert curve.stderr is None
    assert curve.band() is None


def test_the_band_covers_at_about_its_level():
    model, truth = models.get("ou"), {"theta": 2.0, "mu": 0.0, "sigma": 0.5}
    paths = simulate(model.at(**truth), 0.0, torch.arange(501.0) / 10, paths=20, seed=5)
    inside = []
    for i in range(20):
        found = fit(model, Trajectories.from_arrays(paths.times, paths.values[:, i]))
        curve = coefficient_curve(found.evidence, "drift")
        low, high = curve.band()
        middle = int((curve.x.abs()).argmin())
        expected = -2.0 * float(curve.x[middle])
        inside.append(float(low[middle]) < expected < float(high[middle]))
    assert sum(inside) >= 16  # P(Binomial(20, .95) < 16) = .0003


def test_stratonovich_models_show_their_ito_drift(data):
    model = models.get("gbm").stratonovich()
    theta = torch.tensor([0.3, 0.4], dtype=torch.float64)
    shifted = Trajectories.from_arrays(data.times[0], data.values[0] + 2.0)
    curve = coefficient_curve(evidence_of(model, shifted, theta, torch.eye(2).double()), "drift")
    torch.testing.assert_close(curve.value, 0.3 * curve.x, rtol=1e-12, atol=0)


def test_several_states_are_compared_on_one_axis():
    model = models.get("hopf")
    sde = model.at(a=0.5, omega=2.0, sigma=0.3)
    path = simulate(sde, [0.7, 0.0], torch.arange(4001.0) / 100, seed=2)
    data = Trajectories.from_arrays(path.times, path.values[:, 0])
    evidence = evidence_of(model, data, torch.tensor([0.5, 2.0, 0.3]).double(), 0.01 * torch.eye(3).double())
    curve, points = coefficient_curve(evidence, "drift", 1), increments_beside(evidence, "drift", 1)
    torch.testing.assert_close(curve.x, curve.value, rtol=0, atol=EXACT)  # the diagonal, by construction
    torch.testing.assert_close(curve.x, points.x, rtol=0, atol=EXACT)
    assert float(((points.drift - points.x) / points.drift_stderr).abs().max()) < 4.0
    noise = increments_beside(evidence, "diffusion", 1)
    # dt = .01: the drift is taken off, so the increments' variance is that of the noise up to O(dt)
    assert float(((noise.diffusion - 0.3) / noise.diffusion_stderr).abs().max()) < 4.5


def test_an_absent_noise_gives_a_flat_zero_without_nan():
    model = models.get("kramers")
    path = simulate(model.at(**model.defaults), [1.0, 0.0], torch.arange(401.0) / 50, seed=2)
    data = Trajectories.from_arrays(path.times, path.values[:, 0])
    curve = coefficient_curve(
        evidence_of(model, data, model.theta(model.defaults), torch.eye(4).double()), "diffusion", 0
    )
    assert float(curve.value.max()) < 1e-100
    assert float(curve.stderr.max()) == 0.0


def test_binned_increments_of_a_known_process(data):
    bins = binned_increments(data.pairs())
    assert bool((bins.x.diff() > 0).all())
    assert float(((bins.drift - 2.0 * (1.0 - bins.x)) / bins.drift_stderr).abs().max()) < 4.0
    # the exact transition's variance is smaller than sigma^2 dt by a factor 1 - theta dt
    expected = 0.5 * math.sqrt((1 - math.exp(-2 * 2.0 * 0.01)) / (2 * 2.0 * 0.01))
    assert float(((bins.diffusion - expected) / bins.diffusion_stderr).abs().max()) < 4.0


def test_tied_observations_leave_no_empty_bin():
    x = [1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 3.0] * 8
    bins = binned_increments(Trajectories.from_arrays(range(64), x).pairs())
    assert bool(torch.isfinite(bins.drift).all() & torch.isfinite(bins.x).all())


def test_wrong_requests_are_refused(data):
    evidence = evidence_of(models.get("ou"), data, THETA, COVARIANCE)
    with pytest.raises(InputError, match="which must be"):
        coefficient_curve(evidence, "noise")  # pyright: ignore
    with pytest.raises(InputError, match="component must be"):
        coefficient_curve(evidence, "drift", 1)
