"""Relaxation times against the spectra that are known, and a Schroedinger operator where none is."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh_tridiagonal

from pdekit.data import Trajectories
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.diagnosis.relaxation import correlation_steps, relaxation
from pdekit.fitting.evidence import Evidence
from pdekit.symbolic import SymbolicSDE, models


def evidence(model: SymbolicSDE, x: np.ndarray, errors: dict[str, float] | None = None, **truth: float) -> Evidence:
    data = Trajectories.from_arrays(0.1 * np.arange(len(x)), x, time_unit="s")
    pairs, theta = data.pairs(), model.theta(truth)
    covariance = torch.diag(torch.tensor([(errors or {}).get(n, 0.0) ** 2 for n in model.param_names]).double())
    return Evidence(model, data, pairs, theta, covariance, transition_density(model, pairs, theta), 0)


def slowest(case: Evidence):
    return relaxation(case, np.zeros((len(case.pairs), len(case.theta))))


@pytest.mark.parametrize("spread", [0.05, 1.0, 3.0])
def test_ornstein_uhlenbeck_relaxes_at_the_rate_of_its_drift(spread):
    x = 1.0 + spread * np.sin(np.arange(50.0))
    found = slowest(evidence(models.ornstein_uhlenbeck(), x, {"theta": 0.3}, theta=2.0, mu=1.0, sigma=0.7))
    # Second order in the cell width, about 20 standard deviations over 300 cells.
    assert found.time == pytest.approx(0.5, rel=2e-3)
    assert found.uncertainty == pytest.approx(0.15, rel=5e-3)


@pytest.mark.parametrize("sigma", [0.2, 1.5])
def test_a_square_root_process_relaxes_at_the_rate_of_its_drift(sigma):
    # With sigma = 1.5 the boundary is reached and reflects.
    x = 0.3 + 0.2 * np.sin(np.arange(50.0))
    found = slowest(evidence(models.cir(), x, kappa=3.0, theta=0.3, sigma=sigma))
    assert found.time == pytest.approx(1.0 / 3.0, rel=5e-3)


def test_a_double_well_relaxes_at_the_gap_of_its_schroedinger_operator():
    x = np.sin(np.arange(50.0))
    found = slowest(evidence(models.double_well(), x, a=1.0, b=1.0, sigma=0.5))
    # -L is similar to -D d^2 + V with D = sigma^2 / 2 and V = f^2 / (4 D) + f' / 2.
    grid = np.linspace(-3.0, 3.0, 6001)
    h, diffusivity = grid[1] - grid[0], 0.125
    force, slope = grid - grid**3, 1.0 - 3.0 * grid**2
    diagonal = 2.0 * diffusivity / h**2 + force**2 / (4.0 * diffusivity) + slope / 2.0
    off_diagonal = np.full(len(grid) - 1, -diffusivity / h**2)
    gap = eigh_tridiagonal(diagonal, off_diagonal, select="i", select_range=(1, 1))[0][0]
    assert found.time == pytest.approx(1.0 / gap, rel=5e-3)


@pytest.mark.parametrize("mu", [-0.1, 0.01, 0.02, 0.1])
def test_geometric_brownian_motion_never_relaxes(mu):
    x = np.exp(np.sin(np.arange(50.0)))
    assert slowest(evidence(models.geometric_brownian_motion(), x, mu=mu, sigma=0.2)) is None


def test_brownian_motion_never_relaxes():
    assert slowest(evidence(models.brownian_motion(), np.sin(np.arange(50.0)), mu=0.0, sigma=0.2)) is None


def test_the_correlation_of_an_autoregression_is_summed():
    rng, x = np.random.default_rng(3), np.zeros(100_000)
    for i in range(1, len(x)):
        x[i] = 0.9 * x[i - 1] + rng.standard_normal()
    # 1/2 + .9 / .1; cut off at 5 %, and with a statistical error of a few per cent.
    assert correlation_steps(x) == pytest.approx(9.5, rel=0.1)
    assert correlation_steps(rng.standard_normal(100_000)) == pytest.approx(0.5, abs=0.1)


def test_several_states_take_the_time_of_the_data():
    # Two independent OU components with rates 1 and 4.
    model = SymbolicSDE(["x", "y"], ["-a*x", "-b*y"], ["s", "s"], {"a": (0, None), "b": (0, None), "s": (0, None)})
    rng, x = np.random.default_rng(4), np.zeros((20_000, 2))
    decay = np.exp(-0.1 * np.array([1.0, 4.0]))
    for i in range(1, len(x)):
        x[i] = decay * x[i - 1] + rng.standard_normal(2)
    case = evidence(model, x, {"a": 0.1}, a=1.0, b=4.0, s=3.0)
    scores = np.zeros((len(case.pairs), 3))
    scores[:, 0] = x[:-1, 0] * rng.standard_normal(len(scores))
    found = relaxation(case, scores)
    assert found is not None
    # sqrt(2 tau / T) with T = 2000 s; both within the accuracy of windowed sums of correlations.
    assert found.time == pytest.approx(1.0, rel=0.2)
    assert found.uncertainty == pytest.approx(math.sqrt(2.0 / 2000.0), rel=0.35)


def test_what_is_driven_in_time_has_none():
    model = SymbolicSDE("x", "-k*x + cos(t)", "s", {"k": (0, None), "s": (0, None)})
    assert slowest(evidence(model, np.sin(np.arange(50.0)), k=1.0, s=0.5)) is None
