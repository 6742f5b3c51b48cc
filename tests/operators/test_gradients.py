"""First and second derivatives of every exact operator and route against finite differences."""

import pytest
import torch

from pdekit.operators import (
    Compressed,
    Dense,
    Exact,
    biharmonic,
    dimwise_derivative,
    divergence,
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    ito_drift,
    laplacian,
    log_fokker_planck_operator,
    probability_current,
    probability_flow,
    second_order_operator,
)
from pdekit.sde import SDE
from tests.operators.fields import SPELLINGS, Field, Hollow, mlp

D = 2


def check(operator, module, x):
    """gradcheck and gradgradcheck over the state and all parameters; tolerances are those of the finite differences."""
    names = [name for name, _ in module.named_parameters()]

    def value(x, *parameters):
        def function(*args):
            return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), args)

        return operator(function)(x)

    inputs = (x.requires_grad_(), *(p.detach().clone().requires_grad_() for p in module.parameters()))
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(value, inputs, fast_mode=True)


@pytest.fixture
def x():
    return torch.tensor([[0.3, -0.8], [1.1, 0.4]], dtype=torch.float64)


class Scalar(torch.nn.Module):
    """A network with one output, as a scalar function."""

    def __init__(self, width):
        super().__init__()
        self.net = mlp(D, width, 1)

    def forward(self, x):
        return self.net(x).squeeze(-1)


@pytest.mark.parametrize(("method", "width"), [(Exact(), 1), (Compressed(), 3), (Dense(1), 3)])
def test_networks(method, width, x):
    check(lambda f: divergence(f, method=method), mlp(D, width, D), x)
    check(lambda u: laplacian(u, method=method), Scalar(width), x)
    tensor = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)
    check(lambda u: second_order_operator(u, tensor=tensor, drift=torch.sin, method=method), Scalar(width), x)


def test_higher_orders(x):
    check(lambda f: dimwise_derivative(f, order=3), mlp(D, 2, D), x)
    check(biharmonic, Scalar(2), x)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_routes_around_series(spelling, x):
    check(divergence, Field(D, spelling), x)
    check(lambda f: dimwise_derivative(f, order=2), Field(D, spelling), x)
    check(laplacian, Field(D, spelling, scalar=True), x)


@pytest.mark.parametrize("order", [1, 2])
def test_hollow(order, x):
    def value(x, weights, head):
        field = Hollow(D).double()
        del field.weights, field.head
        field.weights, field.head = weights, head
        return dimwise_derivative(field, order=order)(x)

    inputs = (x.requires_grad_(), *(p.detach().requires_grad_() for p in Hollow(D).double().parameters()))
    assert torch.autograd.gradcheck(value, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(value, inputs, fast_mode=True)


def matrix(t, x):
    return torch.stack([torch.sin(x.roll(1, -1)) + t, 1 + x**2 * t], -1)


EQUATIONS = {
    "diagonal": SDE(lambda t, x: x.roll(1, -1) - t * x**3, lambda t, x: 1 + x.roll(1, -1) ** 2 * x, dim=D),
    "general": SDE(lambda t, x: x.roll(1, -1) - t * x**3, matrix, dim=D, noise_type="general", sde_type="stratonovich"),
}
OPERATORS = {
    "generator": generator,
    "fokker_planck_operator": fokker_planck_operator,
    "log_fokker_planck_operator": log_fokker_planck_operator,
    "fokker_planck_residual": fokker_planck_residual,
    "probability_current": probability_current,
    "probability_flow": probability_flow,
}


@pytest.mark.parametrize("noise", EQUATIONS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_equations(noise, name, x):
    def transform(u):
        operator = OPERATORS[name](lambda t, x: u(x) * torch.cos(t), EQUATIONS[noise])
        return lambda x: operator(torch.tensor(0.4, dtype=x.dtype), x)

    check(transform, Scalar(2), x)


@pytest.mark.parametrize("noise", EQUATIONS)
def test_score_and_ito_drift(noise, x):
    def from_score(s):
        return lambda x: log_fokker_planck_operator(len, EQUATIONS[noise], score=lambda x: s(x))(0.4, x)

    check(from_score, mlp(D, 2, D), x)
    assert torch.autograd.gradgradcheck(lambda x: ito_drift(EQUATIONS[noise])(0.4, x), (x.requires_grad_(),))


def test_parameters_of_the_equation(x):
    def residual(x, a, b):
        sde = SDE(lambda t, x: -a * x, lambda t, x: b * (1 + x**2), dim=D, sde_type="stratonovich")
        return fokker_planck_residual(lambda t, x: -(x**2).sum(-1) * a / (1 + t), sde)(0.4, x)

    inputs = (x, torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64))
    inputs = tuple(z.requires_grad_() for z in inputs)
    assert torch.autograd.gradcheck(residual, inputs)
    assert torch.autograd.gradgradcheck(residual, inputs)


def test_what_needs_no_gradient_has_none(x):
    for spelling in SPELLINGS:
        f, u = Field(D, spelling).requires_grad_(False), Field(D, spelling, scalar=True).requires_grad_(False)
        results = [divergence(f)(x), laplacian(u)(x), probability_flow(u, EQUATIONS["diagonal"])(0.4, x)]
        assert not any(result.requires_grad for result in results)
    for spelling in SPELLINGS:
        f, u = Field(D, spelling), Field(D, spelling, scalar=True)
        results = [divergence(f)(x), laplacian(u)(x), probability_flow(u, EQUATIONS["diagonal"])(0.4, x)]
        assert all(result.requires_grad for result in results)
        with torch.no_grad():
            results = [divergence(f)(x), laplacian(u)(x), probability_flow(u, EQUATIONS["diagonal"])(0.4, x)]
        assert not any(result.requires_grad for result in results)
