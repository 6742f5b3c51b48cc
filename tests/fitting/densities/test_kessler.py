"""Kessler's density against closed-form moments, a simulation-free slow twin, and the Fokker-Planck equation."""

import pytest
import sympy
import torch

from pdekit import models, testing
from pdekit.data import Pairs
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.kessler import KesslerTransition, moment_coefficients


def pairs(x0, x1, dt):
    return Pairs(torch.zeros_like(dt), dt, x0, x1, torch.zeros(len(dt)).long())


def some(dim, n=5, dt=0.05, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = 0.5 + torch.rand(n, dim, generator=generator, dtype=torch.float64)
    return pairs(x0, x0 + 0.1, torch.full((n,), dt).double())


def held(name, x0, lower, upper, *, terms=2, values=None, **options):
    model = models.get(name)
    values = values or model.defaults
    theta = model.theta(values)

    def log_density(a, b, dt):
        return KesslerTransition(model, pairs(a, b, dt), order=terms).log_density(theta)

    return testing.check_transition(log_density, model.at(**values), x0, lower=lower, upper=upper, **options)


@pytest.mark.parametrize("name", ["ornstein_uhlenbeck", "cir", "geometric_brownian_motion"])
def test_coefficients_are_those_of_the_exact_moments(name):
    model = models.get(name)
    t, (x,) = sympy.Symbol("t", positive=True), model.state
    exact = {
        "ornstein_uhlenbeck": ("mu + (x - mu)*exp(-theta*t)", "sigma**2*(1 - exp(-2*theta*t))/(2*theta)"),
        "cir": (
            "theta + (x - theta)*exp(-kappa*t)",
            "x*sigma**2/kappa*(exp(-kappa*t) - exp(-2*kappa*t)) + theta*sigma**2/(2*kappa)*(1 - exp(-kappa*t))**2",
        ),
        "geometric_brownian_motion": ("x*exp(mu*t)", "x**2*exp(2*mu*t)*(exp(sigma**2*t) - 1)"),
    }[name]
    names = {s.name: s for s in (*model.state, *model.param_symbols)} | {"t": t}
    mean, variance = (sympy.parse_expr(text, names) for text in exact)
    means, variances = moment_coefficients(model, 3)
    for k in (1, 2, 3):
        at_zero = lambda u, k=k: sympy.diff(u, t, k).subs(t, 0)  # noqa: E731
        assert sympy.simplify(means[k - 1][0] - at_zero(mean)) == 0
        assert sympy.simplify(variances[k - 1][0] - at_zero(variance)) == 0
    assert x in means[0][0].free_symbols


def test_moments_in_two_dimensions_are_those_of_products(model):
    # The slow twin: expand E[x_i], E[x_i x_j] themselves, with the generator applied to products.
    sde = model(["x*y + cos(t)", "-x**2 - a*y"], [["y", "a"], ["0", "x*t + 1"]], {"a": None}, state=["x", "y"])
    (x, y), t = sde.state, sde.time

    def generator(u):
        first = sum(f * sympy.diff(u, v) for f, v in zip(sde.drift, (x, y), strict=True))
        hessian = sympy.hessian(u, (x, y))
        return sympy.expand(sympy.diff(u, t) + first + (sde.diffusion_tensor * hessian).trace())

    def moment(u, order):
        dt, total = sympy.Symbol("dt"), u
        for k in range(1, order + 1):
            u = generator(u)
            total += u * dt**k / sympy.factorial(k)
        return total, dt

    means, covariances = moment_coefficients(sde, 3)
    for position, (u, v) in enumerate(((x, x), (y, x), (y, y))):
        (both, dt), (left, _), (right, _) = moment(u * v, 3), moment(u, 3), moment(v, 3)
        whole = sympy.expand(both - left * right)
        for k in (1, 2, 3):
            twin = whole.coeff(dt, k) * sympy.factorial(k)
            assert sympy.expand(twin - covariances[k - 1][position]) == 0
    assert sympy.expand(means[1][0] - generator(generator(x))) == 0


def test_order_one_is_euler(model):
    sde = model(["a*y", "-x"], [["1", "x"], ["0", "y"]], {"a": None}, state=["x", "y"])
    data, theta = some(2), torch.tensor([0.7], dtype=torch.float64)
    torch.testing.assert_close(
        KesslerTransition(sde, data, order=1).log_density(theta), EulerTransition(sde, data).log_density(theta)
    )


def test_the_density_solves_the_fokker_planck_equation():
    # Where the law is normal the moments' own order shows.
    held("ornstein_uhlenbeck", 0.6, -2.5, 2.5, order=2.0)
    held("ornstein_uhlenbeck", 0.6, -2.5, 2.5, terms=3, order=3.0)
    # The third cumulant is left out: of order dt^3 for additive noise against dt^(3/2), of dt^2 for other noise.
    held("double_well", 0.8, -2.5, 2.5, order=1.5)
    held("geometric_brownian_motion", 1.0, 0.05, 6.0, values={"mu": 0.3, "sigma": 0.5}, order=0.5)


def test_gradients_and_the_distribution_function():
    model = models.get("cir")
    data = some(1)
    theta = model.theta(model.defaults).requires_grad_()
    density = KesslerTransition(model, data, order=3)
    assert torch.autograd.gradcheck(density.log_density, theta)
    mean, variance = density.moments(theta.detach())
    law = torch.distributions.Normal(data.x0 + mean, variance[..., 0].sqrt())
    torch.testing.assert_close(density.cdf(theta), law.cdf(data.x1)[:, 0])


def test_where_the_variance_is_not_positive_the_density_is_zero(model):
    sde = model("x - x**3", "s", {"s": (0, None)})
    x0 = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    data = pairs(x0, x0, torch.tensor([0.5, 0.5], dtype=torch.float64))
    theta = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    value = KesslerTransition(sde, data).log_density(theta)
    assert torch.isfinite(value[0])
    assert value[1] == -torch.inf
    (gradient,) = torch.autograd.grad(value[0], theta)
    assert torch.isfinite(gradient).all()


def test_what_it_cannot_serve_is_refused(model):
    with pytest.raises(InputError, match="1, 2 or 3"):
        KesslerTransition(models.get("cir"), some(1), order=4)
    with pytest.raises(UnsupportedError, match="does not reach x"):
        KesslerTransition(models.get("kramers"), some(2))
    with pytest.raises(UnsupportedError, match="2 derivatives"):
        KesslerTransition(model("-abs(x)", "1", {}), some(1))
    # To dt^3 the noise of the velocity has reached the position.
    kramers = models.get("kramers")
    assert torch.isfinite(
        KesslerTransition(kramers, some(2), order=3).log_density(kramers.theta(kramers.defaults))
    ).all()
