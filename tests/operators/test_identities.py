"""Laws that tie the operators of an SDE to one another, and densities known in closed form."""

import math

import pytest
import sympy as sp
import torch

from pdekit.operators import (
    divergence,
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
    to_ito,
)
from pdekit.sde import SDE
from tests.operators.equations import EQUATIONS, log_density, points, smooth_function
from tests.operators.oracle import close, torch_function

TIME = 0.6
BY_NAME = {equation.name: equation for equation in EQUATIONS}


@pytest.fixture(params=EQUATIONS, ids=lambda equation: equation.name, scope="module")
def equation(request):
    return request.param


@pytest.fixture(params=["ito", "stratonovich"], scope="module")
def sde(equation, request):
    return equation.sde(request.param)


def test_fokker_planck_operator_is_minus_the_divergence_of_the_current(sde):
    p, x = torch_function(sp.exp(log_density(sde.dim))), points(sde.dim)
    close(fokker_planck_operator(p, sde)(TIME, x), -divergence(probability_current(p, sde))(TIME, x))


def test_log_form_times_the_density_is_the_density_form(sde):
    log_p, x = torch_function(log_density(sde.dim)), points(sde.dim)
    p = lambda t, x: torch.exp(log_p(t, x))  # noqa: E731
    close(log_fokker_planck_operator(log_p, sde)(TIME, x) * p(TIME, x), fokker_planck_operator(p, sde)(TIME, x))


def test_normalisation_does_not_matter(sde):
    log_p, x = torch_function(log_density(sde.dim)), points(sde.dim)
    scaled = lambda t, x: log_p(t, x) + 7.0  # noqa: E731
    for operator in (log_fokker_planck_operator, fokker_planck_residual, probability_flow):
        close(operator(scaled, sde)(TIME, x), operator(log_p, sde)(TIME, x))


def test_stratonovich_equals_its_ito_conversion(equation):
    sde, x = equation.sde("stratonovich"), points(equation.dim)
    log_p = torch_function(log_density(equation.dim))
    u = torch_function(smooth_function(equation.dim))
    for operator, function in (
        *((generator, u), (fokker_planck_operator, u), (probability_current, u)),
        *((log_fokker_planck_operator, log_p), (fokker_planck_residual, log_p), (probability_flow, log_p)),
    ):
        close(operator(function, sde)(TIME, x), operator(function, to_ito(sde))(TIME, x))


# Analytic functions that vanish fast: the sum over an even grid is the integral up to rounding, and up to the tails,
# which are below 1e-20 at the ends.
GRID = torch.linspace(-9, 9, 721, dtype=torch.float64)
WEIGHT = float(GRID[1] - GRID[0])


@pytest.mark.parametrize("name", ["additive, d = 1", "separable, d = 1"])
@pytest.mark.parametrize("convention", ["ito", "stratonovich"])
def test_conservation_and_adjointness_in_one_dimension(name, convention):
    sde, x = BY_NAME[name].sde(convention), GRID.unsqueeze(-1)
    p = lambda x: torch.exp(-(x**2).sum(-1)) * (2 + torch.sin(x.sum(-1)))  # noqa: E731
    u = lambda x: torch.cos(1.3 * x.sum(-1)) + x.sum(-1) ** 2 / 10  # noqa: E731
    forward, backward = fokker_planck_operator(p, sde)(TIME, x), generator(u, sde)(TIME, x)
    # Some 700 terms of size 10 or less: 1e-12 is a few eps of their sum.
    assert abs(float(forward.sum()) * WEIGHT) < 1e-12
    assert float((backward * p(x)).sum()) * WEIGHT == pytest.approx(float((u(x) * forward).sum()) * WEIGHT, abs=1e-12)
    assert abs(float((backward * p(x)).sum()) * WEIGHT) > 0.1


