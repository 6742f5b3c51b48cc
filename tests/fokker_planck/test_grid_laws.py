"""The grid against closed forms: transient and stationary laws, sides of every kind, degenerate and cross diffusion."""

import numpy as np
import pytest
import scipy.stats as ss
import torch
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.special import erfcx, voigt_profile
from torch.distributions import Cauchy, Laplace, MultivariateNormal, Normal

import pdekit as pk
from pdekit.fokker_planck import Grid

F64 = torch.float64


def tensor(x):
    return torch.as_tensor(np.asarray(x), dtype=F64)


def distance(found, exact):
    found, exact = tensor(found), tensor(exact)
    return float((found - exact).norm() / exact.norm())


def within_its_estimate(solution, error, most):
    assert error < most
    assert error < 3 * float(solution.error_estimate[-1]) + 1e-8


def linear_law(a, d, m0, s0, t):
    steady, move = solve_continuous_lyapunov(a, -2 * d), expm(a * t)
    return move @ m0, move @ (s0 - steady) @ move.T + steady


def at_five_deviations(mean, covariance, n=121):
    sd = np.sqrt(np.diag(covariance))
    axes = [m + s * np.linspace(-5, 5, n) for m, s in zip(mean, sd, strict=True)]
    return tensor(np.stack(np.meshgrid(*axes, indexing="ij"), -1))


@pytest.mark.parametrize("weights", [None, "blended", "square-root", "chang-cooper"])
@pytest.mark.parametrize("initial", [Normal(2.0, 0.5), 2.0, [2.0]], ids=["normal", "number", "point"])
def test_ornstein_uhlenbeck(weights, initial):
    solution = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "sqrt(2)"), initial).solve(
        [0.5, 1.0], Grid(weights=weights)
    )
    spread = 0.25 if isinstance(initial, Normal) else 0.0
    x, sd = np.linspace(-5, 5, 401), np.sqrt(spread * np.exp(-2) + 1 - np.exp(-2))
    exact = ss.norm.pdf(x, 2 * np.exp(-1), sd)
    within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), exact), 1e-6)
    assert solution.moments(1.0).mean[0] == pytest.approx(2 * np.exp(-1), abs=1e-6)
    assert solution.moments(1.0).covariance[0, 0] == pytest.approx(sd**2, abs=1e-6)
    assert solution.mass == pytest.approx(1.0, abs=1e-8)


A = np.array([[-1.0, -0.8], [0.3, -1.5]])
G = np.array([[1.0, 0.0], [0.5, 0.8]])
M0, S0 = np.array([1.0, -0.5]), np.array([[0.3, 0.1], [0.1, 0.4]])


def crossed():
    a, g = tensor(A), tensor(G)
    return pk.SDE(
        lambda t, x: x @ a.T, lambda t, x: g.expand(*x.shape[:-1], 2, 2), dim=2, noise_type="additive", autonomous=True
    )


def test_two_states_with_cross_diffusion():
    problem = pk.FokkerPlanckProblem(crossed(), MultivariateNormal(tensor(M0), tensor(S0)))
    solution = problem.solve([1.0])
    mean, covariance = linear_law(A, G @ G.T / 2, M0, S0, 1.0)
    x, exact = at_five_deviations(mean, covariance), MultivariateNormal(tensor(mean), tensor(covariance))
    within_its_estimate(solution, distance(solution.pdf(1.0, x), exact.log_prob(x).exp()), 1e-5)
    assert np.abs(solution.moments(1.0).covariance - covariance).max() < 1e-5
    inner = x[40:81:10, 40:81:10].requires_grad_()
    (score,) = torch.autograd.grad(exact.log_prob(inner).sum(), inner)
    assert float((solution.score(1.0, inner) - score).abs().max()) < 2e-3


