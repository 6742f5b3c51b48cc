"""What operators refuse: every error names what was expected and what came."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pdekit.errors import OperatorError, PdekitError
from pdekit.operators import (
    Compressed,
    Dense,
    Exact,
    Hollow,
    Hutchinson,
    Within,
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
    to_ito,
)
from pdekit.sde import SDE
from tests.operators import fields

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def field(x):
    return torch.sin(x) * x.roll(1, -1)


def scalar(x):
    return torch.sin(x).sum(-1)


def sde(drift=lambda t, x: -x, diffusion=lambda t, x: 1 + x**2, dim=3, **options):
    return SDE(drift, diffusion, dim=dim, **options)


def general(diffusion, **options):
    return sde(diffusion=diffusion, noise_type="general", **options)


STATES = {
    "numpy array": (X.numpy(), r"tensor of shape \(\*batch, d\), got ndarray.*torch.as_tensor"),
    "list": ([1.0, 2.0], "got list"),
    "no axis": (torch.tensor(1.0), r"d >= 1, got \(\)"),
    "no dimension": (torch.zeros(3, 0), r"d >= 1, got \(3, 0\)"),
    "whole numbers": (torch.ones(2, 3, dtype=torch.long), "floating dtype, got torch.int64"),
    "booleans": (torch.ones(2, 3, dtype=torch.bool), "floating dtype, got torch.bool"),
    "complex numbers": (torch.ones(2, 3, dtype=torch.complex128), "floating dtype, got torch.complex128"),
}


@pytest.mark.parametrize("name", STATES)
def test_states(name):
    state, message = STATES[name]
    for operator in (divergence(field), laplacian(scalar), dimwise_jet(field, order=2)):
        with pytest.raises(OperatorError, match=message):
            operator(state)
    for operator in (
        generator(scalar, sde()),
        probability_flow(scalar, sde()),
        ito_drift(sde(sde_type="stratonovich")),
    ):
        with pytest.raises(OperatorError, match=message):
            operator(0.0, state)


TIMES = {
    "bare vector": (torch.rand(5), r"\(\*batch, 1\) = \(5, 1\).*got \(5,\).*unsqueeze"),
    "one per column": (torch.rand(5, 3), r"\(5, 1\).*got \(5, 3\)"),
    "of other rows": (torch.rand(4, 1), r"\(5, 1\).*got \(4, 1\)"),
    "numpy vector": (np.linspace(0, 1, 5), "number or a tensor, got ndarray"),
    "list": ([0.1, 0.2], "number or a tensor, got list"),
}


@pytest.mark.parametrize("name", TIMES)
def test_times(name):
    times, message = TIMES[name]
    for operator in (
        divergence(lambda t, x: x * t),
        fokker_planck_residual(lambda t, x: scalar(x) * t, sde()),
        ito_drift(sde(sde_type="stratonovich")),
    ):
        with pytest.raises(OperatorError, match=message):
            operator(times, X)


OUTPUTS = {
    "scalar for a vector": (lambda: divergence(scalar)(X), r"to shape \(5, 3\), got \(5,\).*did you mean laplacian"),
    "too wide": (lambda: divergence(lambda x: torch.cat([x, x], -1))(X), r"\(5, 3\), got \(5, 6\)"),
    "rows lost": (lambda: divergence(lambda x: x[:2])(X), r"\(5, 3\), got \(2, 3\)"),
    "no batch": (lambda: laplacian(lambda x: (x**2).sum())(X), r"\(5,\).*got \(\)"),
    "matrix": (lambda: laplacian(lambda x: x.unsqueeze(-1) * x.unsqueeze(-2))(X), r"got \(5, 3, 3\)"),
    "number": (lambda: divergence(lambda x: 1.0)(X), "one tensor, got float"),
    "nothing": (lambda: laplacian(lambda x: None)(X), "one tensor, got NoneType"),
    "tuple": (lambda: biharmonic(lambda x: (scalar(x), x))(X), "one tensor, got tuple"),
    "complex": (lambda: divergence(lambda x: x * 1j)(X), "real floating numbers, got torch.complex"),
    "whole numbers": (lambda: divergence(lambda x: (x > 0).long())(X), "floating numbers, got torch.int64"),
    "vector for a density": (lambda: fokker_planck_operator(field, sde())(0.0, X), r"density.*\(5,\), got \(5, 3\)"),
    "column for a density": (
        lambda: log_fokker_planck_operator(lambda x: scalar(x).unsqueeze(-1), sde())(0.0, X),
        r"\(5,\), got \(5, 1\).*squeeze\(-1\)",
    ),
    "times of rows broadcast": (
        lambda: fokker_planck_residual(lambda t, x: scalar(x) * t, sde())(torch.rand(5, 1), X),
        r"\(5,\), got \(5, 5\)",
    ),
    "current of a number": (lambda: probability_current(lambda x: 1.0, sde())(0.0, X), "one tensor, got float"),
    "current of a vector": (lambda: probability_current(field, sde())(0.0, X), r"\(5,\), got \(5, 3\)"),
    "scalar score": (lambda: probability_flow(scalar, sde(), score=scalar)(0.0, X), r"score.*\(5, 3\), got \(5,\)"),
    "scalar hollow": (lambda: divergence(ScalarHollow())(X), r"\(5, 3\), got \(5,\)"),
    "in place, too wide": (lambda: divergence(in_place_wide)(X), r"\(5, 3\), got \(5, 4\)"),
    "in place, no batch": (lambda: laplacian(lambda x: in_place_wide(x).sum())(X), r"\(5, '...'\), got \(\)"),
}


class ScalarHollow:
    """A hollow function of the wrong shape."""

    def condition(self, x):
        return torch.zeros_like(x)

    def transform(self, x, h):
        return (x + h).sum(-1)

    __call__ = transform


def in_place_wide(x):
    y = torch.zeros(*x.shape[:-1], 4, dtype=x.dtype)
    y[..., :3] = x**2
    return y


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name):
    call, message = OUTPUTS[name]
    with pytest.raises(OperatorError, match=message):
        call()


METHODS = {
    "class": (lambda: divergence(field, method=Exact), r"got the class; write method=Exact\(\)"),
    "name": (lambda: laplacian(scalar, method="exact"), r"Exact\(\), .*; got 'exact'"),
    "not offered": (lambda: laplacian(scalar, method=Hollow()), r"laplacian offers .*; got Hollow"),
    "stochastic jet": (lambda: dimwise_jet(field, 2, method=Hutchinson()), "dimwise_jet offers"),
    "stochastic log form": (
        lambda: log_fokker_planck_operator(scalar, sde(), method=Within(0.1)),
        "offers the methods",
    ),
    "second derivative": (lambda: dimwise_derivative(field, 2, method=Hutchinson()), "first derivatives only"),
    "order 0": (lambda: dimwise_derivative(field, 0), "at least 1; got 0"),
    "negative order": (lambda: dimwise_jet(field, -1), "at least 1; got -1"),
    "half order": (lambda: dimwise_derivative(field, 1.5), "whole number.*got 1.5"),
    "true order": (lambda: dimwise_derivative(field, True), "whole number.*got True"),
    "no function": (lambda: divergence(3), r"expected a function.*got int"),
    "tensor for a function": (lambda: laplacian(X), "expected a function.*got Tensor"),
    "chunks of nothing": (lambda: Dense(0), "chunk_size must be a whole number of at least 1, got 0"),
    "half chunks": (lambda: Dense(chunk_size=1.5), "got 1.5"),
    "no samples": (lambda: Hutchinson(0), "samples must be a whole number of at least 1, got 0"),
    "half samples": (lambda: Hutchinson(2.5), "got 2.5"),
    "distribution": (lambda: Hutchinson(distribution="uniform"), "rademacher.*got 'uniform'"),
    "seed": (lambda: Hutchinson(seed=0.5), "seed must be a whole number from 0 .* or None, got 0.5"),
    "noise": (lambda: Hutchinson(noise=3), r"noise must be a tensor \(samples, \*batch, d\), got int"),
    "noise without samples": (lambda: Hutchinson(noise=torch.ones(3)), r"got \(3,\)"),
    "noise of another batch": (
        lambda: divergence(field, Hutchinson(noise=torch.ones(2, 3)))(X),
        r"\(2, 3\).*\(2, 5, 3\)",
    ),
    "rtol 0": (lambda: Within(0), "between 0 and 1, got 0"),
    "rtol 1": (lambda: Within(1.0), "between 0 and 1, got 1.0"),
    "rtol nan": (lambda: Within(math.nan), "got nan"),
    "rtol text": (lambda: Within("0.1"), "got '0.1'"),
    "pilot": (lambda: Within(0.1, pilot=2), "pilot must be a whole number of at least 4, got 2"),
    "bottleneck of a diagonal": (lambda: dimwise_derivative(field, 1, Hutchinson(bottleneck=True))(X), "trace only"),
    "bottleneck of a Laplacian": (lambda: laplacian(scalar, Hutchinson(bottleneck=True))(X), "divergence only"),
    "bottleneck without a layer": (lambda: divergence(field, Hutchinson(bottleneck=True))(X), "linear layer"),
    "signs for a biharmonic": (lambda: biharmonic(scalar, Hutchinson())(X), 'distribution="gaussian"'),
    "hollow of any function": (lambda: divergence(field, Hollow())(X), "methods condition.*transform.*got function"),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_options(name):
    make, message = METHODS[name]
    with pytest.raises(OperatorError, match=message):
        make()


COEFFICIENTS = {
    "factor": ({"factor": torch.ones(2, 2)}, r"factor must have shape \(3, 'm'\) or \(5, 3, 'm'\).*got \(2, 2\)"),
    "factor without columns": ({"factor": torch.ones(3)}, r"factor.*got \(3,\)"),
    "tensor": ({"tensor": torch.ones(3, 2)}, r"tensor must have shape \(3, 3\) or \(5, 3, 3\).*got \(3, 2\)"),
    "drift": ({"drift": torch.ones(2)}, r"drift must have shape \(3,\) or \(5, 3\).*got \(2,\)"),
    "drift function": ({"drift": scalar}, r"drift.*got \(5,\)"),
    "potential": ({"potential": torch.ones(2)}, r"potential must have shape \(\) or \(5,\).*got \(2,\)"),
    "both": ({"factor": torch.eye(3), "tensor": torch.eye(3)}, "not both"),
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_coefficients(name):
    coefficients, message = COEFFICIENTS[name]
    with pytest.raises(OperatorError, match=message):
        second_order_operator(scalar, **coefficients)(X)


EQUATIONS = {
    "dimension": (lambda: generator(scalar, sde(dim=2))(0.0, X), "SDE has 2 states, the state given has 3"),
    "dimension of a drift": (lambda: ito_drift(sde(dim=2, sde_type="stratonovich"))(0.0, X), "has 2 states"),
    "no SDE": (lambda: generator(scalar, field), r"expected a pdekit.SDE, got function.*\.at\("),
    "no SDE to convert": (lambda: to_ito(field), "expected a pdekit.SDE, got function"),
    "no SDE for a drift": (lambda: ito_drift(None), "expected a pdekit.SDE, got NoneType"),
    "without a time": (lambda: generator(scalar, sde())(X), r"with a time and a state, \(t, x\); got 1 positional"),
    "score": (lambda: probability_flow(scalar, sde(), score=X), "score is a function.*got Tensor"),
    "log density without a time": (lambda: fokker_planck_residual(scalar, sde()), r"must take a time, log_p\(t, x\)"),
    "drift": (lambda: generator(scalar, sde(lambda t, x: scalar(x)))(0.0, X), r"drift.*\(5, 3\), got \(5,\)"),
    "diagonal": (
        lambda: generator(scalar, sde(diffusion=lambda t, x: torch.diag_embed(x)))(0.0, X),
        r"diffusion, of diagonal noise,.*\(5, 3\), got \(5, 3, 3\)",
    ),
    "columns": (
        lambda: fokker_planck_operator(scalar, general(lambda t, x: x[..., :2].unsqueeze(-2)))(0.0, X),
        r"must return \(5, 3, 3\).*3 Brownian motions.*got \(5, 1, 2\)",
    ),
    "columns of a drift": (
        lambda: ito_drift(general(lambda t, x: x.unsqueeze(-1), noise_dim=2, sde_type="stratonovich"))(0.0, X),
        r"must return \(5, 3, 2\).*got \(5, 3, 1\)",
    ),
    "additive noise of the state": (
        lambda: fokker_planck_operator(scalar, sde(diffusion=lambda t, x: torch.diag_embed(x), noise_type="additive"))(
            0.0, X
        ),
        'declared additive.*noise_type="general"',
    ),
    "separable noise of other states": (
        lambda: ito_drift(sde(diffusion=lambda t, x: x.roll(1, -1) * x, separable=True, sde_type="stratonovich"))(
            0.0, X
        ),
        "declared separable.*separable=False",
    ),
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations(name):
    call, message = EQUATIONS[name]
    with pytest.raises(OperatorError, match=message):
        call()


KINKED = [nn.ReLU(), nn.LeakyReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Hardswish(), nn.SELU(), nn.PReLU()]


@pytest.mark.parametrize("activation", KINKED, ids=lambda a: type(a).__name__)
def test_kinks_have_no_second_derivative(activation):
    net = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 3)).double()
    assert divergence(net)(X).shape == (5,)
    for operator in (laplacian(net), dimwise_derivative(net, order=2), generator(net, sde()), biharmonic(net)):
        with pytest.raises(OperatorError, match="second derivative"):
            operator(*((0.0, X) if operator.name == "generator" else (X,)))


LOST = {
    "float": lambda t, x: scalar(x) * float(t) ** 2,
    "math": lambda t, x: scalar(x) * math.exp(-t),
    "full_like": lambda t, x: scalar(x) * torch.exp(-torch.full_like(x[..., 0], t)),
    "half of it": lambda t, x: scalar(x) * math.exp(-t) + t,
}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("t", [0.7, torch.tensor(0.7)])
def test_times_lost_on_the_way(name, t):
    residual = fokker_planck_residual(LOST[name], sde())
    for _ in range(2):
        with pytest.raises(OperatorError, match=r"plain number on the way.*torch.exp\(t\)"):
            residual(t, X)


def test_functions_that_only_look_like_losing_the_time():
    steps = lambda t, x: scalar(x) * torch.floor(torch.as_tensor(t) * 3)  # noqa: E731
    fast = lambda t, x: scalar(x) * torch.sin(1e9 * torch.as_tensor(t, dtype=x.dtype))  # noqa: E731
    rounded = lambda t, x: scalar(x) * torch.exp(torch.as_tensor(t)) * torch.exp(-torch.as_tensor(t))  # noqa: E731
    many = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for log_p in (steps, fast, rounded):
        assert bool(torch.isfinite(fokker_planck_residual(log_p, sde())(0.7, many)).all())


def test_every_error_is_one_of_ours():
    assert issubclass(OperatorError, PdekitError)
    assert issubclass(OperatorError, ValueError)


class StackedHollow(fields.Hollow):
    """Two layers that each leave out x_i, one after the other, which together bring it back."""

    def condition(self, x):
        return super().condition(super().condition(x)[..., 0])


class SumMinusSelf(fields.Hollow):
    """A sum over all dimensions less one's own term: its derivative is zero, its value moves by a rounding error."""

    def condition(self, x):
        y = torch.tanh(x)
        return (y.sum(-1, keepdim=True) - y).unsqueeze(-1).expand(*x.shape, 2)


