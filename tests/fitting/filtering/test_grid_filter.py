"""The Fokker-Planck filter against the Kalman filter where that is exact, and against a plain fine-grid filter."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import pdekit as pk
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.filtering import GridFilterLikelihood, KalmanLikelihood, Observation, observed_model
from pdekit.fitting.filtering import grid_filter as module
from pdekit.fitting.filtering.blocks import cut
from pdekit.symbolic import SymbolicSDE

OU = SymbolicSDE("x", "-k*x", "s", params={"k": (0, None), "s": (0, None)})
NOISY = Observation(noise="estimate")


def ou_record(n, level, seed=0, irregular=False):
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.2, 0.4, 0.7], n) if irregular else np.full(n, 0.4)
    x = np.zeros(n + 1)
    for i, h in enumerate(steps):
        x[i + 1] = np.exp(-h) * x[i] + 0.5 * np.sqrt(-np.expm1(-2 * h) / 2) * rng.standard_normal()
    y = x + level * rng.standard_normal(n + 1)
    return pk.Trajectories.from_arrays(np.concatenate([[0.0], np.cumsum(steps)]), y).pairs()


def value_and_gradient(likelihood, theta):
    at = theta.clone().requires_grad_()
    terms = likelihood.log_density(at)
    return terms.detach(), torch.autograd.grad(terms.sum(), at)[0]


# From far below a cell's width to several times it, and in between.
@pytest.mark.parametrize("level", [0.0005, 0.02, 0.06, 0.09, 0.3])
def test_on_linear_drift_it_is_the_kalman_filter(level):
    model = observed_model(OU, NOISY)
    theta = torch.tensor([1.0, 0.5, level], dtype=torch.float64)
    pairs = ou_record(300, level, irregular=True)
    exact, gradient = value_and_gradient(kalman := KalmanLikelihood(model, pairs, NOISY, theta), theta)
    grid = GridFilterLikelihood.lay(model, pairs, NOISY, theta)
    best = grid.extrapolated()
    terms, slope = value_and_gradient(best, theta)
    assert grid.unreachable == 0
    # In units of what 300 readings tell: gradients per standard error of each parameter.
    size = torch.tensor([0.2, 0.03, 0.02], dtype=torch.float64)
    assert float((terms - exact).abs().max()) < 0.01
    assert float((terms - exact).sum().abs()) < 0.01
    assert float(((slope - gradient) * size).abs().max()) < 0.02
    assert float((best.cdf(theta) - kalman.cdf(theta)).abs().max()) < 0.003
    assert float((best.states(theta) - kalman.states(theta)).abs().max()) < 0.004
    assert float((best.residuals(theta) - kalman.residuals(theta)).abs().max()) < 0.05


def test_halving_the_cells_takes_errors_to_a_quarter():
    model = observed_model(OU, NOISY)
    theta = torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)
    pairs = ou_record(100, 0.2)
    exact = KalmanLikelihood(model, pairs, NOISY, theta).log_density(theta)
    grid = GridFilterLikelihood.lay(model, pairs, NOISY, theta, cells=60)
    errors = [
        float((likelihood.log_density(theta) - exact).abs().max())
        for likelihood in (grid, grid.refined(), grid.extrapolated())
    ]
    assert 3.5 < errors[0] / errors[1] < 4.5
    assert errors[2] < 0.1 * errors[1]
    assert (grid.finest, grid.refined().finest, grid.extrapolated().finest) == (60, 120, 120)


def plain_filter(drift, noise, step, y, level, least, greatest, cells):
    """log p(y_k | y_0 ...) on a fine uniform grid: a jump chain's matrix exponential and Bayes' rule, term by term."""
    edges = np.linspace(least, greatest, cells + 1)
    x, h = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    potential = np.cumsum(np.concatenate([[0.0], h * drift(edges[1:-1]) / noise**2]))
    rate = noise**2 / (2.0 * h * h)
    up, down = rate * np.exp(np.diff(potential)), rate * np.exp(-np.diff(potential))
    generator = np.diag(up, 1) + np.diag(down, -1)
    generator -= np.diag(generator.sum(1))
    kernel = expm(generator * step)
    law = np.exp(-0.5 * ((y[0] - x) / level) ** 2)
    law, terms = law / law.sum(), []
    for reading in y[1:]:
        law = (law @ kernel) * np.exp(-0.5 * ((reading - x) / level) ** 2) / (level * np.sqrt(2.0 * np.pi))
        terms.append(np.log(law.sum()))
        law = law / law.sum()
    return np.array(terms)


def test_in_two_wells_it_is_a_plain_filter_on_a_fine_grid():
    rng, x, states = np.random.default_rng(5), 1.0, []
    for _ in range(60):
        states.append(x)
        for _ in range(50):
            x += (x - x**3) * 0.01 + 0.5 * 0.1 * rng.standard_normal()
    y = np.array(states) + 0.25 * rng.standard_normal(60)
    pairs = pk.Trajectories.from_arrays(0.5 * np.arange(60), y).pairs()
    model = observed_model(pk.models.get("double_well"), NOISY)
    theta = torch.tensor([1.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    found = GridFilterLikelihood.lay(model, pairs, NOISY, theta, extrapolate=True).log_density(theta)
    drift = lambda z: z - z**3  # noqa: E731
    coarse, fine = (plain_filter(drift, 0.5, 0.5, y, 0.25, -2.6, 2.6, cells) for cells in (200, 400))
    # Both are of fourth order once extrapolated.
    assert np.abs(found.numpy() - (4.0 * fine - coarse) / 3.0).max() < 1e-3


def test_gradients_are_those_of_differences_also_when_parts_are_computed_twice(monkeypatch):
    model = observed_model(pk.models.get("double_well"), NOISY)
    theta = torch.tensor([1.0, 1.0, 0.5, 0.08], dtype=torch.float64)
    pairs = ou_record(30, 0.08, irregular=True)
    grid = GridFilterLikelihood.lay(model, pairs, NOISY, theta, cells=60)
    _, gradient = value_and_gradient(grid, theta)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-5
        with torch.no_grad():
            ahead, behind = grid.log_density(theta + step).sum(), grid.log_density(theta - step).sum()
        assert float(gradient[i]) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-5, abs=1e-5)
    monkeypatch.setattr(module, "_MOST_KEPT", 0)
    assert torch.allclose(value_and_gradient(grid, theta)[1], gradient, rtol=1e-12, atol=1e-12)


def test_blocks_side_by_side_give_what_one_long_run_gives():
    model = observed_model(OU, NOISY)
    theta = torch.tensor([1.0, 0.5, 0.3], dtype=torch.float64)
    pairs = ou_record(400, 0.3)
    grid = GridFilterLikelihood.lay(model, pairs, NOISY, theta)
    with torch.no_grad():
        terms = grid.log_density(theta)
        assert grid.blocks.rows > 3
        grid.blocks = cut(pairs, 400)
        assert grid.blocks.rows == 1
        assert float((grid.log_density(theta) - terms).abs().max()) < 1e-8


def test_without_noise_it_is_the_likelihood_of_exact_readings():
    """Near a boundary too, with noise that depends on the state."""
    cir = pk.models.get("cir")
    model, rng = observed_model(cir, NOISY), np.random.default_rng(1)
    values = dict(zip(cir.param_names, (1.0, 1.0, 0.6), strict=True))
    x = [1.0]
    for _ in range(150):
        z = x[-1]
        for _ in range(50):
            z = abs(z + (1.0 - z) * 0.01 + 0.6 * np.sqrt(0.01 * z) * rng.standard_normal())
        x.append(z)
    pairs = pk.Trajectories.from_arrays(0.5 * np.arange(151), x).pairs()
    theta = model.theta({**values, "noise_x": 1e-7})
    filtered = GridFilterLikelihood.lay(model, pairs, NOISY, theta, extrapolate=True).log_density(theta)
    plain = FokkerPlanckTransition.lay(cir, pairs, cir.theta(values), extrapolate=True).log_density(cir.theta(values))
    assert float((filtered - plain).abs().max()) < 0.02
    assert float((filtered - plain).sum().abs()) < 0.05


def test_readings_beyond_the_end_of_the_domain_are_possible_with_noise():
    model = observed_model(pk.models.get("cir"), Observation(noise=0.3))
    y = np.array([0.4, -0.2, 0.3, 0.9, 0.2, -0.4, 0.1, 0.5])
    pairs = pk.Trajectories.from_arrays(0.5 * np.arange(8), y).pairs()
    theta = model.theta(dict(zip(model.param_names, (1.0, 0.5, 0.6), strict=True)))
    grid = GridFilterLikelihood.lay(model, pairs, Observation(noise=0.3), theta)
    assert bool(torch.isfinite(grid.log_density(theta)).all())
    assert bool((grid.states(theta) > 0).all())


def test_a_wild_reading_takes_a_normal_tail_and_is_counted():
    model = observed_model(OU, NOISY)
    theta = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    pairs = ou_record(60, 0.1)
    y = torch.cat([pairs.x0[:, 0], pairs.x1[-1:, 0]]).numpy().copy()
    y[30] = 9.0
    wild = pk.Trajectories.from_arrays(0.4 * np.arange(61), y).pairs()
    grid = GridFilterLikelihood.lay(model, wild, NOISY, theta)
    terms, gradient = value_and_gradient(grid, theta)
    exact = KalmanLikelihood(model, wild, NOISY, theta).log_density(theta)
    assert grid.unreachable >= 1
    assert bool(torch.isfinite(gradient).all())
    assert float(terms[29]) == pytest.approx(float(exact[29]), rel=0.05)
    assert torch.allclose(terms[40:], exact[40:], atol=0.05)


def test_models_that_a_grid_of_one_state_cannot_serve_are_refused():
    observation = Observation(of=["x"], noise=0.1)
    model = observed_model(pk.models.get("damped_oscillator"), observation)
    with pytest.raises(UnsupportedError, match="Kalman"):
        GridFilterLikelihood.lay(model, ou_record(20, 0.1), observation, torch.ones(3).double())


def test_parameters_that_make_the_readings_impossible_are_an_error():
    model = observed_model(OU, NOISY)
    pairs = ou_record(60, 0.1)
    grid = GridFilterLikelihood.lay(model, pairs, NOISY, torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64))
    with pytest.raises(NumericalError):
        grid.log_density(torch.tensor([float("nan"), 0.5, 0.1], dtype=torch.float64))
