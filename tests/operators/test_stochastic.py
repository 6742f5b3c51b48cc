"""Stochastic estimates: unbiased, with standard errors that mean what they say, reproducible."""

import math

import pytest
import torch
from scipy import stats

from pdekit.errors import OperatorError
from pdekit.operators import (
    Hutchinson,
    Within,
    biharmonic,
    divergence,
    fokker_planck_operator,
    generator,
    jacobian_diagonal,
    laplacian,
    second_order_operator,
)
from pdekit.sde import SDE
from tests.operators.fields import SPELLINGS, Field, mlp
from tests.operators.oracle import close

D = 3


@pytest.fixture
def x():
    return torch.randn(4, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def u(x):
    return torch.sin(x * x.roll(1, -1)).sum(-1) + (x**4).sum(-1) / 8


def f(x):
    return torch.sin(x.roll(1, -1) * x) + x**3 / 3


TENSOR = torch.tensor([[1.0, 0.5, 0.0], [0.5, -1.0, 2.0], [0.0, 2.0, 0.5]], dtype=torch.float64)
FACTOR = torch.tensor([[1.0, 0.5], [-0.5, 0.3], [0.0, 1.2]], dtype=torch.float64)
EQUATION = SDE(lambda t, x: -x, lambda t, x: 1 + x.roll(1, -1) ** 2, dim=D, sde_type="stratonovich")

ESTIMATES = {
    "divergence": lambda method: divergence(f, method=method, full_output=True),
    "diagonal": lambda method: jacobian_diagonal(f, method=method, full_output=True),
    "laplacian": lambda method: laplacian(u, method=method, full_output=True),
    "laplacian of a vector": lambda method: laplacian(f, method=method, full_output=True),
    "drift and tensor": lambda method: second_order_operator(
        u, drift=torch.cos, tensor=TENSOR, potential=u, method=method, full_output=True
    ),
    "tensor of rows": lambda method: second_order_operator(
        u, tensor=lambda x: TENSOR * (1 + x[:, :1, None] ** 2), method=method, full_output=True
    ),
    "factor": lambda method: second_order_operator(u, factor=FACTOR, method=method, full_output=True),
    "factor of rows": lambda method: second_order_operator(
        u, factor=lambda x: FACTOR * x[:, :1, None], method=method, full_output=True
    ),
    "generator": lambda method: lambda x: generator(u, EQUATION, method, full_output=True)(0.3, x),
    "density": lambda method: lambda x: fokker_planck_operator(u, EQUATION, method, full_output=True)(0.3, x),
}


def exact(name, x):
    from pdekit.operators import Exact

    return ESTIMATES[name](Exact())(x)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
@pytest.mark.parametrize("name", ESTIMATES)
def test_unbiased(name, distribution, x):
    estimate = ESTIMATES[name](Hutchinson(2000, distribution, seed=0))(x)
    truth = exact(name, x)
    close(estimate.output, truth.output)
    error = (estimate.value - truth.value).abs()
    # At most 12 numbers: one beyond 4.5 standard errors has a chance of 1e-4. Where the estimate has no variance
    # (Rademacher directions see a diagonal exactly) rounding remains.
    assert bool((error <= 4.5 * estimate.stderr + 1e-12 * (1 + truth.value.abs())).all())
    assert estimate.plan.route == "hutchinson"
    assert not estimate.plan.exact


def test_unbiased_biharmonic(x):
    estimate = biharmonic(u, Hutchinson(4000, "gaussian", seed=0), full_output=True)(x)
    error = (estimate.value - biharmonic(u)(x)).abs()
    assert bool((error <= 4.5 * estimate.stderr).all())


def test_intervals_cover_as_often_as_they_say(x):
    truth, runs, hits = laplacian(u)(x[0]), 300, {0.5: 0, 0.9: 0}
    for seed in range(runs):
        estimate = laplacian(u, Hutchinson(40, "gaussian", seed=seed), full_output=True)(x[0])
        for level in hits:
            low, high = estimate.interval(level)
            hits[level] += int(low <= truth <= high)
    for level, count in hits.items():
        # Products of normal numbers are skewed: the actual level of a t interval from 40 of them is some 2 % lower.
        low, high = stats.binom.ppf([0.0005, 0.9995], runs, level)
        assert low - 0.03 * runs <= count <= high


def test_stderr_is_that_of_the_mean(x):
    method = Hutchinson(64, "gaussian", seed=3).fixed(x)
    result = divergence(f, method, full_output=True)(x)
    jacobian = torch.autograd.functional.jacobian(lambda y: f(y).sum(0), x).permute(1, 0, 2)
    samples = torch.einsum("rni,nij,rnj->rn", method.noise, jacobian, method.noise)
    close(result.value, samples.mean(0))
    close(result.stderr, samples.std(0) / math.sqrt(64))
    low, high = result.interval(0.9)
    half = stats.t.ppf(0.95, 63) * result.stderr
    close(low, result.value - half)
    close(high, result.value + half)


def test_intervals_that_do_not_exist(x):
    single = divergence(f, Hutchinson(seed=0), full_output=True)(x)
    assert single.stderr is None
    with pytest.raises(OperatorError, match="one sample gives no standard error"):
        single.interval()
    with pytest.raises(OperatorError, match="the value is exact"):
        divergence(f, full_output=True)(x).interval()
    with pytest.raises(OperatorError, match="between 0 and 1, got 1"):
        divergence(f, Hutchinson(4), full_output=True)(x).interval(1)


def test_seeds(x):
    run = lambda seed: laplacian(u, Hutchinson(3, seed=seed), full_output=True)(x)  # noqa: E731
    assert torch.equal(run(7).value, run(7).value)
    assert not torch.equal(run(7).value, run(8).value)
    assert run(7).plan.seed == 7
    free, again = run(None), run(None)
    assert not torch.equal(free.value, again.value)
    assert torch.equal(free.value, run(free.plan.seed).value)  # what was drawn is on record
    torch.manual_seed(0)
    before = torch.get_rng_state()
    run(None)
    assert torch.equal(torch.get_rng_state(), before)  # torch's own generator is left alone


def test_fixed_noise(x):
    method = Hutchinson(5, seed=1).fixed(x)
    assert method.noise.shape == (5, *x.shape)
    assert bool((method.noise.abs() == 1).all())
    result = divergence(f, method, full_output=True)(x)
    assert torch.equal(result.value, divergence(f, method)(x))
    assert torch.equal(result.value, divergence(f, Hutchinson(5, seed=1))(x))
    assert result.plan.seed is None
    given = Hutchinson(noise=torch.ones(2, *x.shape, dtype=torch.float64))
    assert given.samples == 2
    assert divergence(f, given, full_output=True)(x).plan.directions == 2


def test_bottleneck(x):
    net = mlp(D, 2, D)
    drawn = []

    class Recording(Hutchinson):
        def draw(self, like, width=None):
            noise, seed = super().draw(like, width)
            drawn.append(noise.shape[-1])
            return noise, seed

    estimate = divergence(net, Recording(2000, seed=0, bottleneck=True), full_output=True)(x)
    error = (estimate.value - divergence(net)(x)).abs()
    assert bool((error <= 4.5 * estimate.stderr).all())
    assert set(drawn) == {2}  # of the layer, not of the state
    close(estimate.output, net(x))
    plain = divergence(net, Hutchinson(2000, seed=0), full_output=True)(x)
    assert float(estimate.stderr.mean()) < float(plain.stderr.mean())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_functions_that_series_cannot_follow(spelling, x):
    method = Hutchinson(4, seed=2)
    for operator, scalar in ((divergence, False), (laplacian, True), (laplacian, False)):
        estimate = operator(Field(D, spelling, scalar), method)(x)
        close(estimate, operator(Field(D, "plain", scalar), method)(x))


def test_gradients_of_an_estimate(x):
    net = mlp(D, 4, D)
    method = Hutchinson(2, seed=4).fixed(x)
    value = divergence(net, method)(x).sum()
    jacobian = torch.autograd.functional.jacobian(lambda y: net(y).sum(0), x, create_graph=True).permute(1, 0, 2)
    brute = torch.einsum("rni,nij,rnj->n", method.noise, jacobian, method.noise).sum() / 2
    for ours, expected in zip(
        torch.autograd.grad(value, net.parameters(), allow_unused=True, materialize_grads=True),
        torch.autograd.grad(brute, net.parameters(), allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        close(ours, expected)


class TestWithin:
    wide = staticmethod(lambda d: torch.randn(8, d, generator=torch.Generator().manual_seed(2), dtype=torch.float64))

    def test_meets_its_tolerance(self):
        d = 200
        easy = lambda x: x**3 + 0.1 * torch.sin(x.roll(1, -1))  # noqa: E731
        x, missed, runs = self.wide(d), 0, 40
        truth = divergence(easy)(x)
        for seed in range(runs):
            result = divergence(easy, Within(0.02, seed=seed), full_output=True)(x)
            assert result.plan.route == "hutchinson"
            assert result.plan.directions < d
            size = float(result.value.square().mean().sqrt())
            assert float(result.stderr.square().mean().sqrt()) <= 0.02 * size
            missed += int(float((result.value - truth).square().mean().sqrt()) > 2 * 0.02 * size)
        # The error exceeds twice its standard error over 8 rows with a chance far below 5 %.
        assert missed <= 6

    def test_goes_exact_where_that_is_cheaper(self):
        net = mlp(40, 60, 1)
        scalar = lambda x: net(x).squeeze(-1)  # noqa: E731
        result = laplacian(scalar, Within(0.001, seed=0), full_output=True)(self.wide(40))
        assert result.plan.exact
        assert result.stderr is None
        assert "random directions would be needed" in result.plan.reason
        close(result.value, laplacian(scalar)(self.wide(40)))
        few = laplacian(u, Within(0.1), full_output=True)(self.wide(D))
        assert few.plan.exact
        assert "no more than a pilot" in few.plan.reason

    def test_records_its_seed(self):
        easy = lambda x: x**3 + 0.1 * torch.sin(x.roll(1, -1))  # noqa: E731
        x = self.wide(100)
        first = divergence(easy, Within(0.05), full_output=True)(x)
        again = divergence(easy, Within(0.05, seed=first.plan.seed))(x)
        assert torch.equal(first.value, again)

    def test_zero(self):
        zero = divergence(lambda x: x.roll(1, -1), Within(0.1), full_output=True)(self.wide(100))
        assert not zero.value.any()

    def test_tolerance_is_on_the_whole_operator(self):
        # At a stationary density the terms cancel: an estimate that is good for one of them is not good enough.
        d = 60
        ou = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 2**0.5), dim=d)
        quartic = lambda x: torch.exp(-(x**2).sum(-1) / 2) * (1 + 1e-4 * (x[..., 0] * x[..., 1]))  # noqa: E731
        x = 0.1 * self.wide(d)
        result = fokker_planck_operator(quartic, ou, Within(0.05, seed=0), full_output=True)(0.0, x)
        truth = fokker_planck_operator(quartic, ou)(0.0, x)
        error = float((result.value - truth).square().mean().sqrt())
        assert error <= 0.2 * float(truth.square().mean().sqrt())

    def test_tolerance_is_on_the_whole_operator_with_a_potential(self):
        d = 60
        u = lambda x: torch.sin(x).sum(-1) + (x**2).sum(-1) / 2  # noqa: E731
        x, tensor = 0.1 * self.wide(d), torch.eye(d) + 0.1
        cancelling = lambda x: -0.999 * second_order_operator(u, tensor=tensor)(x) / u(x)  # noqa: E731
        truth = 0.001 * second_order_operator(u, tensor=tensor)(x)
        value = second_order_operator(u, tensor=tensor, potential=cancelling, method=Within(0.1, seed=0))(x)
        assert float((value - truth).square().mean().sqrt()) <= 0.5 * float(truth.square().mean().sqrt())


def test_empty_batches():
    for operator in (divergence(f, Hutchinson(3)), laplacian(u, Hutchinson(3)), divergence(f, Within(0.1, pilot=4))):
        for d in (D, 100):
            assert operator(torch.zeros(0, d)).shape == (0,)
