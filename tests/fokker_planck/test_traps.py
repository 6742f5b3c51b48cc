"""Problems on which Fokker-Planck solvers have been wrong in silence: each is right here, or refused by name."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import voigt_profile
from torch.distributions import Cauchy, MultivariateNormal, Normal, Uniform

import pdekit as pk
from pdekit.errors import InputError, ModelError, NumericalError, UnsupportedError
from pdekit.fokker_planck import Grid

F64 = torch.float64


def tensor(x):
    return torch.as_tensor(np.asarray(x), dtype=F64)


def distance(found, exact):
    found, exact = tensor(found), tensor(exact)
    return float((found - exact).norm() / exact.norm())


def gibbs(level, lower, upper):
    total = quad(lambda u: np.exp(-level(u)), lower, upper, epsabs=1e-13, limit=400)[0]
    return lambda x: np.exp(-level(x)) / total


def test_potential_and_force_together_do_not_double_the_diffusion():
    model = pk.SymbolicSDE("x", "-x/2 - x/2", "sqrt(2)")
    assert pk.FokkerPlanckProblem(model).stationary().moments().covariance[0, 0] == pytest.approx(1.0, abs=1e-8)


def test_noise_that_depends_on_the_state_keeps_its_own_law():
    # Ito: p ~ exp(int 2 f / g^2) / g^2 with f = -x, g^2 = 1 + x^2: p ~ (1 + x^2)^-2, not exp(-U) / D of a constant D.
    x = np.linspace(-6, 6, 241)
    for weights in (None, "blended"):
        model = pk.SymbolicSDE("x", "-x", "sqrt(1+x**2)")
        solution = pk.FokkerPlanckProblem(model).stationary(Grid(weights=weights, rtol=1e-4))
        assert distance(solution.pdf(tensor(x)[:, None]), 2 / np.pi / (1 + x**2) ** 2) < 1e-3


def test_the_two_senses_have_different_laws():
    x = np.linspace(-3, 3, 241)
    for convention, power in (("ito", -2.0), ("stratonovich", -1.5)):
        # An outer quadratic force makes all moments finite: exp(int 2 f / g^2) = exp(-x^2) (1 + x^2)^(...).
        model = pk.SymbolicSDE("x", "-x-x*(1+x**2)", "sqrt(1+x**2)", convention=convention)
        exact = gibbs(lambda u, a=power: u**2 - a * np.log(1 + u**2), -9, 9)
        solution = pk.FokkerPlanckProblem(model).stationary()
        assert distance(solution.pdf(tensor(x)[:, None]), exact(x)) < 1e-6


def test_noise_that_vanishes_inside():
    # Where x = 0 the drift leads upwards: in the end all mass is above, p = 4 x^-4 exp(-2 / x).
    model = pk.SymbolicSDE("x", "1-x", "x", domain=[(0, None)])
    solution = pk.FokkerPlanckProblem(model).stationary(Grid(rtol=1e-4))
    x = np.linspace(0.1, 6, 200)
    assert distance(solution.pdf(tensor(x)[:, None]), 4 * x**-4.0 * np.exp(-2 / x)) < 1e-4
    with pytest.raises(NumericalError, match="x ="):  # while mass crosses it
        pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "1-x", "x/2"), Normal(0.0, 1.0)).solve(0.5)


@pytest.mark.filterwarnings("ignore:The estimated relative error")
def test_cross_diffusion_on_a_coarse_grid_stays_positive():
    g = tensor([[1.0, 0.0], [0.95, 0.31]])
    sde = pk.SDE(
        lambda t, x: -x, lambda t, x: g.expand(*x.shape[:-1], 2, 2), dim=2, noise_type="additive", autonomous=True
    )
    start = MultivariateNormal(torch.zeros(2, dtype=F64), 0.3 * torch.eye(2, dtype=F64))
    solution = pk.FokkerPlanckProblem(sde, start).solve(0.5, Grid(cells=32))
    x = torch.randn(2000, 2, dtype=F64, generator=torch.Generator().manual_seed(0)) * 2
    assert bool((solution.pdf(0.5, x) >= 0).all())
    assert solution.moments(0.5).covariance == pytest.approx(
        np.exp(-1) * 0.3 * np.eye(2) + (1 - np.exp(-1)) * (g @ g.T / 2).numpy(), abs=4e-2
    )


def test_mass_that_lies_outside_is_refused():
    model = pk.SymbolicSDE("x", "-x", "1", domain=[(0, 1)])
    with pytest.raises(InputError, match="of its mass in the domain"):
        pk.FokkerPlanckProblem(model, Normal(0.0, 1.0), boundary="reflecting").solve(1.0)
    with pytest.raises(InputError, match="outside the domain"):
        pk.FokkerPlanckProblem(model, 2.0, boundary="reflecting").solve(1.0)


@pytest.mark.parametrize("weights", [None, "blended"])
def test_two_far_wells_have_the_right_weights(weights):
    # The barrier is 24 kT high, and the wells differ: simulation never sees both in proportion.
    level = lambda x: 24 * (x**2 - 1) ** 2 + 1.5 * x  # noqa: E731
    model = pk.SymbolicSDE("x", "-96*x*(x**2-1) - 3/2", "sqrt(2)")
    solution = pk.FokkerPlanckProblem(model).stationary(Grid(weights=weights))
    x = np.linspace(-1.4, 1.4, 281)
    assert distance(solution.pdf(tensor(x)[:, None]), gibbs(level, -3, 3)(x)) < 1e-6


@pytest.mark.parametrize("drift", ["x", pytest.param("0", marks=pytest.mark.slow)])
def test_a_law_that_is_not_normalisable_is_refused(drift):
    with pytest.raises(NumericalError, match="normalisable"):
        pk.FokkerPlanckProblem(pk.SymbolicSDE("x", drift, "1")).stationary()


@pytest.mark.slow
def test_time_scales_far_apart():
    model = pk.SymbolicSDE(["x", "y"], ["-x", "-1000*(y-x)"], ["sqrt(2)", "sqrt(2000)"])
    start = MultivariateNormal(tensor([1.0, 0.0]), 0.25 * torch.eye(2, dtype=F64))
    solution = pk.FokkerPlanckProblem(model, start).solve(1.0, Grid(cells=64))
    a = np.array([[-1.0, 0], [1000, -1000]])
    from scipy.linalg import expm, solve_continuous_lyapunov

    steady, move = solve_continuous_lyapunov(a, -2 * np.diag([1.0, 1000.0])), expm(a)
    covariance = move @ (np.eye(2) / 4 - steady) @ move.T + steady
    assert solution.moments(1.0).mean == pytest.approx(move @ [1.0, 0.0], abs=1e-3)
    assert solution.moments(1.0).covariance == pytest.approx(covariance, abs=2e-3)


def test_a_start_with_jumps():
    solution = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "1"), Uniform(-1.0, 1.0)).solve(0.5)
    x = np.linspace(-4, 4, 201)
    from scipy.stats import norm

    exact = 0.5 * (norm.cdf((x + 1) / 0.5**0.5) - norm.cdf((x - 1) / 0.5**0.5))
    error = distance(solution.pdf(0.5, tensor(x)[:, None]), exact)
    assert error < 1e-4
    assert error < 5 * float(solution.error_estimate[0])


def test_bad_input_is_refused_by_name():
    model = pk.SymbolicSDE("x", "-x", "1")
    problem = pk.FokkerPlanckProblem(model, 0.5)
    for times in ([1.0, 0.5], [-1.0], [0.0], [], "soon", [[1.0]], [float("nan")]):
        with pytest.raises(InputError):
            problem.solve(times)
    wide = pk.SymbolicSDE(["x", "y", "z"], ["-x", "-y", "-z"], ["1", "1", "1"])
    with pytest.raises(InputError, match="GiB"):
        pk.FokkerPlanckProblem(wide, [0.0, 0.0, 0.0]).solve(1.0, Grid(cells=800))
    many = pk.SDE(lambda t, x: -x, lambda t, x: torch.ones_like(x), dim=4, autonomous=True)
    with pytest.raises(UnsupportedError, match="MonteCarlo"):
        pk.FokkerPlanckProblem(many, np.zeros(4)).solve(1.0)
    with pytest.raises(InputError, match="initial"):
        pk.FokkerPlanckProblem(model).solve(1.0)
    with pytest.raises(InputError, match="normalised"):
        pk.FokkerPlanckProblem(model, "1/(1+x**2)**(1/2)").solve(1.0)
    with pytest.raises(InputError, match="negative"):
        pk.FokkerPlanckProblem(model, "x*exp(-x**2)").solve(1.0)
    with pytest.raises(ModelError, match="no values"):
        pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-k*x", "1"), 0.5)
    with pytest.raises(InputError, match="Independent"):
        pk.FokkerPlanckProblem(wide, Normal(torch.zeros(3), torch.ones(3))).solve(1.0)
    with pytest.raises(InputError, match="states"):
        pk.FokkerPlanckProblem(model, MultivariateNormal(torch.zeros(2), torch.eye(2))).solve(1.0)
    for boundary in ("open", ["absorbing", "natural", "natural"], ("periodic", "natural")):
        with pytest.raises(InputError):
            pk.FokkerPlanckProblem(model, 0.5, domain=(0, 1), boundary=boundary)
    with pytest.raises(InputError, match="finite end"):
        pk.FokkerPlanckProblem(model, 0.5, boundary="absorbing")
    with pytest.raises(UnsupportedError, match="autonomous"):
        pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x*(2+cos(t))", "1")).stationary()
    with pytest.raises(InputError, match="asked for at"):
        problem.solve(1.0).pdf(0.7, [0.0])
    with pytest.raises(InputError, match="states"):
        problem.solve(1.0).pdf(1.0, [[0.0, 1.0]])


@pytest.mark.parametrize(
    "options",
    [{"cells": 2}, {"cells": 1.5}, {"levels": 4}, {"weights": "best"}, {"rtol": 0}, {"memory": 0}, {"unknowns": 0}],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError):
        Grid(**options)


def test_proofs():
    model = pk.SymbolicSDE("x", "-x", "sqrt(2)")
    problem = pk.FokkerPlanckProblem(model)
    proof = problem.check("exp(-x**2/2)/sqrt(2*pi)")
    assert proof
    assert proof.stationary
    moving = problem.check("exp(-(x-exp(-t))**2/(2*(1-exp(-2*t))))/sqrt(2*pi*(1-exp(-2*t)))")
    assert moving.solves
    assert not moving.stationary
    assert not problem.check("exp(-x**2)/sqrt(pi)").solves
    assert problem.check("exp(-x**2/2)").normalised is False


def test_tails_without_a_variance_are_told():
    """A Cauchy law in a spring: the density is a Voigt profile, and has no moments."""
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "1"), initial=Cauchy(tensor(0.0), tensor(1.0)))
    solution = problem.solve([1.0], Grid(cells=800))
    x, e = np.array([0.0, 0.5, 2.0]), np.exp(-1.0)
    exact = voigt_profile(x, np.sqrt((1 - e**2) / 2), e)
    assert distance(solution.pdf(1.0, tensor(x)[:, None]), exact) < 3 * solution.error_estimate[0]
    with pytest.warns(UserWarning, match="moments may be infinite"):
        solution.moments(1.0)


def test_times_are_numbers():
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "1"), initial=[0.5])
    for wrong in (True, [True], ["1.5"], [1j]):
        with pytest.raises(InputError, match="times must be numbers"):
            problem.solve(wrong)
    solution = problem.solve([1.0], Grid(cells=40))
    for wrong in (True, torch.tensor([1.0, 2.0]), "1"):
        with pytest.raises(InputError, match="t must be one number"):
            solution.at(wrong)
    assert solution.at(torch.tensor(1.0)) is solution.at(np.float64(1.0))
    with pytest.raises(InputError, match="t0"):
        pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "1"), initial=[0.5], t0=True)


def test_sides_that_are_not_solved_say_why():
    root = pk.SymbolicSDE("x", "(1-x)/5", "sqrt(x)", domain=[(0, None)])
    with pytest.raises(NumericalError, match=r"MonteCarlo\(\)"):
        pk.FokkerPlanckProblem(root, initial=[0.5], boundary=[("absorbing", "natural")]).solve([1.0])
    free = pk.SymbolicSDE("x", "0", "1")
    with pytest.raises(NumericalError, match="infinite"):
        pk.FokkerPlanckProblem(free, domain=(0, None), boundary=[("absorbing", "natural")]).exit_times()
