import math

import numpy as np
import pytest
import torch
from scipy.stats import lognorm, ncx2, norm

from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import FiniteVolumeGrid
from pdekit.fokker_planck.transition import GridTransition

INFINITY = math.inf


def ornstein_uhlenbeck(dt, rng, n=400, theta=1.0, mu=0.3, sigma=0.5):
    variance = sigma**2 / 2 / theta
    x0 = mu + math.sqrt(variance) * rng.standard_normal(n)
    mean, deviation = mu + (x0 - mu) * math.exp(-theta * dt), math.sqrt(variance * -math.expm1(-2 * theta * dt))
    law = norm(mean, deviation)
    return (lambda x: (theta * (mu - x), sigma + 0 * x)), (-INFINITY, INFINITY), x0, law


def square_root(dt, rng, n=400, kappa=3.0, theta=0.3, sigma=0.2):
    x0 = rng.gamma(2 * kappa * theta / sigma**2, sigma**2 / 2 / kappa, n)
    scale = sigma**2 * -math.expm1(-kappa * dt) / (4 * kappa)
    law = ncx2(4 * kappa * theta / sigma**2, x0 * math.exp(-kappa * dt) / scale, scale=scale)
    return (lambda x: (kappa * (theta - x), sigma * torch.sqrt(x))), (0.0, INFINITY), x0, law


def geometric(dt, rng, n=400, mu=0.1, sigma=0.4):
    x0 = np.exp(rng.normal(0, 0.5, n))
    law = lognorm(sigma * math.sqrt(dt), scale=x0 * math.exp((mu - sigma**2 / 2) * dt))
    return (lambda x: (mu * x, sigma * x)), (0.0, INFINITY), x0, law


def violated(dt, rng):
    """Square root with 2 kappa theta / sigma^2 = .64: the process touches zero."""
    return square_root(dt, rng, kappa=0.5, theta=0.05, sigma=0.28)


CASES = {"OU": ornstein_uhlenbeck, "CIR": square_root, "CIR at zero": violated, "GBM": geometric}


def on_grid(coefficients, domain, x0, x1, dt, cells):
    both = torch.cat([x0, x1])
    deviation = math.sqrt(dt)
    coordinate = LampertiCoordinate(
        lambda x: coefficients(x)[1], domain, (float(both.min()), float(both.max())), 3.5 * deviation
    )
    y = coordinate.to_y(both)
    grid = FiniteVolumeGrid(coordinate, float(y.min()) - 3.5 * deviation, float(y.max()) + 3.5 * deviation, cells)
    return GridTransition(grid, x0, x1, torch.tensor([dt], dtype=torch.float64), torch.zeros(len(x0), dtype=torch.long))


def case(name, dt):
    rng = np.random.default_rng(7)
    coefficients, domain, x0, law = CASES[name](dt, rng)
    x1 = law.rvs(random_state=rng)
    return coefficients, domain, torch.from_numpy(x0), torch.from_numpy(x1), law


def rms(x):
    return float(x.square().mean().sqrt())


@pytest.mark.parametrize("name", CASES)
def test_log_density_converges_at_second_order_and_extrapolates_to_fourth(name):
    coefficients, domain, x0, x1, law = case(name, 0.2)
    exact = torch.from_numpy(law.logpdf(x1.numpy()))
    coarse, middle, fine = (
        on_grid(coefficients, domain, x0, x1, 0.2, cells).log_density(coefficients) for cells in (100, 200, 400)
    )
    first, second, third = rms(coarse - exact), rms(middle - exact), rms(fine - exact)
    assert 3.5 < first / second < 4.6
    assert 3.7 < second / third < 4.4
    extrapolated = rms((4 * fine - middle) / 3 - exact)
    # At a boundary that is touched the next term is not quite h^4.
    assert extrapolated < (0.15 if name == "CIR at zero" else 0.04) * third
    assert extrapolated < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_distribution_function(name):
    coefficients, domain, x0, x1, law = case(name, 0.2)
    exact = torch.from_numpy(law.cdf(x1.numpy()))
    coarse, fine = (
        float((on_grid(coefficients, domain, x0, x1, 0.2, cells).cdf(coefficients) - exact).abs().max())
        for cells in (100, 200)
    )
    assert fine < 2e-3
    assert fine < 0.4 * coarse


