"""Mean exit times and rates of escape against quadrature and closed forms."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import pdekit as pk
from pdekit.errors import InputError, NumericalError, UnsupportedError


def states(x):
    return torch.as_tensor(np.asarray(x), dtype=torch.float64)


def test_brownian_motion_leaves_an_interval():
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "sqrt(2)"), domain=(0, 1), boundary="absorbing")
    exits, x = problem.exit_times(), np.linspace(0, 1, 21)
    assert np.abs(exits.mean(states(x)[:, None]).numpy() - x * (1 - x) / 2).max() < 1e-10
    assert exits.rate == pytest.approx(np.pi**2, rel=1e-8)


def test_brownian_motion_leaves_a_square():
    model = pk.SymbolicSDE(["x", "y"], ["0", "0"], ["sqrt(2)", "sqrt(2)"])
    exits = pk.FokkerPlanckProblem(model, domain=[(0, 1), (0, 1)], boundary="absorbing").exit_times()
    assert exits.rate == pytest.approx(2 * np.pi**2, rel=1e-7)
    odd = np.arange(1, 400, 2)
    series = 4 / np.pi**3 * (np.sin(odd * np.pi / 2) / odd**3 / np.cosh(odd * np.pi / 2)).sum()
    assert float(exits.mean([0.5, 0.5])) == pytest.approx(0.125 - series, rel=1e-6)


def test_brownian_motion_leaves_a_cube():
    model = pk.SymbolicSDE(["x", "y", "z"], ["0", "0", "0"], ["sqrt(2)"] * 3)
    problem = pk.FokkerPlanckProblem(model, domain=[(0, 1)] * 3, boundary="absorbing")
    exits = problem.exit_times(pk.Grid(cells=32))
    assert exits.rate == pytest.approx(3 * np.pi**2, rel=1e-7)
    # The Laplacian's sine series: sum of 64 / (pi^5 k i m (k^2 + i^2 + m^2)) with signs at the middle, by odd numbers.
    odd = np.arange(1, 120, 2)
    k, i, m = np.meshgrid(odd, odd, odd, indexing="ij")
    sign = np.sin(k * np.pi / 2) * np.sin(i * np.pi / 2) * np.sin(m * np.pi / 2)
    series = (64 / np.pi**5 * sign / (k * i * m * (k**2 + i**2 + m**2))).sum()
    assert float(exits.mean([0.5, 0.5, 0.5])) == pytest.approx(series, rel=1e-5)


@pytest.mark.parametrize("noise", [0.5, 0.3])
def test_the_way_over_a_barrier(noise):
    model = pk.SymbolicSDE("x", "x-x**3", str(noise))
    exits = pk.FokkerPlanckProblem(model, domain=(None, 0), boundary=("natural", "absorbing")).exit_times()
    level = lambda x: (x**4 / 4 - x**2 / 2) / (noise**2 / 2)  # noqa: E731
    inner = lambda y: quad(lambda z: np.exp(-level(z)), -6, y, epsabs=1e-14, epsrel=1e-12)[0]  # noqa: E731
    exact = quad(lambda y: np.exp(level(y)) * inner(y), -1, 0, epsrel=1e-11)[0] / (noise**2 / 2)
    assert float(exits.mean([-1.0])) == pytest.approx(exact, rel=1e-8)
    assert exits.error < 1e-4


def test_a_state_that_does_not_matter_changes_nothing():
    flat = pk.SymbolicSDE("x", "x-x**3", "1/2")
    wide = pk.SymbolicSDE(["x", "y"], ["x-x**3", "-y"], ["1/2", "1/2"])
    one = pk.FokkerPlanckProblem(flat, domain=(None, 0), boundary=("natural", "absorbing")).exit_times()
    sides = [("natural", "absorbing"), "natural"]
    two = pk.FokkerPlanckProblem(wide, domain=[(None, 0), (None, None)], boundary=sides).exit_times()
    assert float(two.mean([-1.0, 0.3])) == pytest.approx(float(one.mean([-1.0])), rel=1e-5)


def test_problems_without_an_exit_are_refused():
    model = pk.SymbolicSDE("x", "-x", "1")
    with pytest.raises(InputError, match="absorbing"):
        pk.FokkerPlanckProblem(model).exit_times()
    moving = pk.SymbolicSDE("x", "-x*cos(t)", "1")
    with pytest.raises(UnsupportedError, match="autonomous"):
        pk.FokkerPlanckProblem(moving, domain=(0, 1), boundary="absorbing").exit_times()
    still = pk.SymbolicSDE(["x", "y"], ["0", "0"], ["1", "0"])
    sides = ["reflecting", "absorbing"]
    with pytest.raises(NumericalError, match="does not get out"):
        pk.FokkerPlanckProblem(still, domain=[(0, 1), (0, 1)], boundary=sides).exit_times(pk.Grid(cells=32))


@pytest.mark.parametrize("x", [[2.0], [float("nan")], ["a"], [[0.5, 0.5]]], ids=str)
def test_states_outside_are_refused(x):
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "sqrt(2)"), domain=(0, 1), boundary="absorbing")
    with pytest.raises(InputError, match="x must"):
        problem.exit_times(pk.Grid(32)).mean(x)
