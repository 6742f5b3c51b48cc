"""The choice among normal densities, and the measured bias that it rests on."""

import math

import pytest
import torch

from pdekit import models
from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.choose_several import choose_several
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.kessler import KesslerTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.step_bias import FineSteps


def steps(dim, n, dt, seed=0, center=0.0):
    generator = torch.Generator().manual_seed(seed)
    x0 = center + 0.5 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return Pairs(torch.linspace(0, 1, n).double(), torch.full((n,), dt).double(), x0, x0 + 0.1, torch.zeros(n).long())


def test_the_measured_bias_is_the_known_one():
    # Euler's estimate of an Ornstein-Uhlenbeck process: sigma^2 (1 - e^(-2 theta dt)) / (2 theta dt) for sigma^2, and
    # a standard error of sigma / sqrt(2 N).
    model, n, dt, rate = models.get("ornstein_uhlenbeck"), 4000, 0.05, 1.0
    theta = model.theta({"theta": rate, "mu": 0.0, "sigma": 0.5})
    data = steps(1, n, dt)
    data.x0.mul_(0.5 / math.sqrt(2 * rate) / 0.5)  # the stationary law
    fine = FineSteps(model, data, theta)
    ratio = math.sqrt((1 - math.exp(-2 * rate * dt)) / (2 * rate * dt))
    bias = fine.bias(EulerTransition(model, fine.pairs))
    assert bias.parameter == "sigma"
    assert bias.size == pytest.approx((1 - ratio) * math.sqrt(2 * n), rel=0.1)
    exact = fine.bias(LocalLinearTransition(model, fine.pairs))
    assert exact.size < 3 * exact.noise + 0.05


def test_only_the_bias_of_what_is_estimated_counts():
    """Euler's bias is all in sigma; with sigma held the rate is off by half a step, as its known formula says."""
    model, n, dt, rate = models.get("ornstein_uhlenbeck"), 4000, 0.05, 1.0
    theta = model.theta({"theta": rate, "mu": 0.0, "sigma": 0.5})
    data = steps(1, n, dt)
    data.x0.mul_(0.5 / math.sqrt(2 * rate) / 0.5)
    free = torch.tensor([name == "theta" for name in model.param_names])
    bias = FineSteps(model, data, theta, free=free).bias(EulerTransition(model, data_pairs(model, data, theta)))
    assert bias.parameter == "theta"
    # E[estimate] = (1 - e^(-theta dt)) / dt, with standard error sigma / sqrt(N dt E x^2) = sqrt(2 theta / (N dt)).
    off = rate - (1 - math.exp(-rate * dt)) / dt
    assert bias.size == pytest.approx(off / math.sqrt(2 * rate / (n * dt)), rel=0.15)


def data_pairs(model, data, theta):
    return FineSteps(model, data, theta).pairs


def test_short_steps_take_euler_and_long_ones_something_better():
    model = models.get("hopf")
    theta = model.theta(model.defaults)
    cheap, reason = choose_several(model, steps(2, 1000, 0.002), theta)
    assert isinstance(cheap, EulerTransition)
    assert reason in cheap.route
    better, reason = choose_several(model, steps(2, 3000, 0.05), theta)
    assert isinstance(better, LocalLinearTransition | KesslerTransition)
    assert "Euler by" in reason


def test_the_choice_is_deterministic_and_reached_by_auto():
    model, data = models.get("lotka_volterra"), steps(2, 400, 0.05, center=2.0)
    data.x0.abs_()
    theta = model.theta(model.defaults)
    first, again = (transition_density(model, data, theta) for _ in range(2))
    assert first.route == again.route == choose_several(model, data, theta)[0].route


def test_models_with_one_answer_are_not_simulated(monkeypatch):
    monkeypatch.setattr("pdekit.fitting.densities.choose_several.FineSteps", None)
    for name, reason in (("linear_2d", "exact"), ("damped_oscillator", "exact"), ("kramers", "alone has a density")):
        model = models.get(name)
        density, why = choose_several(model, steps(2, 50, 0.3), model.theta(model.defaults))
        assert isinstance(density, LocalLinearTransition)
        assert reason in why


def test_a_scalar_model_that_depends_on_time_is_served():
    model, data = models.get("stochastic_resonance"), steps(1, 300, 0.2)
    theta = model.theta(model.defaults)
    density = transition_density(model, data, theta)
    assert isinstance(density, EulerTransition | LocalLinearTransition | KesslerTransition)
    assert bool(((density.cdf(theta) >= 0) & (density.cdf(theta) <= 1)).all())


def test_where_simulation_runs_off_the_answer_says_so(model):
    sde = model(["x**9", "-y"], ["1", "1 + 0.1*x"], {}, state=["x", "y"])
    data = steps(2, 50, 10.0, center=5.0)
    _, reason = choose_several(sde, data, torch.zeros(0, dtype=torch.float64))
    assert "could not be checked" in reason


def test_a_model_that_nothing_serves_is_refused(model):
    sde = model(["abs(y)", "-x"], ["0", "1"], {}, state=["x", "y"])
    with pytest.raises(UnsupportedError, match="No transition density"):
        choose_several(sde, steps(2, 10, 0.1), torch.zeros(0, dtype=torch.float64))


def test_with_everything_held_no_density_is_taken_that_may_fail(model):
    held = model(["a*x - x**3 + y", "-y - x"], ["s*sqrt(1 + x**2)", "s"], {"a": None, "s": (0, None)}, state=["x", "y"])
    data, theta = steps(2, 300, 0.5), held.theta({"a": 1.0, "s": 0.5})
    density, reason = choose_several(held, data, theta, free=torch.zeros(2, dtype=torch.bool))
    assert reason == "nothing is estimated"
    assert bool(torch.isfinite(density.log_density(theta)).all())