@pytest.mark.parametrize("name", CASES)
def test_density_is_positive_and_integrates_to_one(name):
    coefficients, domain, x0, _x1, law = case(name, 0.2)
    start = float(x0.median())
    nodes, weights = np.polynomial.legendre.leggauss(400)
    spread = 9 * law.std().max()
    lower, upper = max(start - spread, domain[0] + 1e-12), start + spread
    # Quadrature in sqrt(x - lower) takes out the singularity of a density at zero.
    root = 0.5 * math.sqrt(upper - lower) * (nodes + 1)
    ends = torch.from_numpy(lower + root**2)
    density = on_grid(coefficients, domain, torch.full_like(ends, start), ends, 0.2, 300).log_density(coefficients)
    assert bool(torch.isfinite(density).all())
    density = density.exp()
    mass = float((density * torch.from_numpy(weights * root * math.sqrt(upper - lower))).sum())
    # Second order at a twentieth of a deviation per cell, and the extremes' tails.
    assert mass == pytest.approx(1.0, abs=2e-3)


def double_well(theta):
    return lambda x: (theta[0] * x - theta[1] * x**3, theta[2] + 0 * x)


@pytest.mark.parametrize("sigma", [0.5, 0.12])
def test_gradient_in_the_parameters_also_in_deep_wells(sigma):
    # At sigma = .12 the wells are 35 kT deep and the two slowest eigenvalues coincide to rounding.
    rng = np.random.default_rng(0)
    x0 = torch.from_numpy(np.sign(rng.standard_normal(60)) + sigma / 2 * rng.standard_normal(60))
    x1 = x0 + 0.3 * sigma * torch.from_numpy(rng.standard_normal(60))
    theta = torch.tensor([1.0, 1.0, sigma], dtype=torch.float64, requires_grad=True)
    kernel = on_grid(double_well(theta.detach()), (-INFINITY, INFINITY), x0, x1, 0.5, 90)
    (gradient,) = torch.autograd.grad(kernel.log_density(double_well(theta)).sum(), theta)
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-5
        ahead, behind = (kernel.log_density(double_well(theta.detach() + s * step)).sum() for s in (1, -1))
        # Central differences of a sum of 60 terms of order one: rounding 1e-14 / 1e-5 against truncation 1e-10.
        assert float(gradient[i]) == pytest.approx(float((ahead - behind) / 2e-5), rel=2e-6, abs=1e-5)


def test_distinct_steps_in_one_call_equal_single_calls():
    coefficients, domain, x0, x1, _ = case("OU", 0.2)
    steps = torch.tensor([0.15, 0.2, 0.3], dtype=torch.float64)
    index = torch.arange(len(x0)) % 3
    grid = on_grid(coefficients, domain, x0, x1, 0.3, 80).grid
    together = GridTransition(grid, x0, x1, steps, index).log_density(coefficients)
    for k in range(3):
        chosen = (index == k).nonzero().flatten()
        alone = GridTransition(grid, x0[chosen], x1[chosen], steps[k : k + 1], torch.zeros_like(chosen))
        torch.testing.assert_close(together[chosen], alone.log_density(coefficients), rtol=1e-10, atol=1e-11)


def test_far_jumps_keep_their_accuracy():
    # Fourteen standard deviations: the spectral kernel is noise there (1e-43), the positive route is not.
    coefficients, domain, _, _, _ = case("OU", 0.2)
    x0 = torch.zeros(2, dtype=torch.float64)
    x1 = torch.tensor([0.1, 2.9], dtype=torch.float64)
    theta, mu, sigma, dt = 1.0, 0.3, 0.5, 0.2
    deviation = math.sqrt(sigma**2 / 2 / theta * -math.expm1(-2 * theta * dt))
    exact = norm.logpdf(x1.numpy(), mu - mu * math.exp(-theta * dt), deviation)
    middle, fine = (on_grid(coefficients, domain, x0, x1, dt, cells).log_density(coefficients) for cells in (400, 800))
    assert float(exact[1]) < -80
    torch.testing.assert_close((4 * fine - middle) / 3, torch.from_numpy(exact), rtol=2e-3, atol=1e-3)


def test_impossible_jumps_are_marked_and_finite():
    coefficients, domain, _, _, _ = case("OU", 0.01)
    x0, x1 = torch.zeros(1, dtype=torch.float64), torch.tensor([60.0], dtype=torch.float64)
    kernel = on_grid(coefficients, domain, x0, x1, 0.01, 100)
    assert bool(torch.isfinite(kernel.log_density(coefficients)).all())
    assert bool(kernel.unreachable.all())


def test_likelihood_is_continuous_where_a_boundary_turns_from_entrance_to_exit():
    # dx = alpha dt + .6 x^.7 dW: zero is never reached for alpha > 0 and absorbs for alpha < 0.
    x0, x1 = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    kernel = on_grid(lambda x: (0.0 * x, 0.6 * x**0.7), (0.0, INFINITY), x0, x1, 0.3, 120)
    values = [
        float(kernel.log_density(lambda x, a=a: (a + 0 * x, 0.6 * x**0.7))[0].detach())
        for a in np.linspace(-0.01, 0.01, 41)
    ]
    jumps = np.abs(np.diff(values))
    assert np.isfinite(values).all()
    assert jumps.max() < 3 * np.median(jumps)
