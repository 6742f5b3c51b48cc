"""What a flow tells besides densities: contexts, penalties, costs, end times that are trained, chains."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from pdekit.errors import InputError
from pdekit.flows import CNF
from pdekit.nets import MLP, ConcatSquashMLP, HollowNet
from pdekit.ode import RK4, Backsolve, Fixed
from pdekit.operators import Dense, Exact, Hutchinson

A = torch.tensor([[-1.0, 2.0], [0.5, 0.3]], dtype=torch.float64)
X = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def standard(dim=2):
    return MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())


def linear(t, x):
    return x @ A.T


def moved(t, x, *, context):
    return context - x


def conditional(context):
    """x' = c - x from N(0, 1): N(c (1 - 1/e), 1/e^2)."""
    return Independent(Normal(context * (1 - math.exp(-1)), math.exp(-1.0)), 1)


@pytest.mark.parametrize("trace", [Exact(), Dense(), Hutchinson(2, seed=0)])
def test_each_row_has_the_law_of_its_context(trace):
    context = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    flow = CNF(moved, standard(), trace, **TIGHT).given(context)
    assert (flow.batch_shape, flow.event_shape) == ((3,), (2,))
    # A multiple of the identity as Jacobian: signs make no error.
    torch.testing.assert_close(flow.log_prob(X[:3]), conditional(context).log_prob(X[:3]), rtol=1e-7, atol=1e-7)
    many = X[:, None].expand(6, 3, 2)
    torch.testing.assert_close(flow.log_prob(many), conditional(context).log_prob(many), rtol=1e-7, atol=1e-7)
    assert flow.sample((5,)).shape == (5, 3, 2)
    assert flow.rsample().shape == (3, 2)
    far = flow.sample((4000,)).mean(0) - conditional(context).mean
    assert float(far.abs().max()) < 5 * math.exp(-1) / 4000**0.5


def test_networks_take_contexts_and_gradients_reach_them():
    field = HollowNet(2, time=True, context_dim=3, seed=0).double()
    context = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(CNF(field, standard()).given(context).log_prob(X).sum(), context)
    assert float(slope.abs().min()) > 0
    with pytest.raises(InputError, match="contexts"):
        CNF(field, standard()).given(context).log_prob(X[:4])


def test_penalties_are_the_integrals_that_they_say():
    flow = CNF(linear, standard(), **TIGHT)
    found = flow.passage(X, kinetic=True, jacobian=Hutchinson(2000, seed=0))
    # |A x(t)|^2 along x(t) = e^(A (t - 1)) x, by Simpson's rule on 2,001 points.
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    speed = (X @ torch.linalg.matrix_exp((t[:, None, None] - 1) * A).mT @ A.T).square().sum(-1)
    weight = torch.full((2001,), 2.0).double()
    weight[1::2], weight[0], weight[-1] = 4.0, 1.0, 1.0
    torch.testing.assert_close(found.kinetic, weight @ speed / 6000, rtol=1e-7, atol=1e-9)
    size = float(A.square().sum())
    spread = torch.linalg.matrix_norm(A @ A.T) * 2**0.5 / 2000**0.5  # a little more than that of signs
    assert float((found.jacobian - size).abs().max()) < 5 * float(spread)
    torch.testing.assert_close(flow.base.log_prob(found.start) + found.log_volume, flow.log_prob(X))


def test_penalties_hardly_steer_the_steps_and_train():
    field = MLP(2, (16,), time=True, seed=0).double()
    flow = CNF(field, standard())
    plain, told = flow.passage(X), flow.passage(X, kinetic=True, jacobian=Hutchinson(seed=1))
    # The norm of the error is a mean over what is integrated, so that quiet entries make steps a little longer.
    assert abs(plain.evaluations / told.evaluations - 1) < 0.15
    torch.testing.assert_close(plain.log_volume, told.log_volume, rtol=1e-5, atol=1e-5)
    slope = torch.autograd.grad(told.kinetic.sum() + told.jacobian.sum(), field.layers[0].weight)[0]
    weight, step, values = field.layers[0].weight, 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[3, 1] += sign * step
            again = flow.passage(X, kinetic=True, jacobian=Hutchinson(seed=1))
            values.append(float(again.kinetic.sum() + again.jacobian.sum()))
            weight[3, 1] -= sign * step
    # Penalties are integrated with the steps of the states alone: right to the tolerance, 1e-6, not to rounding.
    assert float(slope[3, 1]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-4)


def test_densities_do_not_depend_on_the_batch():
    flow = CNF(MLP(2, (16,), time=True, seed=0).double(), standard(), rtol=1e-3)
    together = flow.log_prob(3 * X)
    alone = torch.stack([flow.log_prob(3 * x) for x in X])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_trained_with_one_trace_and_evaluated_with_another():
    flow = CNF(HollowNet(3, time=True, seed=0).double(), standard(3), Hutchinson(1, seed=3))
    exact = flow.changed(trace=Exact(), **TIGHT)
    dense = exact.changed(trace=Dense())
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(exact.log_prob(x), dense.log_prob(x), rtol=1e-8, atol=1e-8)
    assert float((flow.log_prob(x) - dense.log_prob(x)).detach().abs().max()) > 1e-4
    assert exact.field is flow.field
    with pytest.raises(InputError, match="no option 'tolerance'"):
        flow.changed(tolerance=1)


