"""Operators on `HollowNet`: cheap derivatives that agree with brute force, in time and with context."""

import pytest
import torch

from pdekit.nets import HollowNet, MaskedConditioner, MLPTransformer
from pdekit.operators import (
    Dense,
    biharmonic,
    dimwise_derivative,
    dimwise_jet,
    divergence,
    laplacian,
    log_fokker_planck_operator,
    probability_flow,
)
from pdekit.sde import SDE
from tests.operators.oracle import close

D, N = 4, 3


def network(**options):
    conditioner = MaskedConditioner(features=3, hidden=(8,))
    return HollowNet(D, conditioner, MLPTransformer(hidden=(6,)), seed=0, **options).double()


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


CASES = {
    "state": (network, (), {}),
    "one time": (lambda: network(time=True), (0.4,), {}),
    "times of rows": (lambda: network(time=True), (torch.linspace(0, 1, N, dtype=torch.float64).unsqueeze(-1),), {}),
    "context": (lambda: network(time=True, context_dim=2), (0.4,), {"context": draw(N, 2)}),
    "channels": (lambda: network(channels=2), (), {}),
}


@pytest.fixture(params=CASES)
def case(request):
    build, leading, context = CASES[request.param]
    return build(), leading, context


def dimwise(net, leading, x, context, k):
    """One dimension and one channel at a time."""
    outputs = net.channels
    columns = []
    for i in range(D):
        values = []
        for c in range(outputs):
            y = x.detach().requires_grad_()
            value = net(*leading, y, **context)[:, i]
            value = value if outputs == 1 else value[:, c]
            for _ in range(k):
                value = torch.autograd.grad(value.sum(), y, create_graph=True)[0][:, i]
            values.append(value)
        columns.append(values[0] if outputs == 1 else torch.stack(values, -1))
    return torch.stack(columns, 1)


def gradients(value, net):
    options = {"allow_unused": True, "materialize_grads": True}
    return torch.autograd.grad(value.square().sum(), list(net.parameters()), **options)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_agrees_with_brute_force(case, k):
    net, leading, context = case
    x = draw(N, D)
    result = dimwise_derivative(net, order=k, full_output=True)(*leading, x, **context)
    expected = dimwise(net, leading, x, context, k)
    assert result.plan.route == "hollow"
    close(result.value, expected)
    close(result.output, net(*leading, x, **context))
    for ours, brute in zip(gradients(result.value, net), gradients(expected, net), strict=True):
        close(ours, brute, terms=5e3)


def test_dense_agrees():
    net, x = network(time=True), draw(N, D)
    for ours, dense in zip(
        dimwise_jet(net, order=3)(0.4, x), dimwise_jet(net, order=3, method=Dense())(0.4, x), strict=True
    ):
        close(ours, dense)
    close(divergence(net)(0.4, x), divergence(net, Dense(1))(0.4, x))
    flat = lambda x: net(0.4, x).sum(-1)  # noqa: E731
    hessian = torch.stack([torch.autograd.functional.hessian(flat, row) for row in x])
    trace = hessian.diagonal(dim1=1, dim2=2).sum(-1)
    close(laplacian(flat)(x), trace)
    assert biharmonic(flat)(x).shape == (N,)


def test_as_a_score():
    score, x = network(time=True), draw(N, D)
    diagonal = SDE(lambda t, x: -x * t, lambda t, x: 1 + 0.1 * x * x.roll(1, -1), dim=D)
    result = log_fokker_planck_operator(len, diagonal, score=score, full_output=True)(0.4, x)
    assert result.plan.route == "hollow"
    close(result.value, log_fokker_planck_operator(len, diagonal, score=score, method=Dense())(0.4, x))
    assert probability_flow(len, diagonal, score=score)(0.4, x).shape == (N, D)
