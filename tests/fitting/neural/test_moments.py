"""Moments after long steps against closed forms and simulation, and the turned ends."""

import math

import pytest
import torch

from pdekit.fitting.neural.heads import View, find_heads
from pdekit.fitting.neural.moments import biases, euler_ends, log_density, predict
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.step_check import check_step, settle


class _Stated:
    """A stand-in for a member: coefficients that are known."""

    columns = 1

    def __init__(self, f, g, dim):
        self.dim, self._f, self._g = dim, f, g

    def fields(self, t, x):
        return self._f(x), self._g(x)

    def anywhere(self, t, x):
        g = self._g(x)
        size = g.diagonal(dim1=-2, dim2=-1)
        phi = torch.eye(self.dim).double() - torch.diag_embed(size) @ torch.linalg.inv(g)
        return self._f(x), size.log(), phi


def _rows(x0, dt):
    from pdekit.fitting.neural.transitions import Rows

    n = len(x0)
    return Rows(torch.zeros(n, 1), torch.full((n, 1), dt).double(), x0, x0 + 0.1, torch.arange(n))


def test_linear_equations_have_their_exact_moments():
    matrix = torch.tensor([[-1.0, 0.5], [-0.5, -2.0]], dtype=torch.float64)
    root = torch.tensor([[0.5, 0.0], [0.2, 0.3]], dtype=torch.float64)
    member = _Stated(lambda x: x @ matrix.T, lambda x: root.expand(len(x), 2, 2), 2)
    x0 = torch.tensor([[1.0, -1.0], [0.3, 2.0]], dtype=torch.float64)
    law = predict(member, _rows(x0, 0.4), 32)
    block = torch.zeros(4, 4, dtype=torch.float64)
    block[:2, :2], block[:2, 2:], block[2:, 2:] = -matrix, root @ root.T, matrix.T
    flow = torch.linalg.matrix_exp(0.4 * block)  # Van Loan
    # The rule is of fourth order: (0.4 / 32)^4 times a fifth derivative of order one.
    torch.testing.assert_close(law.mean, x0 @ flow[2:, 2:], rtol=1e-7, atol=1e-7)
    covariance = flow[2:, 2:].T @ flow[:2, 2:]
    torch.testing.assert_close(law.root @ law.root.mT, covariance.expand(2, 2, 2), rtol=1e-7, atol=1e-7)


def test_a_cubic_drift_against_simulation():
    member = _Stated(lambda x: x - x**3, lambda x: torch.full_like(x, 0.5)[..., None], 1)
    law = predict(member, _rows(torch.tensor([[0.4]], dtype=torch.float64), 0.3), 16)
    generator = torch.Generator().manual_seed(0)
    x = torch.full((200_000,), 0.4, dtype=torch.float64)
    for _ in range(60):
        x = x + (x - x**3) * 0.005 + 0.5 * 0.005**0.5 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    # Closing the hierarchy of moments at the second leaves a per cent at this step; Monte Carlo much less.
    assert float(law.mean) == pytest.approx(float(x.mean()), abs=3e-3)
    assert float(law.root) == pytest.approx(float(x.std()), rel=0.02)


def test_turned_ends_keep_the_standardised_surprise(euler_pairs, a_member):
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = euler_pairs(lambda v: -v, lambda v: torch.diag_embed(0.5 + 0.1 * v.square()), x, dt=0.2)
    member, _, source = a_member(pairs, noise="cholesky")
    find_heads(member, View(source, Processes(), "cpu"))
    rows = source.piece(0)
    law, turned = predict(member, rows, 4), euler_ends(member, rows, 4)
    white = torch.linalg.solve_triangular(law.root, (rows.x1 - law.mean)[..., None], upper=False)[..., 0]
    step = turned.x1 - rows.x0 - law.drift * rows.dt
    back = torch.linalg.solve_triangular(law.noise, step[..., None], upper=False)[..., 0] / rows.dt.sqrt()
    torch.testing.assert_close(back, white, rtol=1e-9, atol=1e-9)
    square = (white**2).sum(-1)
    expected = -0.5 * square - law.root.diagonal(dim1=-2, dim2=-1).log().sum(-1) - math.log(2 * math.pi)
    torch.testing.assert_close(log_density(member, rows, 4), expected, rtol=1e-12, atol=1e-12)


def test_the_bias_of_euler_steps_is_half_the_slope_times_the_step(euler_pairs, a_member):
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = euler_pairs(lambda v: -2.0 * v, lambda v: torch.full_like(v, 0.5)[..., None], x)
    member, _, source = a_member(pairs, noise="constant")
    find_heads(member, View(source, Processes(), "cpu"))
    rows = source.piece(0)
    drift, noise = biases(member, rows, 2)
    with torch.no_grad():
        slope = (member.fields(0.0, x + 1e-4)[0] - member.fields(0.0, x - 1e-4)[0])[: len(rows)] / 2e-4
        f = member.fields(0.0, rows.x0)[0]
    torch.testing.assert_close(drift, 0.5 * 0.01 * slope * f, rtol=0.1, atol=1e-3)
    torch.testing.assert_close(noise, 0.5 * 0.01 * slope, rtol=0.1, atol=1e-4)


def test_settling_removes_what_long_steps_do_to_a_linear_drift(ornstein_uhlenbeck_path, a_member):
    pairs = ornstein_uhlenbeck_path(n=20_000, dt=0.5).pairs()
    member, seen, source = a_member(pairs, noise="constant", hidden=[4])
    view = View(source, Processes(), "cpu")
    found = find_heads(member, view)
    euler = _slope(member)
    check = check_step(member, found, seen.sample)
    assert check.size > 5
    assert check.substeps >= 2
    settle(member, view, seen.sample, check.substeps)
    # Exact regression: x1 on x0 has the slope e^{-theta dt}.
    x0, x1 = pairs.x0[:, 0], pairs.x1[:, 0]
    exact = math.log(float(((x0 - x0.mean()) * (x1 - x1.mean())).sum() / (x0 - x0.mean()).square().sum())) / 0.5
    assert euler > -0.85
    assert _slope(member) == pytest.approx(exact, abs=0.02)
    with torch.no_grad():
        assert float(member.fields(0.0, pairs.x0[:1])[1]) == pytest.approx(0.5, rel=0.02)


def _slope(member):
    x = torch.tensor([[0.2], [0.4]], dtype=torch.float64)
    with torch.no_grad():
        f = member.fields(0.0, x)[0]
    return float(f[1] - f[0]) / 0.2
