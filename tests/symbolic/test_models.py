"""The catalogue: every closed form is checked against the equation that it belongs to."""

import itertools
import math

import pytest
import sympy
import torch
from scipy.integrate import quad, solve_ivp

from pdekit.errors import ModelError
from pdekit.symbolic import models

CATALOGUE = {name: build() for name, build in models.catalogue().items()}
ONE_STATE = [name for name, model in CATALOGUE.items() if model.dim == 1]
DENSITIES = ("stationary_density", "unnormalized_stationary_density")


def density_of(model):
    return next((model.closed_forms[k] for k in DENSITIES if k in model.closed_forms), None)


def states(model, count=7):
    """States inside the domain."""
    u = torch.linspace(0.1, 0.9, count, dtype=torch.float64)
    columns = [
        torch.logit(u) if math.isinf(low) else (u * high if math.isfinite(high) else low + 2 * u)
        for low, high in model.domain
    ]
    return torch.stack([column.roll(i) for i, column in enumerate(columns)], dim=-1)


def other_values(model):
    """Parameter values that differ from the defaults and keep the model stationary."""
    factors = (1.2, 0.9, 1.1, 0.85, 1.15, 0.95)
    return {n: v * factors[i % 6] for i, (n, v) in enumerate(model.defaults.items())}


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_model_says_what_it_is_and_runs(name):
    model = CATALOGUE[name]
    assert model.name
    assert model.description.endswith(".")
    assert model.boundary.endswith(".")
    assert set(model.defaults) == set(model.params)
    assert name in models.__all__
    sde = model.at(**model.defaults)
    x = states(model)
    noise = torch.randn(len(x), model.noise_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g = sde.diffusion(0.0, x)
    moved = x + 1e-3 * sde.drift(0.0, x) + 1e-3**0.5 * (g * noise if g.ndim == 2 else (g @ noise[..., None])[..., 0])
    assert moved.shape == x.shape
    assert moved.isfinite().all()
    assert not torch.equal(moved, x)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_functions_of_parameters_agree_with_fixed_ones(name):
    model = CATALOGUE[name]
    sde, theta, x = model.at(**model.defaults), model.theta(model.defaults), states(model)
    # The same expressions with numbers folded in: a few roundings apart.
    torch.testing.assert_close(model.function(model.drift)(0.3, x, theta), sde.drift(0.3, x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        model.function(model.diffusion)(0.3, x, theta), sde.diffusion(0.3, x), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("name", [n for n, m in CATALOGUE.items() if density_of(m) is not None])
@pytest.mark.parametrize("values", ["defaults", "others"])
def test_densities_solve_the_stationary_fokker_planck_equation(name, values):
    """-div(f p) + sum_ij d_i d_j (D_ij p) = 0, relative to p and to the size of its terms."""
    model = CATALOGUE[name].ito()
    p, D, x = density_of(model), model.diffusion_tensor, model.state
    theta = model.theta(model.defaults if values == "defaults" else other_values(model))
    score = [sympy.diff(sympy.log(p), s) for s in x]
    currents = [
        model.drift[i] - sum(sympy.diff(D[i, j], x[j]) + D[i, j] * score[j] for j in range(model.dim))
        for i in range(model.dim)
    ]
    terms = [sympy.diff(c, s) + c * u for c, s, u in zip(currents, x, score, strict=True)]
    residual = model.function(sum(terms))(0.0, states(model), theta)
    size = sum(model.function(t)(0.0, states(model), theta).abs() for t in terms) + 1.0
    assert (residual.abs() / size).max() < 1e-11
    if model.dim == 1:  # no flux through the ends, so none anywhere
        assert model.function(currents[0])(0.0, states(model), theta).abs().max() < 1e-11


def integrate(model, weight, theta):
    p = model.function(weight)
    low, high = (max(model.domain[0][0], -40.0), min(model.domain[0][1], 40.0))
    value = lambda v: p(0.0, torch.tensor([v], dtype=torch.float64), theta).item()  # noqa: E731
    middle = [c for c in (0.05, 0.3, 0.6, 1.0, 2.0, 5.0) if low < c < high] + [-c for c in (0.5, 2.0, 5.0) if -c > low]
    ends = [low, *sorted(middle), high]
    return sum(quad(value, a, b, epsabs=1e-12, epsrel=1e-9, limit=200)[0] for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize("name", [n for n in ONE_STATE if "stationary_density" in CATALOGUE[n].closed_forms])
def test_densities_have_mass_one_and_the_stated_moments(name):
    model = CATALOGUE[name]
    theta = model.theta(other_values(model))
    p, x = model.closed_forms["stationary_density"], model.state[0]
    at = lambda key: model.function(model.closed_forms[key])(0.0, torch.ones(1, dtype=torch.float64), theta).item()  # noqa: E731
    # Student's t has tails x^-8: cutting at 40 leaves 1e-8 of the second moment.
    assert integrate(model, p, theta) == pytest.approx(1.0, abs=1e-8)
    mean = integrate(model, x * p, theta)
    assert mean == pytest.approx(at("stationary_mean"), abs=1e-7)
    if "stationary_variance" in model.closed_forms:
        assert integrate(model, (x - mean) ** 2 * p, theta) == pytest.approx(at("stationary_variance"), rel=1e-5)


@pytest.mark.parametrize("name", [n for n in ONE_STATE if "conditional_mean" in CATALOGUE[n].closed_forms])
def test_conditional_moments_solve_the_backward_equation(name):
    """m and s = v + m^2 satisfy d_t u = f u' + D u'' from u(0, x) = x and x^2."""
    model = CATALOGUE[name].ito()
    x, t = model.state[0], model.time
    mean = model.closed_forms["conditional_mean"]
    moments = [(mean, x)]
    if "conditional_variance" in model.closed_forms:
        moments.append((model.closed_forms["conditional_variance"] + mean**2, x**2))
    theta, at = model.theta(other_values(model)), states(model)
    for u, start in moments:
        residual = (
            sympy.diff(u, t) - model.drift[0] * sympy.diff(u, x) - model.diffusion_tensor[0, 0] * sympy.diff(u, x, 2)
        )
        assert model.function(residual)(0.7, at, theta).abs().max() < 1e-12
        torch.testing.assert_close(
            model.function(u)(0.0, at, theta), model.function(start)(0.0, at, theta), rtol=1e-12, atol=1e-12
        )


def test_a_row_of_elapsed_times():
    model = CATALOGUE["ornstein_uhlenbeck"]
    theta = model.theta(model.defaults)
    x, t = torch.rand(4, 1, dtype=torch.float64), torch.rand(4, 1, dtype=torch.float64)
    value = model.function(model.closed_forms["conditional_mean"])(t, x, theta)
    solved = [
        solve_ivp(lambda _, y: -y, (0, s), [v], rtol=1e-10, atol=1e-12).y[0, -1]
        for s, v in zip(t.flatten().tolist(), x.flatten().tolist(), strict=True)
    ]
    assert value.tolist() == pytest.approx(solved, rel=1e-8)


def test_lookup():
    assert models.get("Double-Well") == models.double_well()
    assert models.get("ou") == models.get("vasicek") == models.vasicek() == models.ornstein_uhlenbeck()
    assert models.get("gbm").name == "Geometric Brownian motion"
    with pytest.raises(ModelError, match=r"Did you mean 'double_well'.*Known models: brownian_motion"):
        models.get("doublewell")
    with pytest.raises(ModelError, match="Known models"):
        models.get("xyz")
    assert len(models.catalogue()) >= 12
