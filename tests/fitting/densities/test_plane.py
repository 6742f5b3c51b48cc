"""The Fokker-Planck likelihood of two states against exact laws, finite differences, simulation and itself refined."""

import math

import pytest
import torch

from pdekit import models
from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities import plane
from pdekit.fitting.densities.gaussian import log_normal
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.plane import PlaneTransition

LINEAR = (["-a*x + b*y", "-b*x - c*y"], [["s", "0"], ["r", "q"]])
AT = torch.tensor([1.0, 0.7, 0.6, 0.8, 0.3, 0.6], dtype=torch.float64)


def to_pairs(x0, x1, dt):
    n = len(x0)
    steps = torch.as_tensor(dt, dtype=torch.float64).expand(n).clone()
    return Pairs(torch.zeros(n).double(), steps, x0, x1, torch.zeros(n).long())


@pytest.fixture
def linear(model):
    return model(*LINEAR, dict.fromkeys("abcsrq"), state=["x", "y"])


def exact_draws(sde, theta, dt, n=40, seed=0):
    """Pairs of a linear model whose starts are spread out and whose ends are drawn from the exact law."""
    generator = torch.Generator().manual_seed(seed)
    x0 = 0.6 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    mean, covariance = LocalLinearTransition(sde, to_pairs(x0, x0, dt)).moments(theta)
    white = torch.randn(n, 2, 1, generator=generator, dtype=torch.float64)
    return to_pairs(x0, x0 + mean + (torch.linalg.cholesky(covariance) @ white)[..., 0], dt)


@pytest.mark.parametrize("dt", [0.2, 1.0, 4.0])
def test_a_linear_model_has_its_exact_law_and_gradient(linear, dt):
    data = exact_draws(linear, AT, dt)
    found, truth = PlaneTransition(linear, data, AT, 2), LocalLinearTransition(linear, data)
    gradients = []
    for density in (found, truth):
        theta = AT.clone().requires_grad_()
        log_p = density.log_density(theta)
        gradients.append((log_p.detach(), torch.autograd.grad(log_p.sum(), theta)[0]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=0, atol=1e-3)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-2, atol=2e-2)


def test_noise_that_reaches_a_state_through_the_other_only():
    sde = models.damped_oscillator()
    theta = sde.theta(sde.defaults)
    data = exact_draws(sde, theta, 4.0)
    log_p = PlaneTransition(sde, data, theta, 2).log_density(theta)
    torch.testing.assert_close(log_p, LocalLinearTransition(sde, data).log_density(theta), rtol=0, atol=2e-3)


@pytest.fixture
def noisy(model):
    return model(
        ["-a*x + y", "-x - y/2 - x**3/2"],
        [["s*sqrt(1 + x**2)", "0"], ["0.4*x", "0.5*sqrt(1 + y**2/2)"]],
        {"a": None, "s": (0, None)},
        state=["x", "y"],
    )


THETA = torch.tensor([1.0, 0.6], dtype=torch.float64)
START = torch.tensor([[0.4, -0.2], [-0.8, 0.5], [0.1, 1.0]], dtype=torch.float64)
END = torch.tensor([[0.3, -0.4], [-0.2, 0.9], [0.5, 0.2]], dtype=torch.float64)


def test_noise_with_cross_terms_against_simulation(noisy):
    # Pedersen's estimate: the normal density of the last of many substeps, averaged over where the others led.
    drift, noise = noisy.function(list(noisy.drift)), noisy.function(noisy.diffusion_matrix)
    generator = torch.Generator().manual_seed(4)
    x, h = START.repeat_interleave(30_000, 0), 0.5 / 48
    for _ in range(47):
        dw = math.sqrt(h) * torch.randn(len(x), 2, 1, generator=generator, dtype=torch.float64)
        x = x + drift(0.0, x, THETA) * h + (noise(0.0, x, THETA) @ dw)[..., 0]
    g = noise(0.0, x, THETA)
    miss = END.repeat_interleave(30_000, 0) - x - drift(0.0, x, THETA) * h
    last = log_normal(miss, g @ g.mT * h).exp().view(3, -1)
    mean, error = last.mean(1), last.std(1) / 30_000**0.5
    p = PlaneTransition.lay(noisy, to_pairs(START, END, 0.5), THETA).log_density(THETA).exp()
    assert bool(((p - mean).abs() <= 4.0 * error + 0.01 * mean).all())


def test_the_gradient_is_that_of_the_value(noisy):
    density = PlaneTransition(noisy, to_pairs(START, END, 0.4), THETA, 4)
    assert torch.autograd.gradcheck(density.log_density, THETA.clone().requires_grad_(), atol=1e-5)


