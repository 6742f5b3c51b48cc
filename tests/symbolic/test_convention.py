"""Ito and Stratonovich: known examples, a finite-difference computation, and there and back."""

import pytest
import sympy
import torch

from pdekit.symbolic import SymbolicSDE, models
from pdekit.symbolic.convention import stratonovich_correction


def test_geometric_brownian_motion():
    x, mu, sigma = (models.geometric_brownian_motion()._symbols[n] for n in ("x", "mu", "sigma"))
    other = models.geometric_brownian_motion().stratonovich()
    assert other.convention == "stratonovich"
    assert sympy.expand(other.drift[0] - (mu - sigma**2 / 2) * x) == 0
    assert other.diffusion == (sigma * x,)


def test_power_law_noise_keeps_one_power():
    model = models.ckls()
    r, sigma, gamma = (model._symbols[n] for n in ("r", "sigma", "gamma"))
    (correction,) = stratonovich_correction(model.diffusion_matrix, model.state)
    assert correction == gamma * sigma**2 * r ** (2 * gamma - 1) / 2


def test_noise_free_of_the_state_needs_no_correction():
    for model in (models.ornstein_uhlenbeck(), models.linear_2d(), models.lorenz63()):
        assert model.stratonovich().drift == model.drift


@pytest.mark.parametrize("name", list(models.catalogue()))
def test_there_and_back(name):
    ito = models.get(name).ito()
    assert ito.stratonovich().ito() == ito
    assert ito.ito() is ito
    assert ito.name == models.get(name).name


def test_general_noise_against_finite_differences():
    model = SymbolicSDE(
        ["x", "y"],
        ["-x", "x - y"],
        [["sin(x)*y", "1 + x**2", "a"], ["x*y**2", "exp(-y)*a", "cos(x + y)"]],
        params={"a": None},
        convention="stratonovich",
    )
    theta = torch.tensor([0.7], dtype=torch.float64)
    noise = model.function(model.diffusion_matrix)
    drift, ito_drift = model.function(model.drift), model.ito().function(model.ito().drift)
    x = torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)
    h = 1e-5
    G = noise(0.0, x, theta)
    correction = torch.zeros_like(x)
    for j in range(2):
        step = h * torch.eye(2, dtype=torch.float64)[j]
        slope = (noise(0.0, x + step, theta) - noise(0.0, x - step, theta)) / (2 * h)  # d G_ik / d x_j
        correction += 0.5 * (G[:, j, None, :] * slope).sum(-1)
    # Central differences: error h^2 |G'''| / 6 ~ 1e-10 and rounding eps/h ~ 2e-11.
    torch.testing.assert_close(ito_drift(0.0, x, theta), drift(0.0, x, theta) + correction, rtol=0, atol=2e-9)
