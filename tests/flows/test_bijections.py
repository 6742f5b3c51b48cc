"""Discrete layers against determinants of their Jacobians, their inverses, and the mass of the laws they make."""

import pytest
import torch
from torch.distributions import Independent, Normal

from pdekit.errors import InputError
from pdekit.flows import CNF, ContinuousFlow, MaskedFlow, NormalizingFlow, PlanarFlow, SylvesterFlow
from pdekit.nets import ConcatSquashMLP, HollowNet
from pdekit.operators import Dense, Hutchinson

CELL = 40 / 480
TIGHT = {"rtol": 1e-7, "atol": 1e-8}


def standard(dim):
    return Independent(Normal(torch.zeros(dim).double(), 1.0), 1)


def made(kind, dim, context_dim):
    if kind == "planar":
        return PlanarFlow(dim, 3, context_dim, seed=0)
    if kind == "sylvester":
        return SylvesterFlow(dim, 2, dim - 1 or 1, context_dim, seed=0)
    if kind in ("autoregressive", "coupling"):
        return MaskedFlow(dim, kind, 2, (8,), context_dim, seed=0)
    return ContinuousFlow(HollowNet(dim, time=True, context_dim=context_dim, seed=0), **TIGHT)


def stirred(flow, size=3.0):
    """Parameters far from the identity."""
    torch.manual_seed(5)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(torch.randn_like(p) * (size if isinstance(flow, PlanarFlow | SylvesterFlow) else 0.2))
    return flow.double()


KINDS = ("planar", "sylvester", "autoregressive", "coupling", "continuous")


@pytest.mark.parametrize("context_dim", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_volume_and_inverse(kind, context_dim):
    flow = stirred(made(kind, 3, context_dim))
    torch.manual_seed(1)
    x = 2 * torch.randn(4, 3, dtype=torch.float64)
    context = torch.randn(4, context_dim, dtype=torch.float64) if context_dim else None
    y, change = (part.detach() for part in flow(x, context))
    assert float((y - x).detach().abs().max()) > 0.1
    for k in range(len(x)):
        given = None if context is None else context[k : k + 1]
        jacobian = torch.autograd.functional.jacobian(lambda z, c=given: flow(z[None], c)[0][0], x[k])
        assert float(change[k]) == pytest.approx(float(torch.linalg.slogdet(jacobian)[1]), abs=1e-6)
        assert float(torch.linalg.det(jacobian)) > 0
    torch.testing.assert_close(flow.inverse(y, context), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_inverse(kind):
    flow = stirred(made(kind, 2, 0))
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    x = flow.inverse(y)
    (slope,) = torch.autograd.grad(x[:, 0].sum(), y, retain_graph=True)
    forth = torch.stack([torch.autograd.functional.jacobian(lambda z: flow(z[None])[0][0], row) for row in x.detach()])
    torch.testing.assert_close(slope, torch.linalg.inv(forth)[:, 0], rtol=1e-5, atol=1e-6)
    # By a parameter: differences.
    p = next(iter(flow.parameters()))
    (found,) = torch.autograd.grad(x.square().sum(), p)
    direction = torch.randn_like(p)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            p.add_(sign * 1e-5 * direction)
            values.append(float(flow.inverse(y).square().sum()))
            p.sub_(sign * 1e-5 * direction)
    assert float((found * direction).sum().detach()) == pytest.approx(
        (values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("kind", ["planar", "sylvester", "autoregressive", "coupling"])
def test_the_law_has_mass_one_and_samples_follow_it(kind):
    flow = NormalizingFlow(stirred(made(kind, 2, 0), 1.0), standard(2))
    node = torch.linspace(-20, 20, 481, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(node, node)).exp().reshape(481, 481)
    assert float(density.sum()) * CELL**2 == pytest.approx(1, abs=2e-3)
    x = flow.sample((20_000,))
    mean = (density.sum(1) * node).sum() * CELL**2
    assert float((x[:, 0].mean() - mean).abs()) < 5 * float(x[:, 0].std()) / 20_000**0.5 + 2e-3
    assert flow.rsample((3,)).requires_grad


def test_a_continuous_layer_has_the_density_of_the_continuous_flow():
    field = HollowNet(2, time=True, seed=0).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    y, change = ContinuousFlow(field, **TIGHT)(x)
    law = CNF(field, standard(2), **TIGHT)
    torch.testing.assert_close(law.log_prob(y), standard(2).log_prob(x) - change, rtol=1e-6, atol=1e-6)
    drawn, log_p = law.rsample_and_log_prob((6,))
    torch.testing.assert_close(law.log_prob(drawn), log_p, rtol=1e-6, atol=1e-6)
    chain = CNF(field, law, **TIGHT)
    drawn, log_p = chain.rsample_and_log_prob((2, 3))
    torch.testing.assert_close(chain.log_prob(drawn), log_p, rtol=1e-6, atol=1e-6)


def test_directions_are_fixed_by_a_number():
    layer = ContinuousFlow(ConcatSquashMLP(3, (8,), seed=0).double(), Hutchinson(), **TIGHT)
    x = torch.randn(5, 3, dtype=torch.float64)
    one, same, other = (layer.with_directions(k)(x)[1] for k in (1, 1, 2))
    torch.testing.assert_close(one, same)
    exact = layer.changed(trace=Dense())(x)[1]
    assert float((one - other).detach().abs().max()) > 1e-4
    with torch.no_grad():
        many = torch.stack([layer.with_directions(k)(x)[1] for k in range(24)])
    assert float(((many.mean(0) - exact.detach()) / (many.std(0) / 24**0.5)).abs().max()) < 5
    fixed = ContinuousFlow(HollowNet(2, time=True, seed=0))
    assert fixed.with_directions(3) is fixed


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="rank"):
        SylvesterFlow(3, rank=4)
    with pytest.raises(InputError, match="kind"):
        MaskedFlow(3, "spline")
    with pytest.raises(InputError, match="no context"):
        PlanarFlow(3)(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(InputError, match="a context"):
        PlanarFlow(3, context_dim=2)(torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"\(\*batch, 3\)"):
        PlanarFlow(3)(torch.zeros(2, 4))
    with pytest.raises(InputError, match="network with `dim`"):
        ContinuousFlow(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="bijection"):
        NormalizingFlow(torch.nn.Linear(2, 2), standard(2))
    with pytest.raises(InputError, match="base"):
        NormalizingFlow(PlanarFlow(3), standard(2))


@pytest.mark.parametrize("along", [-8.0, -14.0, -30.0])
def test_a_planar_layer_that_is_nearly_singular_keeps_its_digits(along):
    """w . u far below -1 before the correction: 1 + w . u is small, and must not come out of a difference."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        flow = PlanarFlow(2, 1, seed=0).to(dtype)
        with torch.no_grad():
            flow.made.constant.copy_(torch.tensor([along / 2, 0.0, 2.0, 0.0, 0.0]))
        y, change = flow(torch.zeros(1, 2, dtype=dtype))
        found[dtype] = float(change.detach())
        torch.testing.assert_close(flow.inverse(y), torch.zeros(1, 2, dtype=dtype), atol=1e-3, rtol=0)
    assert found[torch.float32] == pytest.approx(found[torch.float64], rel=1e-4)


def test_sylvester_diagonals_never_reach_one():
    flow = SylvesterFlow(2, 1, 2, seed=0)
    with torch.no_grad():
        flow.made.constant.copy_(1000 * flow.made.constant)
    assert bool(torch.isfinite(flow(torch.randn(20, 2))[1]).all())
