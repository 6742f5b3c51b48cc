"""The bridge against closed forms and, where there is none, against the extrapolated grid."""

import math

import numpy as np
import pytest
import torch

from pdekit.data import Pairs
from pdekit.fitting.densities.bridge import BridgeTransition
from pdekit.fitting.densities.closed_form import closed_form
from pdekit.fitting.densities.grid import FokkerPlanckTransition


def pairs(dt, x0, spread, n=200, seed=1):
    rng = np.random.default_rng(seed)
    start = x0 * np.exp(0.1 * rng.standard_normal(n))
    end = start + spread * math.sqrt(dt) * rng.standard_normal(n)

    def as_tensor(v):
        return torch.from_numpy(v)[:, None]

    return Pairs(
        torch.zeros(n).double(),
        torch.full((n,), dt, dtype=torch.float64),
        as_tensor(start),
        as_tensor(end),
        torch.zeros(n).long(),
    )


@pytest.mark.parametrize(
    ("drift", "diffusion", "theta"),
    [
        ("theta*(mu - x)", "sigma", [1.5, 0.3, 0.5]),
        ("kappa*(theta - x)", "sigma*sqrt(x)", [2.0, 1.0, 0.4]),
        ("mu*x", "sigma*x", [0.7, 0.4]),
    ],
)
def test_error_against_the_closed_form_is_of_third_order(model, drift, diffusion, theta):
    domain = None if diffusion == "sigma" else [(0, None)]
    sde = model(drift, diffusion, None, domain=domain)
    values = torch.tensor(theta, dtype=torch.float64)
    errors = []
    for dt in (0.08, 0.04, 0.02):
        data = pairs(dt, 1.0, 0.4)
        error = BridgeTransition(sde, data).log_density(values) - closed_form(sde, data).log_density(values)
        errors.append(float(error.abs().max()))
    # Exact for geometric Brownian motion, whose V is constant, up to the quadrature of int dx / g.
    if diffusion == "sigma*x":
        assert errors[-1] < 1e-6
    else:
        rates = np.log2(np.array(errors[:-1]) / errors[1:])
        assert (rates > 2.0).all()
        assert errors[-1] < 1e-5


def test_a_nonlinear_model_agrees_with_the_extrapolated_grid(model):
    sde = model("a*x - b*x**3", "sigma*sqrt(1 + c*x**2)", None)
    values = torch.tensor([1.0, 1.0, 0.5, 0.3], dtype=torch.float64)
    order = [sde.param_names.index(name) for name in ("a", "b", "sigma", "c")]
    theta = torch.empty(4, dtype=torch.float64)
    theta[order] = values
    data = pairs(0.02, 0.8, 0.5)
    bridge = BridgeTransition(sde, data).log_density(theta)
    grid = FokkerPlanckTransition.lay(sde, data, theta, cells=400, extrapolate=True).log_density(theta)
    assert float((bridge - grid).abs().max()) < 2e-5


def test_gradient(model):
    sde = model("a*x - b*x**3", "sigma*sqrt(1 + c*x**2)", None)
    theta = torch.tensor([1.0, 0.9, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    density = BridgeTransition(sde, pairs(0.05, 0.8, 0.5, n=4))
    assert torch.autograd.gradcheck(density.log_density, theta)


@pytest.mark.parametrize("sign", [1, -1])
def test_distribution_function(model, sign):
    sde = model("theta*(mu - x)", f"{sign}*sigma", {"theta": None, "mu": None, "sigma": None})
    theta = torch.tensor([1.5, 0.3, 0.5], dtype=torch.float64)
    data = pairs(0.05, 1.0, 1.0)
    decay = math.exp(-1.5 * 0.05)
    mean = 0.3 + (data.x0[:, 0] - 0.3) * decay
    deviation = 0.5 * math.sqrt((1 - decay**2) / 3.0)
    exact = torch.special.ndtr((data.x1[:, 0] - mean) / deviation)
    torch.testing.assert_close(BridgeTransition(sde, data).cdf(theta), exact, rtol=0, atol=1e-5)
