"""torch.compile(fullgraph=True) gives the values and first-order gradients of eager mode, for every exact operator."""

import shutil

import pytest
import torch
from torch import nn

from pdekit.errors import OperatorError
from pdekit.operators import (
    Dense,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
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
from tests.operators.fields import Field, Hollow
from tests.operators.oracle import close

D = 3


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


@pytest.fixture
def x():
    return torch.randn(4, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(width, out):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, width), nn.Tanh(), nn.Linear(width, out)).double()


class Scalar(nn.Module):
    """A network with one output, as a scalar function of the state or of time and state."""

    def __init__(self, width):
        super().__init__()
        self.net = network(width, 1)

    def forward(self, *args):
        *t, x = args
        value = self.net(x).squeeze(-1)
        return value * torch.cos(t[0]) if t else value


def matrix(t, x):
    return torch.stack([torch.sin(x) + t, 1 + x * t], -1)


TENSOR = torch.tensor([[1.0, 2.0, 0.0], [0.5, -1.0, 0.0], [0.0, 1.0, 0.5]], dtype=torch.float64)
DIAGONAL = SDE(lambda t, x: -x * t, lambda t, x: 1 + x.roll(1, -1) * x, dim=D, sde_type="stratonovich")
GENERAL = SDE(lambda t, x: -x * t, matrix, dim=D, noise_type="general", noise_dim=2, sde_type="stratonovich")


def timed(operator):
    return lambda x: operator(torch.tensor(0.4, dtype=x.dtype), x)


OPERATORS = {
    "divergence": (lambda: network(8, D), divergence),
    "divergence, compressed": (lambda: network(2, D), divergence),
    "divergence in chunks": (lambda: network(8, D), lambda f: divergence(f, Dense(2))),
    "dimwise": (lambda: network(4, D), lambda f: dimwise_derivative(f, order=3)),
    "jet": (lambda: network(4, D), lambda f: lambda x: torch.stack(dimwise_jet(f, order=2)(x))),
    "hollow": (lambda: Hollow(D).double(), lambda f: dimwise_derivative(f, order=2)),
    "laplacian": (lambda: Scalar(8), laplacian),
    "laplacian, compressed": (lambda: Scalar(2), laplacian),
    "biharmonic": (lambda: Scalar(2), biharmonic),
    "second order": (
        lambda: Scalar(4),
        lambda u: second_order_operator(u, tensor=TENSOR, drift=torch.sin, potential=u),
    ),
    "generator": (lambda: Scalar(4), lambda u: timed(generator(u, GENERAL))),
    "density": (lambda: Scalar(2), lambda u: timed(fokker_planck_operator(u, GENERAL))),
    "log form": (lambda: Scalar(4), lambda u: timed(log_fokker_planck_operator(u, DIAGONAL))),
    "residual": (lambda: Scalar(4), lambda u: timed(fokker_planck_residual(u, DIAGONAL))),
    "score": (lambda: network(4, D), lambda s: timed(log_fokker_planck_operator(len, DIAGONAL, score=s))),
    "hollow score": (lambda: Hollow(D).double(), lambda s: timed(log_fokker_planck_operator(len, DIAGONAL, score=s))),
    "current": (lambda: Scalar(4), lambda u: timed(probability_current(u, DIAGONAL))),
    "flow": (lambda: Scalar(2), lambda u: timed(probability_flow(u, GENERAL))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_values_and_gradients(name, x):
    build, transform = OPERATORS[name]
    module = build()
    operator = transform(module)
    eager = operator(x)
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")(x)
    close(compiled, eager)
    parameters = list(module.parameters())
    ours, expected = (
        torch.autograd.grad(value.square().sum(), parameters, allow_unused=True, materialize_grads=True)
        for value in (compiled, eager)
    )
    assert any(bool(g.any()) for g in expected)
    for a, b in zip(ours, expected, strict=True):
        close(a, b, terms=5e3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_ito_drift(dtype, x):
    t = torch.tensor(0.4, dtype=dtype)  # in float32 beside a state in float64
    for sde in (DIAGONAL, GENERAL):
        operator = ito_drift(sde)
        close(torch.compile(operator, fullgraph=True, backend="aot_eager")(t, x), operator(t, x))


def test_gradients_in_the_state(x):
    operator = laplacian(Scalar(4))
    y, z = x.clone().requires_grad_(), x.clone().requires_grad_()
    (ours,) = torch.autograd.grad(torch.compile(operator, fullgraph=True, backend="aot_eager")(y).sum(), y)
    (expected,) = torch.autograd.grad(operator(z).sum(), z)
    close(ours, expected)


def test_double_backward_is_an_error_that_says_so(x):
    module = network(4, D)
    y = x.clone().requires_grad_()
    value = torch.compile(divergence(module), fullgraph=True, backend="aot_eager")(y)
    (slope,) = torch.autograd.grad(value.sum(), y, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        slope.sum().backward()


def test_bad_input_is_refused_in_a_graph_too(x):
    with pytest.raises((OperatorError, RuntimeError), match="did you mean laplacian"):
        torch.compile(divergence(Scalar(2)), fullgraph=True, backend="eager")(x)
    with pytest.raises((OperatorError, RuntimeError, NotImplementedError), match=r"without torch\.compile"):
        torch.compile(divergence(Field(D, "in_place")), fullgraph=True, backend="eager")(x)


def test_what_was_compiled_can_be_differentiated_eagerly(x):
    module = network(4, D)
    compiled = torch.compile(module, backend="aot_eager")
    close(divergence(compiled)(x), divergence(module)(x))
    # The time is found by the signature of what was compiled.
    scalar = torch.compile(lambda x: module(x).sum(-1), backend="aot_eager")
    close(generator(scalar, DIAGONAL)(0.4, x), generator(lambda x: module(x).sum(-1), DIAGONAL)(0.4, x))
    close(generator(compiled, DIAGONAL)(0.4, x), generator(module, DIAGONAL)(0.4, x))


def test_matrix_products_by_operator_are_refused_in_a_graph(x):
    # torch hands over the operands of `series @ tensor` exchanged: with a square matrix a wrong number, in silence.
    weight, last = torch.randn(4, 4, dtype=torch.float64), network(4, D)
    first = network(4, 4)
    field = lambda x: last[2](torch.tanh(first(x)) @ weight)  # noqa: E731
    with pytest.raises((OperatorError, RuntimeError, NotImplementedError), match="exchanges the operands"):
        torch.compile(divergence(field), fullgraph=True, backend="eager")(x)
    spelled = lambda x: last[2](torch.matmul(torch.tanh(first(x)), weight))  # noqa: E731
    close(torch.compile(divergence(spelled), fullgraph=True, backend="eager")(x), divergence(field)(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch, by its own code
@pytest.mark.skipif(shutil.which("g++") is None, reason="the inductor backend needs g++")
def test_inductor(x):
    module = Scalar(2)
    operator = laplacian(module)
    eager, compiled = operator(x), torch.compile(operator, fullgraph=True)(x)
    close(compiled, eager)
    for a, b in zip(
        torch.autograd.grad(compiled.sum(), module.parameters(), allow_unused=True, materialize_grads=True),
        torch.autograd.grad(eager.sum(), module.parameters(), allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        close(a, b)
