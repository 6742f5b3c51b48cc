"""Densities up to the very side of the domain: values, scores, samples, marginals, moments and files."""

import numpy as np
import pytest
import scipy.stats as ss
import torch

import pdekit as pk
from pdekit.fokker_planck import DensitySolution, Grid
from pdekit.fokker_planck.grid.wall import Wall


def states(*x):
    return torch.tensor(x, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def exponential():
    """dX = -dt + sqrt(2) dW, turned back at zero: p = exp(-x) at equilibrium."""
    model = pk.SymbolicSDE("x", "-1", "sqrt(2)")
    return pk.FokkerPlanckProblem(model, domain=(0, None), boundary=[("reflecting", "natural")]).stationary(Grid(128))


@pytest.fixture(scope="module", params=[0.2, 2.0, 7.0], ids=lambda df: f"df={df}")
def square_root(request):
    """Cox-Ingersoll-Ross: x^(df / 2 - 1) beside zero, a pole, a finite value and a zero of p."""
    model = pk.models.cir().fix(kappa=1.0, theta=request.param / 16, sigma=0.5)
    c = 8 / (1 - np.exp(-1.0))
    law = ss.ncx2(request.param, 2 * c * 0.1 * np.exp(-1.0), scale=1 / (2 * c))
    return pk.FokkerPlanckProblem(model, 0.1).solve([1.0], Grid(256)), law


def test_a_density_up_to_its_side(exponential):
    x = states(0.0, 0.001, 0.05, 1.0, 4.0)
    assert exponential.pdf(x).numpy() == pytest.approx(np.exp(-x[:, 0].numpy()), rel=1e-6)
    assert exponential.score(x)[:, 0].numpy() == pytest.approx(-1.0, abs=1e-4)
    assert exponential.current(x).abs().max() < 1e-6
    assert exponential.mass[0] == pytest.approx(1.0, abs=1e-8)
    assert exponential.moments().mean[0] == pytest.approx(1.0, abs=1e-6)


def test_samples_reach_their_side(exponential):
    drawn = exponential.sample(20_000, seed=1).numpy()[:, 0]
    assert drawn.min() < 1e-3
    assert ss.kstest(drawn, "expon").pvalue > 1e-3


def test_the_marginal_of_the_only_state_is_the_density(exponential):
    found = exponential.marginal(0)
    x = states(0.0, 0.05, 1.0, -0.1)
    assert torch.equal(found.pdf(x), exponential.pdf(x))
    (axes,) = found.plot().axes
    assert axes.get_xlabel() == "x"
    assert axes.lines[0].get_xdata().min() == 0.0


def test_a_flat_law_between_two_sides():
    model = pk.SymbolicSDE("x", "0", "1")
    solution = pk.FokkerPlanckProblem(model, domain=(0, 1), boundary="reflecting").stationary(Grid(64))
    assert solution.marginal(0).pdf(states(0.0, 0.001, 0.5, 1.0)).numpy() == pytest.approx(1.0, abs=1e-7)
    assert ss.kstest(solution.sample(20_000, seed=1).numpy()[:, 0], "uniform").pvalue > 1e-3


def test_powers_beside_a_side(square_root):
    solution, law = square_root
    x = law.ppf([0.001, 0.01, 0.1, 0.5, 0.99])
    estimate = 3 * float(solution.error_estimate[0])
    assert solution.pdf(1.0, states(*x)).numpy() == pytest.approx(law.pdf(x), rel=1e-3)
    assert estimate < 1e-3
    assert solution.mass[0] == pytest.approx(1.0, abs=1e-4)
    assert solution.moments(1.0).mean[0] == pytest.approx(law.mean(), rel=1e-4)
    assert ss.kstest(solution.sample(20_000, 1.0, seed=2).numpy()[:, 0], law.cdf).pvalue > 1e-3


def test_a_file_keeps_the_powers(square_root, exponential, tmp_path):
    solution, law = square_root
    solution.save(tmp_path / "powers")
    again, x = DensitySolution.load(tmp_path / "powers"), states(*law.ppf([0.001, 0.1, 0.9]))
    assert torch.allclose(again.pdf(1.0, x), solution.pdf(1.0, x), rtol=1e-5)
    assert again.mass[0] == pytest.approx(solution.mass[0], abs=1e-3)
    assert ss.kstest(again.sample(20_000, 1.0, seed=2).numpy()[:, 0], law.cdf).pvalue > 1e-4
    exponential.save(tmp_path / "flat")
    again, x = DensitySolution.load(tmp_path / "flat"), states(0.0, 0.01, 2.0)
    assert torch.allclose(again.pdf(x), exponential.pdf(x), rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_starts_on_a_side(start):
    model, x, k = pk.SymbolicSDE("x", "0", "1"), np.linspace(0, 1, 11), 2 * np.arange(-20, 21)[:, None]
    solution = pk.FokkerPlanckProblem(model, start, domain=(0, 1), boundary="reflecting").solve([0.1], Grid(128))
    exact = 2 * ss.norm.pdf(x - start - k, scale=0.1**0.5).sum(0)
    assert solution.pdf(0.1, states(*x)).numpy() == pytest.approx(exact, rel=1e-5)


def test_the_speed_density_beside_an_upper_side():
    """g = sqrt(x (1 - x)), f = 0.3 - x: m = x^(2 0.3 - 1) (1 - x)^(2 0.7 - 1), up to a factor."""
    exact = lambda x: x**-0.4 * (1 - x) ** 0.4  # noqa: E731
    wall = Wall(1.0, -1.0, 0.02, 0.05, lambda x: (0.3 - x, np.sqrt(x * (1 - x))))
    z = np.array([1e-3, 0.01, 0.04])
    assert wall.power == pytest.approx(0.4, abs=1e-6)
    assert np.exp(wall.log_speed(z)) == pytest.approx(exact(1 - z) / exact(0.98), rel=1e-6)
    assert wall.slope(z) == pytest.approx(-0.4 / (1 - z) - 0.4 / z, rel=1e-5)


def test_what_is_left_beside_an_absorbing_side():
    model = pk.SymbolicSDE("x", "0", "1")
    problem = pk.FokkerPlanckProblem(model, [1.0], domain=(0, None), boundary=[("absorbing", "natural")])
    solution = problem.solve([0.5], Grid(256))
    assert solution.mass[0] == pytest.approx(ss.norm.cdf(2**0.5) * 2 - 1, abs=1e-7)  # 1.4e-5 by the trapezoidal rule


def test_moments_of_two_states_beside_a_side():
    model = pk.SymbolicSDE(["x", "y"], ["-1", "-y"], ["sqrt(2)", "1"])
    sides = [("reflecting", "natural"), "natural"]
    problem = pk.FokkerPlanckProblem(model, domain=[(0, None), (None, None)], boundary=sides)
    found = problem.stationary(Grid(cells=80)).moments()
    assert found.mean == pytest.approx([1.0, 0.0], abs=2e-4)  # 0.987 by the trapezoidal rule