def test_two_states_at_equilibrium():
    solution = pk.FokkerPlanckProblem(crossed()).stationary()
    covariance = solve_continuous_lyapunov(A, -G @ G.T)
    x = at_five_deviations(np.zeros(2), covariance)
    exact = MultivariateNormal(torch.zeros(2, dtype=F64), tensor(covariance)).log_prob(x).exp()
    within_its_estimate(solution, distance(solution.pdf(x), exact), 1e-6)
    # It turns: J = (A + D S^-1) x p is not zero, and has no divergence.
    turn = A + G @ G.T / 2 @ np.linalg.inv(covariance)
    current = exact.unsqueeze(-1) * (x @ tensor(turn).T)
    assert float((solution.current(x) - current).abs().max()) < 1e-5


def test_samples_follow_the_density():
    solution = pk.FokkerPlanckProblem(crossed(), MultivariateNormal(tensor(M0), tensor(S0))).solve(1.0, Grid(cells=80))
    mean, covariance = linear_law(A, G @ G.T / 2, M0, S0, 1.0)
    drawn = solution.sample(20_000, 1.0, seed=1).numpy()
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (drawn - mean).T)
    for row in (*whitened, whitened.sum(0) / np.sqrt(2)):
        assert ss.kstest(row, "norm").pvalue > 1e-3


@pytest.mark.parametrize("start", [True, False], ids=["transient", "stationary"])
def test_kramers_oscillator_has_no_noise_in_its_position(start):
    model = pk.SymbolicSDE(["x", "v"], ["v", "-x-v"], ["0", "sqrt(2)"])
    a, m0, s0 = np.array([[0, 1.0], [-1, -1]]), np.array([1.0, 0.0]), np.eye(2) / 4
    if start:
        mean, covariance = linear_law(a, np.diag([0, 1.0]), m0, s0, 1.0)
        problem = pk.FokkerPlanckProblem(model, MultivariateNormal(tensor(m0), tensor(s0)))
        solution = problem.solve(1.0, Grid(cells=160))
        found = lambda x: solution.pdf(1.0, x)  # noqa: E731
    else:
        mean, covariance = np.zeros(2), np.eye(2)
        solution = pk.FokkerPlanckProblem(model).stationary(Grid(cells=160))
        found = solution.pdf
    x = at_five_deviations(mean, covariance)
    exact = MultivariateNormal(tensor(mean), tensor(covariance)).log_prob(x).exp()
    within_its_estimate(solution, distance(found(x), exact), 1e-3)
    assert float(found(x).min()) > 0


def test_kramers_particle_in_a_steep_well_is_bounded_everywhere():
    # Grids of few cells leave rough tails: between nodes, and beyond the last, nothing may rise from them.
    model = pk.SymbolicSDE(["x", "v"], ["v", "-x**3-v"], ["0", "1"])
    solution = pk.FokkerPlanckProblem(model).stationary(Grid(cells=128))
    total = quad(lambda u: np.exp(-(u**4) / 2), -8, 8)[0] * np.sqrt(np.pi)
    x, v = np.meshgrid(np.linspace(-5, 5, 141), np.linspace(-12, 12, 171), indexing="ij")
    found = solution.pdf(tensor(np.stack([x, v], -1)))
    within_its_estimate(solution, distance(found, np.exp(-(v**2) - x**4 / 2) / total), 0.03)
    assert float(found[(abs(x) > 4) | (abs(v) > 6)].max()) < 1e-3


def double_well(x):
    return 4 * (x**2 / 2 - x**4 / 4)


@pytest.mark.parametrize("weights", [None, "blended", "square-root", "chang-cooper"])
def test_a_gibbs_law_from_its_force(weights):
    solution = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x-x**3", "sqrt(1/2)")).stationary(Grid(weights=weights))
    x, total = np.linspace(-2.2, 2.2, 401), quad(lambda u: np.exp(double_well(u)), -8, 8, epsabs=1e-13)[0]
    within_its_estimate(solution, distance(solution.pdf(tensor(x)[:, None]), np.exp(double_well(x)) / total), 1e-9)


