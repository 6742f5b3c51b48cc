"""The regressions of a member: stationary points of the penalised likelihood, and the truth recovered."""

import math

import pytest
import torch

from pdekit.fitting.neural.heads import View, find_drift, find_heads
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.transitions import Rows

_ROOT = torch.tensor([[0.5, 0.0], [0.3, 0.4]], dtype=torch.float64)


def _states(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _gradient(member, source, found):
    rows = Rows.joined([source.piece(k) for k in range(len(source.counts))])
    value = -member.log_density(rows).sum()
    for head, posterior in ((member.drift_head, found.drift), (member.noise_head, found.noise)):
        value = value + 0.5 * (posterior.precision * head.square()).sum()
    return torch.autograd.grad(value, [member.drift_head, member.noise_head])


@pytest.mark.parametrize("network", ["mlp", "hollow"])
@pytest.mark.parametrize("dim", [1, 3])
def test_heads_are_a_stationary_point_of_the_penalised_likelihood(euler_pairs, a_member, network, dim):
    pairs = euler_pairs(
        lambda x: -x + torch.sin(2 * x), lambda x: torch.diag_embed(0.5 + 0.2 * x.cos()), _states(2000, dim)
    )
    member, _, source = a_member(pairs, network=network, hidden=[12])
    found = find_heads(member, View(source, Processes(), "cpu"), sweeps=6)
    for gradient, posterior in zip(_gradient(member, source, found), (found.drift, found.noise), strict=True):
        # The decrement that a Newton step would still gain in log-likelihood.
        left = torch.einsum("ip,ipq,iq->i", gradient, posterior.covariance, gradient)
        assert float(left.max()) < 0.05


def test_a_linear_drift_with_correlated_noise_is_recovered(euler_pairs, a_member):
    matrix = torch.tensor([[-1.0, -2.0], [2.0, -1.0]], dtype=torch.float64)
    x = _states(40_000, 2)
    pairs = euler_pairs(lambda v: v @ matrix.T, lambda v: _ROOT.expand(len(v), 2, 2), x)
    member, seen, source = a_member(pairs, noise="cholesky")
    found = find_heads(member, View(source, Processes(), "cpu"))
    with torch.no_grad():
        f, g = member.fields(0.0, x[:500])
    assert float((g - _ROOT).abs().max()) < 0.02
    # 400 units of time tell a slope to about 0.5 / 20.
    assert float((f - x[:500] @ matrix.T).square().mean().sqrt()) < 0.1
    # Two slopes and a constant for each state; of 32 units little more than noise comes in.
    assert float(found.drift.effective.sum()) < 12.0
    assert seen.n == 40_000


def test_noise_that_depends_on_the_state_is_recovered(euler_pairs, a_member):
    x = _states(20_000, 1)
    pairs = euler_pairs(torch.zeros_like, lambda v: (0.3 + 0.1 * v.square())[..., None], x)
    member, _, source = a_member(pairs)
    find_heads(member, View(source, Processes(), "cpu"))
    at = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    with torch.no_grad():
        g = member.fields(0.0, at)[1][:, 0, 0]
    torch.testing.assert_close(g, 0.3 + 0.1 * at[:, 0].square(), rtol=0.06, atol=0.0)


def test_constant_noise_is_the_root_of_the_mean_square(euler_pairs, a_member):
    pairs = euler_pairs(torch.zeros_like, lambda v: torch.diag_embed(torch.full_like(v, 0.7)), _states(4000, 2))
    member, _, source = a_member(pairs, noise="constant")
    found = find_heads(member, View(source, Processes(), "cpu"), sweeps=3)
    with torch.no_grad():
        f, g = member.fields(0.0, pairs.x0)
    square = (pairs.x1 - pairs.x0 - f * pairs.dt[:, None]).square().mean(0) / 0.01
    torch.testing.assert_close(g[0].diagonal().square(), square, rtol=1e-3, atol=0.0)
    assert found.noise.covariance[0, 0, 0] == pytest.approx(0.5 / 4000)


def test_processes_that_share_the_data_sum_to_all_of_it(euler_pairs, a_member):
    pairs = euler_pairs(lambda x: -x, lambda x: torch.diag_embed(torch.ones_like(x)), _states(900, 2))
    member, _, source = a_member(pairs)
    sums = []

    class Part(Processes):
        def sum(self, values):
            sums.append([v.clone() for v in values])

    for rank in range(2):
        find_drift(member, View(source, Part(rank, 2), "cpu"), straight=True)
        member.drift_head.data.zero_()
    find_drift(member, View(source, Part(0, 1), "cpu"), straight=True)
    for a, b, whole in zip(*sums, strict=True):
        torch.testing.assert_close(a + b, whole, rtol=1e-12, atol=1e-12)


def test_every_nth_transition(euler_pairs, a_member):
    pairs = euler_pairs(lambda x: -x, lambda x: torch.diag_embed(torch.ones_like(x)), _states(1000, 1))
    member, _, source = a_member(pairs)
    seen = sum(len(rows) for rows in View(source, Processes(), "cpu", thin=4).portions(member))
    # Each of the eight pieces of 125 begins anew.
    assert seen == 8 * math.ceil(125 / 4)
