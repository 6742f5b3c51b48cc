"""Normal laws with integrated moments against exact ones, at steps where one Euler step is far off."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.cubature import CubatureTransition, normal_moments
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.learned import LearnedSDE

INF = float("inf")
NONE = torch.zeros(0, dtype=torch.float64)


class _Stated(LearnedSDE):
    kind: ClassVar[str] = "stated"

    def __init__(self, f, g, dim, autonomous=True):
        names = tuple("xyz"[:dim])
        super().__init__(names, ((-INF, INF),) * dim, ((-3.0, 3.0),) * dim, diagonal=False, autonomous=autonomous)
        self._f, self._g = f, g

    def drift(self, t, x):
        return self._f(t, x)

    def noise(self, t, x):
        return self._g(t, x)

    def to_record(self):
        return self._common_record(), {}

    @classmethod
    def from_record(cls, record, arrays):
        raise NotImplementedError


def _pairs(dim, dt, n=200, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, dim))
    return pk.Trajectories.from_arrays(np.arange(n) * dt, x, names=list("xyz"[:dim])).pairs()


ROOT = torch.tensor([[0.8, 0.0], [0.2, 0.6]], dtype=torch.float64)


@pytest.mark.parametrize("dt", [0.01, 0.1, 0.7])
def test_linear_equations_have_their_exact_density(dt):
    # Spirals in with rate 1: a record whose steps are of the size that the law expects.
    x, rng = np.zeros((400, 2)), np.random.default_rng(0)
    for k in range(1, 400):
        x[k] = math.exp(-dt) * x[k - 1] + 0.7 * math.sqrt(-math.expm1(-2 * dt) / 2) * rng.standard_normal(2)
    pairs = pk.Trajectories.from_arrays(np.arange(400) * dt, x, names=["x", "y"]).pairs()
    model = pk.SymbolicSDE(["x", "y"], ["-x + 2*y", "-2*x - y"], [["0.8", "0"], ["0.2", "0.6"]])
    matrix = torch.tensor([[-1.0, 2.0], [-2.0, -1.0]], dtype=torch.float64)
    learned = _Stated(lambda t, x: x @ matrix.T, lambda t, x: ROOT.expand(*x.shape, 2), 2)
    found, truth = CubatureTransition(learned, pairs), LocalLinearTransition(model, pairs)
    assert truth.exact
    miss = found.log_density(NONE) - truth.log_density(NONE)
    # What the substeps were chosen for, up to the states that were not looked at.
    assert float(miss.square().mean().sqrt()) < 5e-4
    euler = transition_density(learned, pairs, NONE, "euler").log_density(NONE) - truth.log_density(NONE)
    assert float(euler.abs().mean()) > 20 * float(miss.abs().mean())


def test_the_rule_is_of_fourth_order():
    rates = lambda t, x: (torch.cos(t) - 2 * x, torch.ones(*x.shape, 1).double())  # noqa: E731
    t, start, dt = (torch.tensor([[v]], dtype=torch.float64) for v in (1.0, 0.3, 0.5))
    # x' = cos t - 2 x from x(1) = .3
    part = lambda s: 0.4 * math.cos(s) + 0.2 * math.sin(s)  # noqa: E731
    exact = part(1.5) + (0.3 - part(1.0)) * math.exp(-1.0)
    spread = 0.25 * -math.expm1(-2.0)
    off = []
    for substeps in (8, 16, 32):
        mean, covariance = normal_moments(rates, t, start, dt, substeps)
        off.append((abs(float(mean) - exact), abs(float(covariance) - spread)))
    for coarse, fine in pairwise(off):
        assert 13 < coarse[0] / fine[0] < 20
        assert 13 < coarse[1] / fine[1] < 20


def test_learned_coefficients_are_served_by_it_where_no_grid_is():
    pairs = _pairs(2, 0.1)
    learned = _Stated(lambda t, x: -x, lambda t, x: ROOT.expand(*x.shape, 2), 2)
    assert isinstance(transition_density(learned, pairs, NONE), CubatureTransition)
    moved = _Stated(lambda t, x: -x + t, lambda t, x: torch.ones(*x.shape, 1).to(x), 1, autonomous=False)
    assert isinstance(transition_density(moved, _pairs(1, 0.1), NONE), CubatureTransition)


@pytest.mark.parametrize("gap", [0.5, 5.0, 30.0])
def test_long_gaps_are_integrated_in_parts_of_their_own(gap):
    """One step in fifty is long: an explicit rule that suits the others runs off there."""
    dt = torch.full((600,), 0.1, dtype=torch.float64)
    dt[::50] = gap
    rng, x = np.random.default_rng(0), np.zeros((601, 2))
    for k in range(600):
        decay = math.exp(-float(dt[k]))
        x[k + 1] = decay * x[k] + math.sqrt((1 - decay**2) / 2) * rng.standard_normal(2)
    times = np.concatenate([[0.0], dt.numpy().cumsum()])
    pairs = pk.Trajectories.from_arrays(times, x, names=["x", "y"]).pairs()
    learned = _Stated(lambda t, x: -x, lambda t, x: torch.eye(2).double().expand(*x.shape, 2), 2)
    decay = torch.exp(-pairs.dt)[:, None]
    truth = torch.distributions.Normal(decay * pairs.x0, ((1 - decay**2) / 2).sqrt()).log_prob(pairs.x1).sum(-1)
    miss = CubatureTransition(learned, pairs).log_density(NONE) - truth
    assert float(miss.abs().max()) < 2e-3


def test_fourth_moments_along_the_axes_count():
    """A double well from its slope, where the variance of two points is off by four per cent."""
    learned = _Stated(lambda t, x: x - x**3, lambda t, x: torch.full((*x.shape, 1), 0.7).to(x), 1)
    pairs = pk.Trajectories.from_arrays([0.0, 0.2, 0.4], [0.5, 0.6, 0.5], names=["x"]).pairs()
    _, covariance = CubatureTransition(learned, pairs, part=0.02).moments(NONE)
    generator = torch.Generator().manual_seed(0)
    y = torch.full((400_000,), 0.5, dtype=torch.float64)
    for _ in range(50):
        y = y + (y - y**3) * 0.004 + 0.7 * 0.004**0.5 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    # Monte Carlo of a variance: sqrt(2 / 400,000) = .2 per cent; Euler steps of .004 add as much.
    assert float(covariance[0]) == pytest.approx(float(y.var()), rel=0.01)


def test_steps_that_run_off_fall_back_to_one_euler_step():
    learned = _Stated(lambda t, x: -(x**3), lambda t, x: ROOT.expand(*x.shape, 2), 2)
    pairs = _pairs(2, 40.0)
    value = CubatureTransition(learned, pairs).log_density(NONE)
    assert bool(torch.isfinite(value).all())
