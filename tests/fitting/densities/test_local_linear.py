"""Ozaki's density, and Shoji and Ozaki's, against exact laws, quadrature and the Fokker-Planck equation."""

import math
from functools import partial

import pytest
import sympy
import torch
from torch.distributions import MultivariateNormal

from pdekit import models, testing
from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.local_linear import LocalLinearTransition, phi2

OZAKI = partial(LocalLinearTransition, curved=False)


def pairs(x0, x1, dt):
    return Pairs(torch.zeros_like(dt), dt, x0, x1, torch.zeros(len(dt)).long())


def some(dim, n=6, dt=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = 0.5 + torch.rand(n, dim, generator=generator, dtype=torch.float64)
    x1 = x0 + 0.1 * torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return Pairs(torch.linspace(0, 1, n).double(), torch.full((n,), dt).double(), x0, x1, torch.zeros(n).long())


def exact_linear(a, s, x0, dt):
    """Mean and covariance of dX = A X dt + S^{1/2} dW by the Kronecker form of the Lyapunov equation."""
    d = len(a)
    growth = torch.linalg.matrix_exp(a * dt)
    eye = torch.eye(d, dtype=a.dtype)
    whole = torch.kron(a, eye) + torch.kron(eye, a)
    integral = torch.linalg.solve(whole, torch.linalg.matrix_exp(whole * dt) - torch.eye(d * d, dtype=a.dtype))
    return growth @ x0, (integral @ s.flatten()).view(d, d)


@pytest.mark.parametrize("build", [OZAKI, LocalLinearTransition])
@pytest.mark.parametrize("name", ["linear_2d", "damped_oscillator"])
def test_linear_models_have_their_exact_law(build, name):
    model, data = models.get(name), some(2, dt=0.7)
    theta = model.theta(model.defaults)
    density = build(model, data)
    assert density.exact
    zero = torch.zeros(1, 2, dtype=torch.float64)
    a = model.function(model.drift_jacobian)(0.0, zero, theta)[0]
    s = model.function(2 * model.diffusion_tensor)(0.0, zero, theta)[0]
    for i, found in enumerate(density.log_density(theta)):
        law = MultivariateNormal(*exact_linear(a, s, data.x0[i], float(data.dt[i])))
        torch.testing.assert_close(found, law.log_prob(data.x1[i]), rtol=1e-10, atol=1e-10)


def test_the_ornstein_uhlenbeck_process_is_exact_also_without_return(model):
    ou = models.get("ornstein_uhlenbeck")
    data = some(1)
    theta = ou.theta(ou.defaults)
    torch.testing.assert_close(
        LocalLinearTransition(ou, data).log_density(theta),
        transition_density(ou, data, theta, "closed-form").log_density(theta),
    )
    # At rate 0 value and gradient are those of Brownian motion's neighbours.
    free = model("-k*x", "s", {"k": None, "s": (0, None)})
    at_zero = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LocalLinearTransition(free, data).log_density, at_zero)


def test_a_step_in_time_and_state_by_quadrature(model):
    # f linearised at (t, x0): the moments as integrals of the linear equation, by a fine sum.
    sde = model(["sin(t)*x*y - a*x**3", "-x + y**2"], ["1", "a*y"], {"a": None}, state=["x", "y"])
    data, theta = some(2), torch.tensor([0.4], dtype=torch.float64)
    mean, covariance = LocalLinearTransition(sde, data).moments(theta)
    for i in range(len(data)):
        (x, y), t, dt, a = data.x0[i].tolist(), float(data.t[i]), float(data.dt[i]), 0.4
        f = torch.tensor([math.sin(t) * x * y - a * x**3, -x + y**2], dtype=torch.float64)
        jacobian = torch.tensor([[math.sin(t) * y - 3 * a * x**2, math.sin(t) * x], [-1.0, 2 * y]], dtype=torch.float64)
        tensor = torch.tensor([[1.0, 0.0], [0.0, (a * y) ** 2]], dtype=torch.float64)
        # 1/2 g^2 d^2 f / dx^2 + d f / dt
        curved = torch.tensor(
            [0.5 * 1.0 * (-6 * a * x) + math.cos(t) * x * y, 0.5 * (a * y) ** 2 * 2.0], dtype=torch.float64
        )
        nodes = torch.linspace(0, dt, 401, dtype=torch.float64)
        growth = torch.linalg.matrix_exp(jacobian * nodes[:, None, None])
        weights = torch.ones(401, dtype=torch.float64)
        weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
        weights = weights * (dt / 400 / 3)
        integrand = growth @ f + (growth @ curved) * (dt - nodes)[:, None]
        torch.testing.assert_close(mean[i], weights @ integrand, rtol=1e-9, atol=1e-12)
        spread = growth @ tensor @ growth.mT
        torch.testing.assert_close(covariance[i], (weights[:, None, None] * spread).sum(0), rtol=1e-9, atol=1e-12)