@pytest.mark.parametrize("theta", [1.0, 0.1, 0.05], ids=lambda theta: f"df={16 * theta:.2g}")
def test_cox_ingersoll_ross_up_to_its_boundary(theta):
    kappa, sigma, start, t = 1.0, 0.5, 0.1, 1.0
    model = pk.models.cir().fix(kappa=kappa, theta=theta, sigma=sigma)
    solution = pk.FokkerPlanckProblem(model, start).solve([t])
    c = 2 * kappa / (sigma**2 * (1 - np.exp(-kappa * t)))
    exact = ss.ncx2(4 * kappa * theta / sigma**2, 2 * c * start * np.exp(-kappa * t), scale=1 / (2 * c))
    x = exact.ppf(np.linspace(0.0005, 0.9995, 301))
    within_its_estimate(solution, distance(solution.pdf(t, tensor(x)[:, None]), exact.pdf(x)), 1e-5)
    assert solution.mass[0] == pytest.approx(1.0, abs=1e-5)


def test_geometric_brownian_motion_in_both_senses():
    for convention, shift in (("ito", 0.1 - 0.08), ("stratonovich", 0.1)):
        model = pk.SymbolicSDE("x", "x/10", "2*x/5", convention=convention, domain=[(0, None)])
        solution = pk.FokkerPlanckProblem(model, 1.0).solve([1.0])
        exact = ss.lognorm(0.4, scale=np.exp(shift))
        x = exact.ppf(np.linspace(0.0005, 0.9995, 301))
        within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), exact.pdf(x)), 1e-6)


def test_rayleigh():
    model = pk.SymbolicSDE("r", "1/(2*r)-r", "1", domain=[(0, None)])
    solution = pk.FokkerPlanckProblem(model).stationary()
    r = np.linspace(0.01, 3, 300)
    within_its_estimate(solution, distance(solution.pdf(tensor(r)[:, None]), 2 * r * np.exp(-(r**2))), 1e-6)


def test_starts_with_heavy_tails_and_with_a_kink():
    motion, x = pk.SymbolicSDE("x", "0", "1"), np.linspace(-8, 8, 321)
    solution = pk.FokkerPlanckProblem(motion, Cauchy(0.0, 1.0)).solve([1.0])
    within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), voigt_profile(x, 1, 1)), 1e-5)
    solution = pk.FokkerPlanckProblem(motion, Laplace(0.0, 1.0)).solve([1.0])
    exact = 0.25 * np.exp(-(x**2) / 2) * (erfcx((1 - x) / 2**0.5) + erfcx((1 + x) / 2**0.5))
    within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), exact), 1e-4)


@pytest.mark.parametrize("options", [{}, {"cells": 1600}, {"window": [(-1000.0, 1000.0)]}], ids=str)
def test_mass_beyond_the_grid_is_in_the_estimate(options):
    motion, x = pk.SymbolicSDE("x", "0", "1"), np.linspace(-8, 8, 321)
    solution = pk.FokkerPlanckProblem(motion, Cauchy(0.0, 1.0)).solve([1.0], Grid(**options))
    error = distance(solution.pdf(1.0, tensor(x)[:, None]), voigt_profile(x, 1, 1))
    assert error < float(solution.error_estimate[0]) < 3 * error + 1e-8


MODES = np.arange(1, 60)[:, None]