def test_the_whole_mass_is_one(noisy):
    grid = torch.linspace(-3.5, 3.5, 26, dtype=torch.float64)
    ends = torch.cartesian_prod(grid, grid)
    density = PlaneTransition(noisy, to_pairs(START[:1].expand(len(ends), 2), ends, 0.4), THETA, 4)
    mass = density.log_density(THETA).exp().sum() * 0.28**2
    assert float(mass) == pytest.approx(1.0, abs=5e-3)


def test_more_substeps_are_closer_where_one_linear_step_fails():
    sde = models.hopf()
    theta = sde.theta(sde.defaults)
    angle = torch.linspace(0.0, 6.0, 12, dtype=torch.float64)
    ring = lambda a, r: r * torch.stack([torch.cos(a), torch.sin(a)], -1)  # noqa: E731
    data = to_pairs(ring(angle, 1.0), ring(angle + 0.5, 0.8), 1.0)
    coarse = PlaneTransition(sde, data, theta, 4)
    values = [d.log_density(theta) for d in (LocalLinearTransition(sde, data), coarse, coarse.refined())]
    single, substeps = (float((v - values[2]).abs().max()) for v in values[:2])
    assert substeps < 0.2 * single


def test_positive_states_have_nodes_at_equal_ratios():
    sde = models.lotka_volterra()
    theta = sde.theta({**sde.defaults, "sigma_x": 0.4, "sigma_y": 0.4})
    x0 = torch.tensor([[1.0, 1.0], [0.6, 1.5], [1.8, 0.5]], dtype=torch.float64)
    density = PlaneTransition(sde, to_pairs(x0, x0 * 1.05, 0.2), theta, 4)
    fine = density.refined().log_density(theta)
    torch.testing.assert_close(density.log_density(theta), fine, rtol=0, atol=2e-2)


def test_steps_of_different_lengths_in_any_order(linear):
    data = exact_draws(linear, AT, 0.5, n=9)
    data = to_pairs(data.x0, data.x1, torch.tensor([0.5, 0.8, 0.5, 0.8 * (1 + 1e-8), 0.5, 0.5, 0.8, 0.5, 0.5]))
    density = PlaneTransition(linear, data, AT, 4)
    assert len(density._parts) == 2
    truth = LocalLinearTransition(linear, data).log_density(AT)
    torch.testing.assert_close(density.log_density(AT), truth, rtol=0, atol=1e-3)


def test_what_is_too_faint_takes_one_step_and_is_marked(linear):
    data = exact_draws(linear, AT, 0.3, n=20)
    density = PlaneTransition(linear, data, AT, 4)
    weak = AT.clone()
    weak[3:] *= 0.01
    weak.requires_grad_()
    log_p = density.log_density(weak)
    assert bool(density.unreachable.any())
    assert bool(torch.isfinite(log_p).all())
    assert bool(torch.isfinite(torch.autograd.grad(log_p.sum(), weak)[0]).all())


def test_pairs_are_worked_on_in_blocks(linear, monkeypatch):
    data = exact_draws(linear, AT, 0.5)
    whole = PlaneTransition(linear, data, AT, 4).log_density(AT)
    monkeypatch.setattr(plane, "_ENTRIES", 8000)
    density = PlaneTransition(linear, data, AT, 4)
    torch.testing.assert_close(density.log_density(AT), whole, rtol=1e-12, atol=1e-12)


def test_refusals_say_what_to_do(linear, model):
    data = exact_draws(linear, AT, 0.5, n=20)
    with pytest.raises(UnsupportedError, match="two states"):
        PlaneTransition.lay(models.ornstein_uhlenbeck(), data, AT)
    moving = model(["-x + sin(t)", "-y"], [["s", "0"], ["0", "s"]], {"s": None}, state=["x", "y"])
    with pytest.raises(UnsupportedError, match="depends on time"):
        PlaneTransition.lay(moving, data, torch.ones(1).double())
    with pytest.raises(UnsupportedError, match=r"short against the range.*shoji-ozaki"):
        PlaneTransition.lay(linear, to_pairs(data.x0, data.x1, 1e-4), AT)
    with pytest.raises(UnsupportedError, match="20"):
        PlaneTransition.lay(linear, to_pairs(data.x0, data.x1, torch.linspace(0.5, 1.0, 20)), AT)
    with pytest.raises(UnsupportedError, match="one state"):
        PlaneTransition(linear, data, AT, 4).cdf(AT)
