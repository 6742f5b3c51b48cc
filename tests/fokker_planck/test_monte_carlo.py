"""Monte Carlo against closed forms and series of images; its standard errors against its own scatter."""

import numpy as np
import pytest
import scipy.stats as st
import torch
from torch.distributions import Normal

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.closed_form import ClosedForm
from pdekit.fokker_planck.kernel import KernelDensity, batches
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.fokker_planck.sides import Domain
from pdekit.symbolic.model import SymbolicSDE

BROWNIAN = SymbolicSDE("x", "0", "1")
OU = SymbolicSDE("x", "-x", "1")


def on_unit_interval(boundary, x, t=0.1, start=0.3):
    """Brownian motion in (0, 1), by images."""
    k = 2.0 * np.arange(-20, 21)[:, None]
    normal = lambda y: st.norm.pdf(x - y, scale=np.sqrt(t)).sum(0)  # noqa: E731
    if boundary == "periodic":
        return normal(start + k / 2)
    return normal(start + k) + (1 if boundary == "reflecting" else -1) * normal(-start + k)


@pytest.mark.parametrize("boundary", ["reflecting", "absorbing", "periodic"])
def test_sides(boundary):
    problem = FokkerPlanckProblem(BROWNIAN, initial=[0.3], domain=[(0, 1)], boundary=boundary)
    density = problem.solve([0.1], MonteCarlo(paths=30_000, dt=5e-4)).at(0.1)
    x = np.linspace(0.01, 0.99, 15)
    exact = on_unit_interval(boundary, x)
    error = np.linalg.norm(density.pdf(x[:, None]).numpy() - exact) / np.linalg.norm(exact)
    assert error < 0.05
    assert error < 3 * density.error
    node, weight = np.polynomial.legendre.leggauss(80)
    total = weight @ density.pdf(0.5 + node[:, None] / 2).numpy() / 2
    assert total == pytest.approx(density.mass, rel=0.02)
    if boundary == "absorbing":
        mass = weight @ on_unit_interval(boundary, 0.5 + node / 2) / 2
        assert abs(density.mass - mass) < 4 * density.mass_stderr
        assert density.pdf([[0.0], [1.0]]).max() < 1e-10
    else:
        assert density.mass == 1.0
    outside = density.pdf([[1.2]])
    assert outside == (pytest.approx(float(density.pdf([[0.2]]))) if boundary == "periodic" else 0)


def test_coefficients_repeat_round_a_period():
    """A drift that is not periodic as a formula: sawtooth, with a jump at the ends."""
    model = SymbolicSDE("x", "1/2 - x", "1/2")
    problem = FokkerPlanckProblem(model, initial=[0.9], domain=[(0, 1)], boundary="periodic")
    x = problem.stationary(MonteCarlo(paths=20_000, dt=0.01)).sample(20_000).numpy()[:, 0]
    law = lambda s: np.exp(-4 * (s - 0.5) ** 2)  # noqa: E731
    node, weight = np.polynomial.legendre.leggauss(40)
    s = 0.5 + node / 2
    variance = weight @ (law(s) * (s - 0.5) ** 2) / (weight @ law(s))
    assert np.mean((x - 0.5) ** 2) == pytest.approx(variance, rel=0.05)
    assert ((x >= 0) & (x <= 1)).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_against_the_closed_form_with_honest_errors(dim):
    model = OU if dim == 1 else SymbolicSDE(["x", "v"], ["v", "-x - v/2"], [["0"], ["1"]])
    start = [1.0] if dim == 1 else [1.0, 0.0]
    problem = FokkerPlanckProblem(model, initial=start)
    exact = problem.solve([2.0], ClosedForm()).at(2.0)
    density = problem.solve([2.0], MonteCarlo(paths=40_000, dt=0.005)).at(2.0)
    x = exact.sample(40).numpy()
    away = density.pdf(x) - exact.pdf(x)
    error = float(np.linalg.norm(away) / np.linalg.norm(exact.pdf(x)))
    assert error < 2 * density.error < 0.2
    z = (away / density.stderr(x)).abs()
    assert z.median() < 2.5
    moments, scatter = density.moments(), density.moments_stderr()
    assert (np.abs(moments.mean - exact.moments().mean) < 4.5 * scatter.mean).all()
    assert (np.abs(moments.covariance - exact.moments().covariance) < 4.5 * scatter.covariance).all()
    for i in range(dim):  # score by differences
        h = np.eye(dim)[i] * 1e-5
        found = (density.log_values(x + h) - density.log_values(x - h)) / 2e-5
        np.testing.assert_allclose(density.score_values(x)[:, i], found, rtol=1e-5, atol=1e-5)


def test_standard_errors_are_the_scatter_of_repeated_runs():
    x, domain = np.array([[-1.0], [0.0], [2.0]]), Domain.of(None, "natural", 1, [(None, None)], ("x",))
    many = [
        KernelDensity(np.random.default_rng(k).normal(size=(2000, 1)), batches(2000), 2000, domain, 0.2)
        for k in range(60)
    ]
    scatter = np.std([d.pdf(x) for d in many], axis=0)
    np.testing.assert_allclose(np.mean([d.stderr(x) for d in many], axis=0), scatter, rtol=0.3)
    squares = lambda s: s[:, 0] ** 2  # noqa: E731
    scatter = np.std([d.expectation(squares) for d in many])
    assert np.mean([d.expectation_stderr(squares) for d in many]) == pytest.approx(scatter, rel=0.3)
    assert many[0].stderr([[40.0]]) > 0  # none seen there is not none