def test_absorbing_sides_lose_mass():
    motion, x, t = pk.SymbolicSDE("x", "0", "sqrt(2)"), np.linspace(0, 1, 101), 0.2
    solution = pk.FokkerPlanckProblem(motion, 0.3, domain=(0, 1), boundary="absorbing").solve([0.05, t])
    weight = 2 * np.sin(MODES * np.pi * 0.3) * np.exp(-((MODES * np.pi) ** 2) * t)
    exact = (weight * np.sin(MODES * np.pi * x)).sum(0)
    within_its_estimate(solution, distance(solution.pdf(t, tensor(x)[:, None]), exact), 1e-7)
    left = (weight * (1 - np.cos(MODES * np.pi)) / (MODES * np.pi)).sum()
    assert solution.mass[1] == pytest.approx(left, abs=1e-5)
    assert float(solution.pdf(t, tensor([[0.0], [1.0], [1.5]])).abs().max()) == 0.0


@pytest.mark.parametrize("weights", [None, "blended"])
def test_reflecting_sides_keep_it(weights):
    motion, x, t = pk.SymbolicSDE("x", "0", "sqrt(2)"), np.linspace(0, 1, 101), 0.05
    solution = pk.FokkerPlanckProblem(motion, 0.3, domain=(0, 1), boundary="reflecting").solve(t, Grid(weights=weights))
    exact = 1 + (2 * np.cos(MODES * np.pi * 0.3) * np.cos(MODES * np.pi * x) * np.exp(-((MODES * np.pi) ** 2) * t)).sum(
        0
    )
    within_its_estimate(solution, distance(solution.pdf(t, tensor(x)[:, None]), exact), 1e-6)
    assert solution.mass[0] == pytest.approx(1.0, abs=1e-6)


def test_a_tilted_ring_has_a_constant_current():
    model = pk.SymbolicSDE("x", "1+sin(x)", "1")
    solution = pk.FokkerPlanckProblem(model, domain=(0, 2 * np.pi), boundary="periodic").stationary()
    x = np.linspace(0, 2 * np.pi, 101)
    current = solution.current(tensor(x)[:, None])
    assert float(current.std()) < 1e-6 * float(current.mean())
    # p solves (1 + sin x) p - p'/2 = J with p of period 2 pi.
    found = solution.pdf(tensor([[0.3], [0.3 + 2 * np.pi]]))
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-12)
    slope = lambda s, p: 2 * (1 + np.sin(s)) * p - 2 * float(current[0])  # noqa: E731
    start, back = [float(solution.pdf(tensor([0.0])))], x[::-1].copy()
    exact = solve_ivp(slope, (2 * np.pi, 0), start, rtol=1e-11, t_eval=back).y[0]
    assert distance(solution.pdf(tensor(back)[:, None]), exact) < 1e-5


def test_coefficients_that_depend_on_time():
    model = pk.SymbolicSDE("x", "cos(3*t)-x", "1")
    solution = pk.FokkerPlanckProblem(model, Normal(0.0, 0.5)).solve([1.0, 2.0])
    rates = lambda t, y: [np.cos(3 * t) - y[0], -2 * y[1] + 1]  # noqa: E731
    mean, variance = solve_ivp(rates, (0, 2), [0, 0.25], rtol=1e-12, atol=1e-13).y[:, -1]
    x = np.linspace(-3, 3, 301)
    exact = ss.norm.pdf(x, mean, variance**0.5)
    within_its_estimate(solution, distance(solution.pdf(2.0, tensor(x)[:, None]), exact), 1e-6)


def test_three_states():
    a = np.array([[-1, 0.5, 0], [0, -1, 0], [1 / 3, 0, -2.0]])
    model = pk.SymbolicSDE(["x", "y", "z"], ["-x+y/2", "-y", "-2*z+x/3"], ["1", "1", "1"])
    m0, s0 = np.array([0.5, 0, 0]), 0.3 * np.eye(3)
    problem = pk.FokkerPlanckProblem(model, MultivariateNormal(tensor(m0), tensor(s0)))
    solution = problem.solve(0.5, Grid(cells=32))
    mean, covariance = linear_law(a, np.eye(3) / 2, m0, s0, 0.5)
    exact = MultivariateNormal(tensor(mean), tensor(covariance))
    x = exact.sample((5000,))
    within_its_estimate(solution, distance(solution.pdf(0.5, x), exact.log_prob(x).exp()), 5e-2)


