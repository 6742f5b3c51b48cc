"""Operators on a GPU against float64 on the CPU."""

import pytest
import torch

from pdekit.operators import (
    Compressed,
    Dense,
    Exact,
    Hutchinson,
    Within,
    biharmonic,
    dimwise_derivative,
    divergence,
    fokker_planck_residual,
    laplacian,
)
from tests.operators.catalogue import equations, log_p, operators
from tests.operators.fields import Hollow, mlp
from tests.operators.oracle import close

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

D = 3
DTYPES = {torch.float64: torch.finfo(torch.float64).eps, torch.float32: torch.finfo(torch.float32).eps}


@pytest.fixture(autouse=True)
def _full_precision():
    """No TF32: its ten bits would hide what is compared."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def x():
    return torch.randn(5, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def compare(actual, expected, dtype):
    assert actual.device.type == "cuda"
    assert actual.dtype == dtype
    close(actual.double().cpu(), expected.detach(), eps=DTYPES[dtype])


@pytest.mark.parametrize("name", operators(2))
def test_every_operator(name, dtype, x):
    operator, _ = operators(D, dtype, "cuda")[name]
    compare(operator(x.cuda().to(dtype)), operators(D)[name][0](x), dtype)


@pytest.mark.parametrize("method", [Exact(), Compressed(), Dense(2)])
def test_modules(method, dtype, x):
    for width in (2, 16):
        net = mlp(D, width, D)
        operators = (divergence, laplacian) if isinstance(method, Compressed) else (divergence, laplacian, biharmonic)
        expected = [operator(net, method=method)(x) for operator in operators]
        slopes = torch.autograd.grad(expected[0].sum(), list(net.parameters())[:-1])
        moved = mlp(D, width, D).cuda().to(dtype)
        for operator, value in zip(operators, expected, strict=True):
            compare(operator(moved, method=method)(x.cuda().to(dtype)), value, dtype)
        ours = torch.autograd.grad(
            divergence(moved, method=method)(x.cuda().to(dtype)).sum(), list(moved.parameters())[:-1]
        )
        for a, b in zip(ours, slopes, strict=True):
            compare(a, b, dtype)


def test_hollow(dtype, x):
    field = Hollow(D).double()
    expected = [dimwise_derivative(field, order=k)(x) for k in (1, 2, 3)]
    field = field.cuda().to(dtype)
    for k, value in enumerate(expected, start=1):
        result = dimwise_derivative(field, order=k, full_output=True)(x.cuda().to(dtype))
        compare(result.value, value, dtype)
        assert result.plan.route == "hollow"


def test_times_of_either_device(dtype, x):
    residual = fokker_planck_residual(log_p, equations(D)[0])
    expected = residual(0.25, x)
    for t in (0.25, torch.tensor(0.25), torch.tensor(0.25, device="cuda"), torch.full((5, 1), 0.25, device="cuda")):
        t = t.to(dtype) if isinstance(t, torch.Tensor) else t
        compare(residual(t, x.cuda().to(dtype)), expected, dtype)


def test_stochastic(dtype, x):
    net = mlp(D, 8, D).cuda().to(dtype)
    y = x.cuda().to(dtype)
    run = lambda: divergence(net, Hutchinson(500, seed=1), full_output=True)(y)  # noqa: E731
    estimate = run()
    assert torch.equal(estimate.value, run().value)
    error = (estimate.value - divergence(net)(y)).abs()
    assert bool((error <= 4.5 * estimate.stderr).all())
    assert divergence(net, Within(0.5, seed=0))(y).device.type == "cuda"
