"""States of any batch, dtype, layout and mode."""

import pytest
import torch

from pdekit.operators import (
    Exact,
    Hutchinson,
    Within,
    dimwise_derivative,
    divergence,
    fokker_planck_operator,
    fokker_planck_residual,
    generator,
    laplacian,
    probability_flow,
)
from tests.operators.catalogue import equations, operators, scalar
from tests.operators.fields import SPELLINGS, Field, Hollow, OwnSine, mlp
from tests.operators.oracle import close


def rowwise(operator, x):
    """Row by row, each a state of its own."""
    rows = [operator(row) for row in x.reshape(-1, x.shape[-1])]
    return torch.stack(rows).reshape(*x.shape[:-1], *rows[0].shape)


@pytest.mark.parametrize("name", operators(2))
def test_batches_of_any_shape(name):
    for d in (1, 3):
        operator, axes = operators(d)[name]
        whole = torch.randn(2, 3, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = rowwise(operator, whole)
        assert expected.shape == (2, 3, d)[: 2 + axes]
        close(operator(whole), expected)
        close(operator(whole[0]), expected[0])
        close(operator(whole[:1, :1]), expected[:1, :1])
        for empty in ((0, d), (2, 0, d)):
            assert operator(torch.zeros(empty, dtype=torch.float64)).shape == empty[: len(empty) - 1 + axes]


@pytest.mark.parametrize("name", operators(2))
def test_layouts_modes_and_tracking(name):
    operator, _ = operators(3)[name]
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = operator(x.t().contiguous())
    close(operator(x.t()), expected)
    strided = torch.zeros(4, 6, dtype=torch.float64)[:, ::2]
    strided.copy_(x.t())
    close(operator(strided), expected)
    close(operator(x.t()[:1].expand(4, 3)), expected[:1].expand_as(expected))
    close(operator(x.t().clone().requires_grad_()), expected)
    with torch.no_grad():
        quiet = operator(x.t())
    close(quiet, expected)
    assert not quiet.requires_grad
    with torch.inference_mode():
        close(operator(x.t()), expected)
        close(operator(x.t().clone()), expected)


EPS = {torch.float32: torch.finfo(torch.float32).eps, torch.bfloat16: torch.finfo(torch.bfloat16).eps}


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", operators(2))
def test_dtypes_are_kept(name, dtype):
    # Numbers of few bits, the same in every precision.
    x = torch.tensor([[0.5, -0.75, 1.0], [0.25, 1.5, -0.5], [-1.25, 0.125, 0.75]], dtype=torch.float64)
    expected = operators(3)[name][0](x)
    actual = operators(3, dtype)[name][0](x.to(dtype))
    assert actual.dtype == dtype
    # Half precision rounds every one of some fifty steps to three digits.
    close(actual.double(), expected, eps=EPS[dtype], terms=50.0)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_stochastic_ones_too(spelling):
    f, u = Field(3, spelling), Field(3, spelling, scalar=True)
    for shape in ((3,), (4, 3), (2, 2, 3), (1, 3)):
        x = torch.randn(shape, dtype=torch.float64)
        for method in (Hutchinson(3, seed=1), Within(0.5, seed=1)):
            assert divergence(f, method=method)(x).shape == shape[:-1]
            assert laplacian(u, method=method)(x).shape == shape[:-1]


def test_hollow_fields():
    field = Hollow(3, channels=2).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    for order in (1, 2):
        operator = dimwise_derivative(field, order=order)
        close(operator(x), rowwise(operator, x))
        assert operator(x[:0]).shape == (0, 4, 3, 2)
        with torch.inference_mode():
            close(operator(x.clone()), operator(x))
    assert divergence(Hollow(3))(torch.randn(2, 3)).dtype == torch.float32


@pytest.mark.parametrize("build", [lambda: mlp(3, 8, 3).float(), lambda: Hollow(3)], ids=["network", "hollow"])
def test_autocast_rounds_more_but_is_no_randomness(build):
    function, x = build(), torch.randn(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = divergence(function)(x)
    close(actual.float(), divergence(function)(x), eps=torch.finfo(torch.bfloat16).eps, terms=10.0)


def test_context_is_the_functions_and_not_the_equations():
    context = torch.linspace(1, 2, 4, dtype=torch.float64).unsqueeze(-1)
    x = torch.randn(4, 3, dtype=torch.float64)

    def u(t, x, *, context):
        return scalar(x) * context.squeeze(-1) * t

    for sde in equations(3):
        for operator in (generator, fokker_planck_operator):
            close(operator(u, sde)(0.5, x, context=context), operator(scalar, sde)(0.5, x) * context.squeeze(-1) * 0.5)
        close(
            fokker_planck_residual(u, sde)(0.5, x, context=context),
            fokker_planck_residual(lambda t, x: u(t, x, context=context), sde)(0.5, x),
        )


@pytest.mark.parametrize("t", [0.5, torch.tensor(0.5), torch.linspace(0.1, 1, 4, dtype=torch.float64).unsqueeze(-1)])
def test_derivatives_in_time_around_series(t):
    def in_place(t, x):
        y = torch.zeros_like(x)
        y[..., :1] = torch.sin(torch.as_tensor(t, dtype=x.dtype))
        return scalar(x) * y.sum(-1)

    def own_function(t, x):
        return (scalar(x).unsqueeze(-1) * OwnSine.apply(torch.as_tensor(t, dtype=x.dtype))).sum(-1)

    def plain(t, x):
        return (scalar(x).unsqueeze(-1) * torch.sin(torch.as_tensor(t, dtype=x.dtype))).sum(-1)

    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = fokker_planck_residual(plain, equations(3)[0])(t, x)
    for log_p in (in_place, own_function):
        close(fokker_planck_residual(log_p, equations(3)[0])(t, x), exact, terms=5e3)


def test_transforms_of_torch():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    flow = lambda u: lambda x: probability_flow(u, equations(3)[0])(0.3, x)  # noqa: E731
    plain, plain_u = Field(3, "plain"), Field(3, "plain", scalar=True)
    for spelling in ("plain", "in_place"):
        f, u = Field(3, spelling), Field(3, spelling, scalar=True)
        for operator, function, same in ((divergence, f, plain), (laplacian, u, plain_u), (flow, u, plain_u)):
            value, reference = operator(function), operator(same)
            close(torch.vmap(value)(x), reference(x))
            jacobian = torch.stack([torch.autograd.functional.jacobian(reference, row) for row in x])
            for transform in (torch.func.jacfwd, torch.func.jacrev):
                close(torch.vmap(transform(value))(x), jacobian)
    # What torch's transforms can't do is an error, not a zero.
    with pytest.raises(RuntimeError, match="functorch"):
        torch.vmap(divergence(Field(3, "own_function")))(x)


def test_an_exact_value_knows_its_plan():
    net = mlp(3, 2, 3)
    result = divergence(net, method=Exact(), full_output=True)(torch.randn(4, 3, dtype=torch.float64))
    assert repr(result).startswith("OperatorResult((4,), route='compressed'")
    assert result.plan.exact
    assert result.plan.seed is None
