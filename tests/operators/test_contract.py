"""Rows don't see one another; checked once for each function, and again when it becomes another."""

import functools

import pytest
import torch
from torch import nn

from pdekit.errors import OperatorError
from pdekit.operators import (
    biharmonic,
    divergence,
    fokker_planck_operator,
    generator,
    laplacian,
    probability_current,
    probability_flow,
)
from pdekit.operators.memory import Memory
from pdekit.sde import SDE
from tests.operators.fields import Field, mlp

N, D = 6, 3


@pytest.fixture
def x():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def brownian(diffusion=lambda t, x: torch.ones_like(x)):
    return SDE(lambda t, x: 0 * x, diffusion, dim=D)


MIXED = {
    "mean": lambda x: x - x.mean(0),
    "norm": lambda x: x / x.norm(),
    "running sum": lambda x: x.cumsum(0),
    "running sum backwards": lambda x: x.flip(0).cumsum(0).flip(0),
    "first row": lambda x: x - x[:1],
    "last row": lambda x: x * x[-1:],
    "sorted": lambda x: x.sort(0).values,
    "softmax over rows": lambda x: torch.softmax(x, 0),
    "shuffled": lambda x: x * torch.rand(len(x), 1, dtype=x.dtype),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_rows_are_refused_every_time(name, x):
    f = MIXED[name]
    for operator in (divergence(f), laplacian(lambda x: f(x).sin().sum(-1))):
        for _ in range(2):
            with pytest.raises(OperatorError, match=r"own row of the state only, but a row changes by.*mean"):
                operator(x)


def test_every_operator_looks_at_its_function(x):
    mixed = lambda x: torch.exp(-((x - x.mean(0)) ** 2).sum(-1))  # noqa: E731
    for operator in (generator, fokker_planck_operator, probability_current, probability_flow):
        with pytest.raises(OperatorError, match="own row of the state only"):
            operator(mixed, brownian())(0.0, x)
    with pytest.raises(OperatorError, match="own row of the state only"):
        fokker_planck_operator(lambda x: x.sum(-1), brownian(lambda t, x: x - x.mean(0)))(0.0, x)


def test_batch_norm_and_dropout(x):
    for layer in (nn.BatchNorm1d(4), nn.Dropout(0.5)):
        net = nn.Sequential(nn.Linear(D, 4), layer, nn.Linear(4, D)).double()
        for _ in range(2):
            with pytest.raises(OperatorError, match="BatchNorm"):
                divergence(net)(x)
        with pytest.raises(OperatorError, match="BatchNorm"):
            divergence(lambda x: net(x))(x)  # noqa: B023
        net.eval()
        assert divergence(net)(x).shape == (N,)
        assert divergence(lambda x: net(x))(x).shape == (N,)  # noqa: B023
        net.train()
        with pytest.raises(OperatorError, match="BatchNorm"):
            divergence(net)(x)


def test_randomness_is_seen_in_a_single_state():
    net = nn.Sequential(nn.Linear(D, 32), nn.Dropout(0.5), nn.Linear(32, D)).double()
    with pytest.raises(OperatorError, match="evaluated again"):
        divergence(net)(torch.ones(D, dtype=torch.float64))


def test_one_row_does_not_vouch_for_many(x):
    f = lambda x: x - x.mean(0)  # noqa: E731
    assert divergence(f)(x[:1]).shape == (1,)
    with pytest.raises(OperatorError, match="own row"):
        divergence(f)(x)
    g = lambda x: x - x.mean(0)  # noqa: E731
    with pytest.raises(OperatorError, match="own row"):
        divergence(g)(x[:1].expand(N, D))


LEGAL = {
    "weights of rows": lambda w, x: w * (x**2).sum(-1),
    "columns of rows": lambda w, x: (w.unsqueeze(-1) * x**2).sum(-1),
    "table of rows": lambda w, x: w[torch.arange(len(x))] * (x**2).sum(-1),
    "in place": lambda w, x: _into(torch.zeros(len(x), dtype=x.dtype), w * (x**2).sum(-1)),
}


def _into(target, values):
    target[:] = values
    return target


@pytest.mark.parametrize("name", LEGAL)
def test_one_value_for_each_row_is_legal(name, x):
    weights = torch.linspace(1, 2, N, dtype=torch.float64)
    torch.testing.assert_close(laplacian(lambda x: LEGAL[name](weights, x))(x), 2 * D * weights)


def test_one_value_for_each_row_of_many():
    many = 5000
    weights = torch.linspace(1, 2, many, dtype=torch.float64)
    x = torch.randn(many, D, dtype=torch.float64)
    torch.testing.assert_close(laplacian(lambda x: weights[: len(x)] * (x**2).sum(-1))(x), 2 * D * weights)


def test_context_goes_along(x):
    def u(x, *, labels, centres):
        return labels.squeeze(-1) * ((x.unsqueeze(-2) - centres) ** 2).sum((-1, -2))

    labels = torch.linspace(1, 2, N, dtype=torch.float64).unsqueeze(-1)
    for count in (2, N):  # N of them look like rows, and aren't
        centres = torch.randn(count, D, dtype=torch.float64)
        result = laplacian(u)(x, labels=labels, centres=centres)
        torch.testing.assert_close(result, 2 * D * count * labels.squeeze(-1))


def test_values_of_any_size(x):
    tiny = lambda x: 1e-30 * torch.exp(-(x**2).sum(-1))  # noqa: E731
    large = lambda x: 1e30 * torch.exp(-(x**2).sum(-1))  # noqa: E731
    assert bool(torch.isfinite(laplacian(tiny)(x)).all())
    assert bool(torch.isfinite(laplacian(large)(x)).all())
    with_nan = lambda x: torch.log(x).sum(-1)  # noqa: E731
    assert laplacian(with_nan)(x).shape == (N,)


class Counting:
    """A field that counts its calls."""

    def __init__(self, field):
        self.field, self.calls = field, 0

    def __call__(self, x):
        self.calls += 1
        return self.field(x)


def test_lambdas_made_anew_are_not_checked_again(x):
    net = Counting(mlp(D, 8, D))

    def step():
        before = net.calls
        divergence(lambda x: net(x) * 2)(x)
        biharmonic(lambda x: net(x).sum(-1))(x)
        return net.calls - before

    first, later = step(), [step() for _ in range(3)]
    # One pass for the divergence, and for the biharmonic one more than its own value.
    assert later == [3, 3, 3]
    assert first > 3


def test_another_module_is_another_function(x):
    for field in (
        nn.Linear(D, D).double(),
        nn.Sequential(nn.Linear(D, 9), nn.BatchNorm1d(9), nn.Linear(9, D)).double(),
    ):
        operator = divergence(lambda x: field(x))  # noqa: B023
        if isinstance(field, nn.Linear):
            operator(x)
        else:
            with pytest.raises(OperatorError, match="BatchNorm"):
                operator(x)


def test_another_equation_is_another_function(x):
    for sde in (brownian(), brownian(lambda t, x: x - x.mean(0))):
        operator = divergence(lambda x: sde.diffusion(0.0, x))  # noqa: B023
        if sde.diffusion(0.0, x).std() == 0:
            operator(x)
        else:
            with pytest.raises(OperatorError, match="own row"):
                operator(x)


class TestMemory:
    def known(self, memory, function):
        entry = memory.about(function, "subject")
        if not entry.known:
            entry.keep(True)
        return entry.known

    def test_code_and_what_it_closes_over(self):
        memory, net, other = Memory(), nn.Linear(2, 2), nn.Linear(2, 2)
        make = lambda m, scale: lambda x: m(x) * scale  # noqa: E731
        assert not self.known(memory, make(net, 1.0))
        assert self.known(memory, make(net, torch.ones(2)))  # numbers and tensors may change
        assert not self.known(memory, make(other, 1.0))
        assert not self.known(memory, make(net.eval(), 1.0))
        assert not memory.about(make(net, 1.0), "another subject").known

    def test_functions_in_functions(self):
        memory, net, other = Memory(), nn.Linear(2, 2), nn.Linear(2, 2)
        inner = lambda m: lambda x: m(x)  # noqa: E731
        outer = lambda f: lambda x: f(x)  # noqa: E731
        assert not self.known(memory, outer(inner(net)))
        assert self.known(memory, outer(inner(net)))
        assert not self.known(memory, outer(inner(other)))
        assert not self.known(memory, outer([inner(net), other]))

    def test_defaults_partials_methods_and_operators(self):
        memory, net, other = Memory(), nn.Linear(2, 2), nn.Linear(2, 2)
        for make in (
            lambda m: lambda x, m=m: m(x),
            lambda m: functools.partial(lambda m, x: m(x), m),
            lambda m: m.forward,
            lambda m: m,
            lambda m: laplacian(lambda x: m(x)),
        ):
            assert not self.known(memory, make(net))
            assert self.known(memory, make(net))
            assert not self.known(memory, make(other))

    def test_globals(self):
        memory = Memory()
        scope = {"net": nn.Linear(2, 2)}
        function = eval("lambda x: net(x)", scope)  # noqa: S307
        assert not self.known(memory, function)
        assert self.known(memory, function)
        scope["net"] = nn.Linear(2, 2)
        assert not self.known(memory, function)

    def test_the_dead_are_forgotten(self):
        memory, keys = Memory(), set()
        for _ in range(50):
            net = Field(2, "plain")
            assert not self.known(memory, net)  # also where a new one lives at the address of an old one
            keys.add(id(net))
            del net

    def test_what_cannot_be_watched_is_not_remembered(self):
        class Slotted:
            __slots__ = ()

            def __call__(self, x):
                return x

        memory, function = Memory(), Slotted()
        assert not self.known(memory, function)
        assert not self.known(memory, function)
