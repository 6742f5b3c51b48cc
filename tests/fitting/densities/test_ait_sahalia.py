"""Ait-Sahalia's expansion against published coefficients, exact densities and the Fokker-Planck equation."""

import pytest
import sympy
import torch

from pdekit import models, testing
from pdekit.data import Pairs
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.densities.ait_sahalia import AitSahaliaTransition, potential_in_y
from pdekit.fitting.densities.choose import transition_density


def pairs(x0, x1, dt):
    return Pairs(torch.zeros_like(dt), dt, x0, x1, torch.zeros(len(dt)).long())


def some(x, dt=0.05, n=7):
    x0 = torch.full((n, 1), x, dtype=torch.float64)
    x1 = x0 * torch.linspace(0.8, 1.2, n, dtype=torch.float64)[:, None]
    return pairs(x0, x1, torch.full((n,), dt).double())


def held(name, x0, lower, upper, *, terms=2, values=None, **options):
    model = models.get(name)
    values = values or model.defaults
    theta = model.theta(values)

    def log_density(a, b, dt):
        return AitSahaliaTransition(model, pairs(a, b, dt), order=terms).log_density(theta)

    return testing.check_transition(log_density, model.at(**values), x0, lower=lower, upper=upper, **options)


@pytest.mark.parametrize(("terms", "order"), [(1, 1.5), (2, 2.5), (3, 3.5)])
def test_the_density_solves_the_fokker_planck_equation(terms, order):
    # Polynomials of order 2 (K - k) in moves of size dt^(1/2) leave out dt^(K + 1/2).
    loose = {"mass_tolerance": 0.1, "order": order}
    held("double_well", 0.8, -2.5, 2.5, terms=terms, **loose)
    held("logistic", 0.8, 0.05, 3.5, terms=terms, dts=(0.4, 0.2, 0.1, 0.05), **loose)


def test_models_with_a_constant_potential_are_exact():
    # Geometric Brownian motion is one in y = log x / sigma.
    held("geometric_brownian_motion", 1.0, 0.2, 4.0, values={"mu": 0.2, "sigma": 0.3}, tolerance=1e-4)


@pytest.mark.parametrize(("name", "x"), [("ornstein_uhlenbeck", 0.4), ("cir", 0.3)])
def test_closed_forms_are_approached(name, x):
    model = models.get(name)
    theta = model.theta(model.defaults)
    errors = []
    for terms in (1, 2, 3):
        data = some(x, dt=0.02)
        found = AitSahaliaTransition(model, data, order=terms).log_density(theta)
        errors.append(
            float((found - transition_density(model, data, theta, "closed-form").log_density(theta)).abs().max())
        )
    assert errors[0] > 10 * errors[1] > 50 * errors[2]


def test_coefficients_of_the_ornstein_uhlenbeck_process():
    # Ait-Sahalia (2002), section 4.1, for dX = -k X dt + s dW: V = (k^2 y^2 - k) / 2 about y = x0 / s.
    model = models.get("ornstein_uhlenbeck").fix(mu=0.0)
    k, s = model.param_symbols
    (x,) = model.state
    found = potential_in_y(model, 2)
    y = sympy.Symbol("y")
    exact = sympy.series((k**2 * (x / s + y) ** 2 - k) / 2, y, 0, 3).removeO()
    for n, c in enumerate(found):
        assert sympy.simplify(c - exact.coeff(y, n)) == 0


def test_gradients():
    model = models.get("ckls")
    theta = model.theta(model.defaults).requires_grad_()
    data = some(0.08)
    for terms in (1, 3):
        assert torch.autograd.gradcheck(AitSahaliaTransition(model, data, order=terms).log_density, theta)


def test_the_distribution_function_is_the_exact_one():
    for name, x in (("cir", 0.3), ("ornstein_uhlenbeck", 0.4)):
        model = models.get(name)
        data, theta = some(x), model.theta(model.defaults)
        found = AitSahaliaTransition(model, data, order=3).cdf(theta)
        torch.testing.assert_close(
            found, transition_density(model, data, theta, "closed-form").cdf(theta), rtol=1e-5, atol=1e-5
        )


def test_stratonovich_and_decreasing_noise(model):
    ito = model("s**2*x/2", "s*x", {"s": (0, None)}, domain=[(0, None)])
    stratonovich = model("0*x", "-s*x", {"s": (0, None)}, domain=[(0, None)], convention="stratonovich")
    data, theta = some(1.0), torch.tensor([0.4], dtype=torch.float64)
    one, other = (AitSahaliaTransition(m, data) for m in (ito, stratonovich))
    torch.testing.assert_close(one.log_density(theta), other.log_density(theta))
    torch.testing.assert_close(one.cdf(theta), other.cdf(theta))


def test_moves_across_a_zero_of_the_noise_have_density_zero(model):
    sde = model("1 - x", "s*x", {"s": (0, None)})
    one = torch.ones(2, 1, dtype=torch.float64)
    data = pairs(one, torch.tensor([[1.1], [-0.5]], dtype=torch.float64), torch.full((2,), 0.1).double())
    theta = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    value = AitSahaliaTransition(sde, data).log_density(theta)
    assert torch.isfinite(value[0])
    assert value[1] == -torch.inf
    assert torch.isfinite(torch.autograd.grad(value[0], theta)[0]).all()


def test_what_it_cannot_serve_is_refused(model):
    with pytest.raises(InputError, match="1, 2 or 3"):
        AitSahaliaTransition(models.get("cir"), some(1.0), order=0)
    with pytest.raises(UnsupportedError, match="one state"):
        AitSahaliaTransition(models.get("hopf"), some(1.0))
    with pytest.raises(UnsupportedError, match="one state"):
        AitSahaliaTransition(models.get("stochastic_resonance"), some(1.0))
    with pytest.raises(UnsupportedError, match="4 derivatives"):
        AitSahaliaTransition(model("-abs(x)", "1", {}), some(1.0))