@pytest.mark.parametrize("name", ["separable, d = 2", "scalar, d = 2", "general, m < d", "additive, m > d"])
def test_conservation_in_two_dimensions(name):
    sde, line = BY_NAME[name].sde("stratonovich"), GRID[::9]
    x = torch.cartesian_prod(line, line)
    p = lambda x: torch.exp(-(x**2).sum(-1)) * (2 + torch.sin(x.sum(-1)))  # noqa: E731
    forward = fokker_planck_operator(p, sde)(TIME, x)
    # The grid of step 0.225 resolves exp(-2 x^2) to exp(-pi^2 / (2 0.225^2)) = 1e-42; the rest is rounding.
    assert abs(float(forward.sum()) * (9 * WEIGHT) ** 2) < 1e-11
    assert float(forward.abs().max()) > 0.1


def ornstein_uhlenbeck(theta=0.8, mu=0.3, sigma=0.9, mean=1.5, variance=0.2):
    sde = SDE(lambda t, x: theta * (mu - x), lambda t, x: sigma + 0 * x, dim=1)

    def moments(t):
        decay = torch.exp(-theta * torch.as_tensor(t, dtype=torch.float64))
        stationary = sigma**2 / (2 * theta)
        return mu + (mean - mu) * decay, stationary + (variance - stationary) * decay**2

    def log_p(t, x):
        m, v = moments(t)
        return (-((x - m) ** 2) / (2 * v) - 0.5 * torch.log(2 * math.pi * v)).squeeze(-1)

    return sde, log_p, moments


def test_residual_of_the_exact_ornstein_uhlenbeck_density():
    sde, log_p, _ = ornstein_uhlenbeck()
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(-1)
    times = torch.linspace(0.1, 3, 9, dtype=torch.float64).unsqueeze(-1)
    for t in (0.0, 0.5, torch.tensor(2.0), times):
        # Terms of size 100 cancel.
        assert float(fokker_planck_residual(log_p, sde)(t, x).abs().max()) < 1e-12


A = torch.tensor([[0.0, 1.0], [-2.0, -0.7]], dtype=torch.float64)  # a damped oscillator, driven in its velocity only
SIGMA = 0.8
STATIONARY = torch.diag(torch.tensor([SIGMA**2 / 2.8, SIGMA**2 / 1.4], dtype=torch.float64))


def oscillator_log_density(t, x):
    start = torch.tensor([[0.5, 0.1], [0.1, 0.3]], dtype=x.dtype)
    flow = torch.linalg.matrix_exp(A * torch.as_tensor(t, dtype=x.dtype))
    covariance = STATIONARY + flow @ (start - STATIONARY) @ flow.mT
    difference = x - flow @ torch.tensor([1.0, -0.5], dtype=x.dtype)
    whitened = torch.linalg.solve(covariance, difference.unsqueeze(-1)).squeeze(-1)
    return -0.5 * (difference * whitened).sum(-1) - 0.5 * torch.logdet(covariance)


def test_residual_of_an_exact_linear_equation_with_degenerate_noise():
    noise = torch.tensor([[0.0], [SIGMA]], dtype=torch.float64)
    sde = SDE(lambda t, x: x @ A.mT, lambda t, x: noise.expand(*x.shape, 1), dim=2, noise_type="additive", noise_dim=1)
    residual = fokker_planck_residual(oscillator_log_density, sde)
    # The condition number of the covariance, below 20, times terms of size 100.
    assert float(residual(0.7, points(2, 8)).abs().max()) < 1e-11


def test_flow_carries_the_density_along():
    sde, log_p, moments = ornstein_uhlenbeck()
    flow, steps, end = probability_flow(log_p, sde), 100, 1.5
    (m0, v0), (m1, v1) = moments(0.0), moments(end)
    start = torch.linspace(0.5, 2.5, 7, dtype=torch.float64).unsqueeze(-1)
    x, h = start, end / steps
    for k in range(steps):
        t = k * h
        k1 = flow(t, x)
        k2 = flow(t + h / 2, x + h / 2 * k1)
        k3 = flow(t + h / 2, x + h / 2 * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + flow(t + h, x + h * k3))
    # Linear drift keeps quantiles in place: the flow scales about the mean. RK4 errs by some h^4 / 5 = 1e-8.
    torch.testing.assert_close(x, m1 + (start - m0) * torch.sqrt(v1 / v0), rtol=0, atol=3e-8)