def test_kernels_against_scipy():
    states = np.random.default_rng(0).normal(size=(500, 2)) @ np.array([[1.0, 0.5], [0.0, 0.3]])
    domain = Domain.of(None, "natural", 2, [(None, None)] * 2, ("x", "y"))
    found = KernelDensity(states, batches(500), 500, domain, bandwidth=0.3)
    np.testing.assert_allclose(found.pdf(states[:9]), st.gaussian_kde(states.T, 0.3)(states[:9].T), rtol=1e-12)
    far = np.array([[300.0, 300.0]])
    assert found.log_pdf(far).isfinite().all()
    assert found.score(far).isfinite().all()


def test_separate_peaks_get_a_narrower_kernel():
    problem = FokkerPlanckProblem(SymbolicSDE("x", "4*x*(1 - x**2)", "1"))
    density = problem.stationary(MonteCarlo(paths=16_000, dt=0.04)).at()
    assert density.width < 0.6 * 16_000**-0.2
    x = np.linspace(-1.5, 1.5, 13)[:, None]
    exact = problem.stationary(ClosedForm()).pdf(x)
    assert (density.pdf(x) - exact).norm() / exact.norm() < 0.1


def test_many_states_have_samples_and_moments_but_no_density():
    names = [f"x{i}" for i in range(6)]
    problem = FokkerPlanckProblem(SymbolicSDE(names, [f"-{n}" for n in names], ["1"] * 6), initial=[1.0] * 6)
    solution = problem.solve([0.5], MonteCarlo(paths=4000))
    density = solution.at(0.5)
    assert (np.abs(density.moments().mean - np.exp(-0.5)) < 4.5 * density.moments_stderr().mean).all()
    assert density.sample(10).shape == (10, 6)
    assert density.error is None
    assert "MonteCarlo" in repr(solution)
    with pytest.raises(UnsupportedError, match=r"6: its samples.*ClosedForm\(\)"):
        density.pdf(np.zeros((1, 6)))


def test_stationary_moments_and_seeds():
    problem = FokkerPlanckProblem(OU)
    density = problem.stationary(MonteCarlo(paths=20_000)).at()
    away = density.moments().covariance - 0.5
    assert abs(float(away[0, 0])) < 4.5 * float(density.moments_stderr().covariance[0, 0])
    first, again, other = (
        FokkerPlanckProblem(OU, initial=Normal(0.0, 1.0))
        .solve([0.0, 0.2], MonteCarlo(paths=2000, seed=s))
        .sample(5, 0.2)
        for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_refusals():
    absorbed = {"initial": [0.5], "domain": [(0, 1)]}
    with pytest.raises(UnsupportedError, match=r"one rule.*Grid\(\)"):
        FokkerPlanckProblem(BROWNIAN, **absorbed, boundary=[("absorbing", "reflecting")]).solve([1.0], MonteCarlo())
    with pytest.raises(UnsupportedError, match="nothing is left"):
        FokkerPlanckProblem(BROWNIAN, **absorbed, boundary="absorbing").stationary(MonteCarlo())
    with pytest.raises(NumericalError, match="too few"):
        FokkerPlanckProblem(BROWNIAN, **absorbed, boundary="absorbing").solve([4.0], MonteCarlo(paths=1000, dt=0.01))
    with pytest.raises(UnsupportedError, match="explicit time"):
        FokkerPlanckProblem(SymbolicSDE("x", "-t*x", "1")).stationary(MonteCarlo())
    with pytest.raises(NumericalError, match="do not settle"):  # spreads
        FokkerPlanckProblem(BROWNIAN).stationary(MonteCarlo(paths=1000, dt=0.25, longest=4.0))
    deep = SymbolicSDE("x", "40*x*(1 - x**2)", "1")
    with pytest.raises(NumericalError, match="do not settle"):  # two wells that paths do not leave
        FokkerPlanckProblem(deep, initial=[[-1.0], [1.0]]).stationary(MonteCarlo(paths=1000, dt=0.01, longest=0.5))
    for wrong in ({"paths": 10}, {"dt": -1.0}, {"seed": -1}, {"bandwidth": 0.0}, {"longest": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            MonteCarlo(**wrong)


def test_the_step_by_default_leaves_no_bias_that_paths_could_tell():
    """With the step of the pilot alone, 1/8, the variance is 0.0033 too small: six standard errors."""
    model = SymbolicSDE("x", "x/10", "3*x/10", domain=[(0, None)])
    solution = FokkerPlanckProblem(model, initial=[1.0]).solve([1.0], MonteCarlo(seed=1))
    exact = np.exp(0.2) * np.expm1(0.09)
    scatter = solution.at(1.0).moments_stderr().covariance[0, 0]
    assert abs(solution.moments(1.0).covariance[0, 0] - exact) < 3 * scatter
    assert float(solution.notes["dt"]) < 1 / 8


def test_steps_that_are_too_long_at_absorbing_sides_are_cut():
    """Noise that vanishes at the side: 0.0273 of the mass too much with the step of the pilot alone."""
    model = SymbolicSDE("x", "(1 - x)/5", "sqrt(x)", domain=[(0, None)])
    problem = FokkerPlanckProblem(model, initial=[0.5], boundary=[("absorbing", "natural")])
    assert abs(problem.solve([1.0], MonteCarlo(paths=20_000)).mass[0] - 0.77715) < 0.015