@pytest.mark.parametrize("gradient", [None, Backsolve()])
def test_the_adjoint_gives_the_same_gradients(gradient):
    field = MLP(2, (8,), time=True, seed=0).double()
    options = {} if gradient is None else {"gradient": gradient}
    flow = CNF(field, standard(), **TIGHT, **options)
    found = torch.autograd.grad(-flow.log_prob(X).mean(), list(field.parameters()))
    plain = torch.autograd.grad(-CNF(field, standard(), **TIGHT).log_prob(X).mean(), list(field.parameters()))
    for a, b in zip(found, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_an_end_time_can_be_trained():
    """x' = x from N(0, 1) to N(0, e^(2 T)): the likeliest T for a variance of 9 is log 3."""
    end = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    flow = CNF(lambda t, x: x, standard(1), times=(0.0, end), **TIGHT)
    x = 3.0 * torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(-flow.log_prob(x).mean(), end)
    # -log p = T + x^2 e^(-2 T) / 2
    assert float(slope) == pytest.approx(1 - 9 * math.exp(-1.0), rel=1e-6)
    optimiser = torch.optim.LBFGS([end], max_iter=30)

    def loss():
        optimiser.zero_grad()
        value = -flow.log_prob(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert float(end.detach()) == pytest.approx(math.log(3), abs=1e-4)


def test_flows_are_chained_by_giving_one_as_the_base_of_the_next():
    first, second = torch.tensor([[0.3, 0.0], [0.4, -0.2]]).double(), A
    chain = CNF(lambda t, x: x @ second.T, CNF(lambda t, x: x @ first.T, standard(), **TIGHT), **TIGHT)
    phi = torch.linalg.matrix_exp(second) @ torch.linalg.matrix_exp(first)
    truth = MultivariateNormal(torch.zeros(2).double(), phi @ phi.T)
    torch.testing.assert_close(chain.log_prob(X), truth.log_prob(X), rtol=1e-7, atol=1e-7)
    assert chain.rsample((3,)).shape == (3, 2)


def test_costs_come_with_the_error_of_going_back_and_forth():
    field = MLP(2, (16,), time=True, seed=0).double()
    loose = CNF(field, standard(), rtol=1e-2, atol=1e-2).passage(X)
    tight = CNF(field, standard(), rtol=1e-8, atol=1e-10).passage(X)
    assert tight.evaluations > loose.evaluations > 0
    assert tight.reconstruction_error < 1e-6 < loose.reconstruction_error
    assert "evaluations each" in repr(tight)


def test_a_module_is_checked_less_and_less_often():
    """At its first, second, fourth, ... solve: a training solves it thousands of times."""
    field = MLP(2, (4,), time=True, seed=0).double()
    calls = []
    field.register_forward_hook(lambda *_: calls.append(1))
    law = CNF(field, standard(), Dense(), method=RK4(), control=Fixed(0.5))
    counts = []
    for _ in range(8):
        calls.clear()
        law.given(None).log_prob(X)
        counts.append(len(calls))
    few, many = min(counts), max(counts)
    assert [c > few for c in counts] == [k in (1, 2, 4, 8) for k in range(1, 9)]
    assert many > 1.3 * few


@pytest.mark.parametrize("kind", [MLP, ConcatSquashMLP])
def test_a_bottleneck_has_fewer_directions_and_the_same_mean(kind):
    """f = g(W x) with three rows in W: directions of three entries, fixed for a solve, right on average."""
    field = kind(6, (3, 8), time=True, seed=0).double()
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = CNF(field, standard(6), rtol=1e-6, atol=1e-6)
    trace = Hutchinson(bottleneck=True, distribution="gaussian", seed=1)
    with torch.no_grad():
        exact = law.log_prob(x)
        one, same = (law.changed(trace=trace).log_prob(x) for _ in range(2))
        draws = torch.stack([law.changed(trace=replace(trace, seed=k)).log_prob(x) for k in range(40)])
        many = law.changed(trace=replace(trace, samples=3000)).log_prob(x)
    assert torch.equal(one, same)
    assert float((one - exact).abs().max()) > 1e-3
    assert float(((draws.mean(0) - exact) / (draws.std(0) / 40**0.5)).abs().max()) < 5
    assert float(((many - exact) / (draws.std(0) / 3000**0.5)).abs().max()) < 5
    with pytest.raises(InputError, match="no linear layer"):
        law.changed(field=lambda t, x: torch.tanh(x) @ torch.ones(6, 6).double(), trace=trace).log_prob(x)


@pytest.mark.parametrize("times", [(0.0, 1.0), (1.0, 0.0), (0.5, -1.5)])
def test_costs_are_positive_whichever_way_time_runs(times):
    law = CNF(lambda t, x: 0 * x + 2, standard(), times=times)
    passage = law.passage(X, kinetic=True, jacobian=Hutchinson(seed=0))
    torch.testing.assert_close(passage.kinetic, torch.full((6,), 8.0 * abs(times[1] - times[0])).double())
    assert bool((passage.jacobian >= 0).all())