def test_a_formula_at_the_start_is_normalised():
    model = pk.SymbolicSDE("x", "-x", "sqrt(2)")
    solution = pk.FokkerPlanckProblem(model, "3*exp(-2*(x-1)**2)").solve([1.0])
    x = np.linspace(-4, 4, 201)
    exact = ss.norm.pdf(x, np.exp(-1), np.sqrt(0.25 * np.exp(-2) + 1 - np.exp(-2)))
    within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), exact), 1e-6)


def test_samples_at_the_start():
    start = ss.norm.rvs(1.0, 0.5, size=400, random_state=0)
    solution = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "sqrt(2)"), start).solve([1.0])
    x = np.linspace(-4, 4, 201)
    exact = ss.norm.pdf(x[:, None], start * np.exp(-1), np.sqrt(1 - np.exp(-2))).mean(1)
    within_its_estimate(solution, distance(solution.pdf(1.0, tensor(x)[:, None]), exact), 1e-4)


def spinning():
    """A drift with a curl: no detailed balance, D = 1/2."""
    a = np.array([[-1.0, 0.5, 0], [-0.5, -1, 0], [1 / 3, 0, -2]])
    model = pk.SymbolicSDE(["x", "y", "z"], ["-x+y/2", "-y-x/2", "-2*z+x/3"], ["1", "1", "1"])
    covariance = tensor(solve_continuous_lyapunov(a, -np.eye(3)))
    return model, MultivariateNormal(torch.zeros(3, dtype=F64), covariance)


def test_three_states_at_equilibrium():
    model, exact = spinning()
    solution = pk.FokkerPlanckProblem(model).stationary(Grid(cells=32))
    x = exact.sample((5000,))
    within_its_estimate(solution, distance(solution.pdf(x), exact.log_prob(x).exp()), 1e-3)
    assert float((solution.log_pdf(2 * x) - exact.log_prob(2 * x)).abs().max()) < 1.0  # up to eight deviations away


def test_refinement_stops_at_a_bound_and_says_so():
    model, _ = spinning()
    start = MultivariateNormal(torch.zeros(3, dtype=F64), 0.3 * torch.eye(3, dtype=F64))
    problem = pk.FokkerPlanckProblem(model, start)
    solution = problem.solve(0.2, Grid(rtol=1e-6))
    assert solution.at(0.2).grid.shape == (65, 65, 65)
    assert "2146689 nodes, more than unknowns=500000" in repr(solution)
    short = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x-x**3", "1"), Normal(0.0, 1.0))
    assert "more than unknowns=300" in short.solve(1.0, Grid(rtol=1e-8, unknowns=300)).notes["refinement"]
    assert "GiB, more than memory" in short.solve(1.0, Grid(rtol=1e-8, memory=1e-4)).notes["refinement"]
    heavy = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "1"), Cauchy(0.0, 1.0))
    assert "beyond what is covered" in heavy.solve(1.0, Grid(window=[(-1000.0, 1000.0)])).notes["refinement"]
    assert "refinement" not in short.solve(1.0).notes


@pytest.mark.parametrize("drift", ["-x", "cos(t)-x"])
def test_progress_is_told(drift):
    heard = []
    method = Grid(progress=lambda what, share: heard.append((what, share)))
    assert method == Grid()
    assert repr(method) == repr(Grid())
    pk.FokkerPlanckProblem(pk.SymbolicSDE("x", drift, "sqrt(2)"), Normal(2.0, 0.5)).solve([0.5, 1.0], method)
    whats = list(dict.fromkeys(what for what, _ in heard))
    assert [int(what.split()[0]) for what in whats][:3] in ([100, 200, 400], [101, 201, 401])
    for what in whats:
        shares = [share for w, share in heard if w == what]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert len(shares) > 2
