"""Continuous normalising flows against matrix exponentials, quadrature and finite differences."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from pdekit.errors import InputError, NumericalError
from pdekit.flows import CNF
from pdekit.nets import MLP, HollowNet
from pdekit.operators import Compressed, Dense, Exact, Hutchinson

A = torch.tensor([[-1.0, 2.0], [0.5, 0.3]]).double()
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


def standard(dim=2):
    return MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())


def linear(t, x):
    return (1 + t) * (x @ A.T)  # Phi(0, 1) = exp(1.5 A)


def formula(t, x):
    return linear(t, x), ((1 + t) * torch.trace(A) + 0 * x[..., :1])[..., 0]


def normal():
    """What the linear field makes of N(0, 1)."""
    phi = torch.linalg.matrix_exp(1.5 * A)
    return MultivariateNormal(torch.zeros(2).double(), phi @ phi.T)


X = torch.randn(12, 2, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("trace", [Exact(), Dense(), Dense(chunk_size=1), Hutchinson(4, seed=0), formula])
def test_a_linear_field_makes_a_normal_law(trace):
    found = CNF(linear, standard(), trace, **TIGHT).log_prob(X)
    # Signs v give v^T A v = tr A + (a_12 + a_21) v_1 v_2: right on average over directions alone.
    scatter = 1.5 * 2.5 + 1e-7 if isinstance(trace, Hutchinson) else 1e-7
    assert float((found - normal().log_prob(X)).abs().max()) <= scatter
    assert found.dtype == torch.float64


def test_hutchinson_is_right_on_average():
    """A diagonal field needs no average at all with signs; a full one comes near with many."""
    diagonal = lambda t, x: -x * torch.tensor([1.0, 0.5]).double()  # noqa: E731
    exact = MultivariateNormal(torch.zeros(2).double(), torch.diag(torch.tensor([-2.0, -1.0]).double().exp()))
    found = CNF(diagonal, standard(), Hutchinson(1, seed=3), **TIGHT).log_prob(X)
    torch.testing.assert_close(found, exact.log_prob(X), rtol=1e-7, atol=1e-7)
    many = CNF(linear, standard(), Hutchinson(1000, seed=0), **TIGHT).log_prob(X)
    assert float((many - normal().log_prob(X)).mean().abs()) < 4 * 1.5 * 2.5 / (1000 * len(X)) ** 0.5


def test_the_time_may_run_backwards():
    forth = CNF(linear, standard(), **TIGHT)
    back = CNF(linear, normal(), times=(1.0, 0.0), **TIGHT)
    torch.testing.assert_close(back.log_prob(X), standard().log_prob(X), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(back.carried(forth.carried(X)), X, rtol=1e-7, atol=1e-7)


def test_samples_have_the_law():
    flow = CNF(linear, standard())
    x = flow.sample((20_000,))
    covariance = normal().covariance_matrix
    assert float((torch.cov(x.T) / covariance - 1).abs().max()) < 5 * (2 / 20_000) ** 0.5 * 2
    torch.testing.assert_close(flow.carried(X), X @ torch.linalg.matrix_exp(1.5 * A).T, rtol=1e-5, atol=1e-5)


def net(dim=2, kind=MLP):
    found = HollowNet(dim, time=True, seed=0) if kind is HollowNet else MLP(dim, (16,), time=True, seed=0)
    return found.double()


@pytest.mark.parametrize("kind", [MLP, HollowNet])
def test_routes_of_the_divergence_agree(kind):
    field = net(3, kind)
    x = torch.randn(5, 3).double()
    found = [CNF(field, standard(3), trace, **TIGHT).log_prob(x) for trace in (Exact(), Dense())]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-8)
    assert float((found[0] - standard(3).log_prob(x)).detach().abs().max()) > 1e-3


def test_the_compressed_route():
    field = MLP(6, (3,), time=True, seed=0).double()
    x = torch.randn(4, 6).double()
    found = [CNF(field, standard(6), trace, **TIGHT).log_prob(x) for trace in (Compressed(), Dense())]
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_mass_is_one_whatever_the_field(dim):
    field = net(dim)
    node = torch.linspace(-8, 8, 108 if dim == 2 else 961, dtype=torch.float64)
    x = torch.cartesian_prod(*[node] * dim).reshape(-1, dim)
    density = CNF(field, standard(dim), rtol=1e-7, atol=1e-9).log_prob(x).exp()
    assert float(density.detach().sum() * (node[1] - node[0]) ** dim) == pytest.approx(1, abs=1e-6)
    off = density.detach() - standard(dim).log_prob(x).exp()
    assert float(off.abs().max()) > 0.01  # the field does something


def test_gradients_reach_the_parameters_and_the_state():
    field = net()
    flow = CNF(field, standard(), **TIGHT)
    x = X[:4].clone().requires_grad_()
    weight = field.layers[0].weight
    total = flow.log_prob(x).sum()
    slope, by_state = torch.autograd.grad(total, (weight, x))
    step = 1e-5
    for i, j in ((0, 0), (7, 1)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[i, j] += sign * step
                values.append(float(flow.log_prob(X[:4]).sum()))
                weight[i, j] -= sign * step
        assert float(slope[i, j]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-7)
    moved = X[:4].clone()
    moved[1, 0] += step
    other = X[:4].clone()
    other[1, 0] -= step
    difference = float((flow.log_prob(moved).sum() - flow.log_prob(other).sum()).detach()) / (2 * step)
    assert float(by_state[1, 0]) == pytest.approx(difference, rel=1e-4)


def test_gradients_pass_through_samples_where_the_base_allows_it():
    field = net()
    flow = CNF(field, standard())
    (slope,) = torch.autograd.grad(flow.rsample((50,)).square().mean(), field.layers[0].weight)
    assert float(slope.abs().max()) > 0
    assert not flow.sample((3,)).requires_grad
    parts = MixtureSameFamily(Categorical(torch.ones(2).double()), Independent(Normal(X[:2], 1.0), 1))
    assert not parts.has_rsample
    drawn = CNF(field, parts).rsample((5,))
    assert drawn.shape == (5, 2)
    assert drawn.requires_grad


def test_training_finds_a_known_law():
    """Maximum likelihood of v = a x for N(0, e^2): a = 1."""
    a = torch.zeros((), dtype=torch.float64, requires_grad=True)
    flow = CNF(lambda t, x: a * x, standard(1), lambda t, x: (a * x, a + 0 * x[..., 0]))
    x = math.e * torch.tensor([[-1.0], [1.0]]).double()  # of mean zero and variance e^2
    optimizer = torch.optim.LBFGS([a], max_iter=20)

    def loss():
        optimizer.zero_grad()
        value = -flow.log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert float(a.detach()) == pytest.approx(1, abs=1e-4)


def test_shapes():
    flow = CNF(linear, standard())
    assert flow.event_shape == (2,)
    assert flow.batch_shape == ()
    assert flow.sample().shape == (2,)
    assert flow.sample((3, 4)).shape == flow.rsample((3, 4)).shape == (3, 4, 2)
    assert flow.sample((0,)).shape == (0, 2)
    assert flow.log_prob(X[0]).shape == ()
    assert flow.log_prob(X.reshape(3, 4, 2)).shape == (3, 4)
    assert flow.log_prob(torch.zeros(0, 2).double()).shape == (0,)
    assert flow.log_prob(torch.zeros(3, 0, 2).double()).shape == (3, 0)
    torch.testing.assert_close(flow.log_prob(X.reshape(3, 4, 2)).reshape(-1), flow.log_prob(X))
    assert "times=(0.0, 1.0)" in repr(flow)


def test_single_precision_stays_single():
    base = MultivariateNormal(torch.zeros(2), torch.eye(2))
    flow = CNF(lambda t, x: -x, base)
    assert flow.log_prob(torch.zeros(3, 2)).dtype == torch.float32
    assert flow.sample((2,)).dtype == torch.float32
    assert float(flow.log_prob(torch.zeros(2))) == pytest.approx(2 - np.log(2 * np.pi), abs=1e-4)


def test_bad_input_is_refused():
    flow = CNF(linear, standard())
    for shape in ((), (3,), (5, 1)):
        with pytest.raises(InputError, match=r"states \(\*batch, 2\)"):
            flow.log_prob(torch.zeros(shape).double())
    for base in (
        Normal(0.0, 1.0),
        Normal(torch.zeros(2), 1.0),
        None,
        MultivariateNormal(torch.zeros(3, 2), torch.eye(2)),
    ):
        with pytest.raises(InputError, match="one law over vectors"):
            CNF(linear, base)
    with pytest.raises(InputError, match="two different numbers"):
        CNF(linear, standard(), times=(1.0, 1.0))


def test_a_way_back_that_explodes_is_named():
    """dx/dt = -x^3: backwards x grows beyond every bound within 1 / (2 x^2)."""
    with pytest.raises(NumericalError):
        CNF(lambda t, x: -(x**3), standard()).log_prob(3 + X.abs())


def test_what_makes_no_sense_is_refused():
    base = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    flow = CNF(lambda t, x: -x, base)
    for call in (lambda: flow.sample(5), lambda: flow.sample((-1,)), lambda: flow.log_prob([[0.0, 0.0]])):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="times"):
        CNF(lambda t, x: -x, base, times=(0.0, float("nan")))