class Normalised(fields.Hollow):
    """Hollow but for a normalisation over dimensions."""

    def condition(self, x):
        h = super().condition(x)
        return h / h.norm(dim=-2, keepdim=True)


class LeaksInOne(fields.Hollow):
    """Hollow in all dimensions but the second."""

    def condition(self, x):
        h = super().condition(x)
        return torch.cat([h[..., :1, :], h[..., 1:2, :] + x[..., 1:2, None] ** 2, h[..., 2:, :]], -2)


class Residual(fields.Hollow):
    """Its two methods are hollow, but the function is another."""

    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize("kind", [StackedHollow, SumMinusSelf, Normalised, LeaksInOne, Residual])
def test_functions_that_are_not_hollow(kind):
    torch.manual_seed(0)
    function = kind(3).double()
    for method in (Exact(), Hollow(), Exact()):  # refused again when asked again
        with pytest.raises(OperatorError, match=f"{kind.__name__} is declared hollow.*Dense"):
            divergence(function, method=method)(X)
    assert divergence(function, method=Dense())(X).shape == (5,)


def test_hollowness_is_believed_if_asked_to():
    assert divergence(SumMinusSelf(3).double(), method=Hollow(check=False))(X).shape == (5,)


def test_compressed_wants_a_layer():
    with pytest.raises(OperatorError, match="linear layer"):
        laplacian(scalar, method=Compressed())(X)