def test_blocks_of_rows_change_nothing(monkeypatch):
    model, data = models.get("hopf"), some(2, n=25)
    theta = model.theta(model.defaults).requires_grad_()
    whole = LocalLinearTransition(model, data).log_density(theta)
    (gradient,) = torch.autograd.grad(whole.sum(), theta)
    monkeypatch.setattr("pdekit.fitting.densities.local_linear._CHUNK", 40)
    blocks = LocalLinearTransition(model, data).log_density(theta)
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(torch.autograd.grad(blocks.sum(), theta)[0], gradient)


@pytest.mark.parametrize("name", ["double_well", "hopf", "kramers", "lorenz63", "stochastic_resonance"])
def test_gradients(name):
    model = models.get(name)
    theta = model.theta(model.defaults).requires_grad_()
    density = LocalLinearTransition(model, some(model.dim, n=3, dt=0.05))
    assert torch.autograd.gradcheck(density.log_density, theta)


def held(build, name, x0, lower, upper, *, values=None, **options):
    model = models.get(name)
    values = values or model.defaults
    theta = model.theta(values)

    def log_density(a, b, dt):
        return build(model, pairs(a, b, dt)).log_density(theta)

    testing.check_transition(log_density, model.at(**values), x0, lower=lower, upper=upper, **options)


@pytest.mark.parametrize("build", [OZAKI, LocalLinearTransition])
def test_the_density_solves_the_fokker_planck_equation(build):
    held(build, "ornstein_uhlenbeck", 0.6, -2.5, 2.5, tolerance=1e-5)
    held(build, "double_well", 0.8, -2.5, 2.5, order=1.5)
    held(build, "geometric_brownian_motion", 1.0, 0.05, 6.0, values={"mu": 0.3, "sigma": 0.5}, order=0.5)


def test_the_curvature_of_the_drift_mends_the_mean(double_well_path):
    # E[x1] of the double well from 1 over a short step, to second order: x + f dt + (f f' + s^2 f'' / 2) dt^2 / 2.
    model = models.get("double_well")
    theta = model.theta({**model.defaults})
    x0, dt = torch.tensor([[1.2]], dtype=torch.float64), torch.tensor([1e-3], dtype=torch.float64)
    data = pairs(x0, x0, dt)
    drift = model.function([sympy.diff(model.drift[0], model.state[0], k) for k in range(3)])
    f, slope, bend = drift(0.0, x0, theta)[0].tolist()
    s2 = 2 * float(model.function(model.diffusion_tensor[0, 0])(0.0, x0, theta))
    h = 1e-3
    curved = LocalLinearTransition(model, data).moments(theta)[0].item()
    plain = OZAKI(model, data).moments(theta)[0].item()
    assert curved == pytest.approx(f * h + (f * slope + 0.5 * s2 * bend) * h * h / 2, abs=1e-8)
    assert plain == pytest.approx(f * h + f * slope * h * h / 2, abs=1e-8)


def test_phi2_is_smooth_through_zero():
    y = torch.tensor([-30.0, -1.0, -1e-5, 0.0, 1e-9, 0.999, 1.001, 5.0], dtype=torch.float64)
    truth = [float(torch.expm1(v) - v) / float(v) ** 2 if abs(v) > 0.1 else 0.5 + float(v) / 6 for v in y]
    torch.testing.assert_close(phi2(y), torch.tensor(truth, dtype=torch.float64), rtol=1e-10, atol=0.0)
    y.requires_grad_()
    assert torch.autograd.gradcheck(phi2, y)


def test_a_drift_without_derivatives_is_refused(model):
    with pytest.raises(UnsupportedError, match="derivative"):
        LocalLinearTransition(model("-abs(x)", "1", {}), some(1))
    assert LocalLinearTransition(model("-abs(x)", "1", {}), some(1), curved=False) is not None
