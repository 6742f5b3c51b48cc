"""Closed forms against SciPy's laws, Lyapunov's equation, quadrature, the grid, and proofs with symbols."""

import numpy as np
import pytest
import scipy.stats as st
import sympy
import torch
from scipy.integrate import quad
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.special import erf, ive
from torch.distributions import (
    Categorical,
    Independent,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.closed_form import ClosedForm
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.grid.solver import Grid
from pdekit.fokker_planck.problem import FokkerPlanckProblem
from pdekit.fokker_planck.square_root import log_clifford
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE
from pdekit.symbolic.oracles import Equation

A = np.array([[-1.0, 0.7, 0.0], [-0.4, -0.5, 0.3], [0.2, 0.0, -2.0]])
SHIFT = np.array([0.5, -1.0, 0.25])
G = np.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, -0.3, 0.6]])
EXACT = ClosedForm()
EVERYWHERE = np.random.default_rng(0).normal(size=(50, 3)) * 1.5


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=float))


def linear(matrix, shift=None, noise=None, **declared):
    """A numeric equation, its coefficients unknown to the method."""
    matrix = double(matrix)
    d = len(matrix)
    a = torch.zeros(d, dtype=torch.float64) if shift is None else double(shift)
    g = torch.eye(d, dtype=torch.float64) if noise is None else double(noise)
    return SDE(
        drift=lambda t, x: x @ matrix.T + a,
        diffusion=lambda t, x: g.expand(*x.shape[:-1], *g.shape),
        dim=d,
        noise_type="additive",
        noise_dim=g.shape[1],
        **({"autonomous": True} | declared),
    )


def covariance_by_quadrature(matrix, noise, t, start):
    node, weight = np.polynomial.legendre.leggauss(60)
    found = expm(matrix * t) @ start @ expm(matrix * t).T
    for s, w in zip(0.5 * t * (1 + node), 0.5 * t * weight, strict=True):
        e = expm(matrix * s) @ noise
        found = found + w * e @ e.T
    return found


def check_score(density, x, step=1e-5, tolerance=1e-7):
    score = density.score_values(x)
    for i in range(x.shape[1]):
        h = np.zeros(x.shape[1])
        h[i] = step
        found = (density.log_values(x + h) - density.log_values(x - h)) / (2 * step)
        np.testing.assert_allclose(score[:, i], found, rtol=tolerance, atol=tolerance * np.abs(score).max())


class TestLinear:
    def test_numbers_from_a_normal_law_in_three_dimensions(self):
        mean, start = np.array([1.0, 2.0, -1.0]), np.diag([0.5, 0.1, 1.0]) + 0.05
        law = MultivariateNormal(double(mean), double(start))
        solution = FokkerPlanckProblem(linear(A, SHIFT, G), initial=law, t0=0.5).solve([0.5, 0.6, 3.5], EXACT)
        for t in (0.5, 0.6, 3.5):
            e = expm(A * (t - 0.5))
            m = e @ mean + np.linalg.solve(A, e - np.eye(3)) @ SHIFT
            c = covariance_by_quadrature(A, G, t - 0.5, start)
            np.testing.assert_allclose(solution.moments(t).mean, m, rtol=1e-12)
            np.testing.assert_allclose(solution.moments(t).covariance, c, rtol=1e-12, atol=1e-14)
            expected = st.multivariate_normal(m, c).logpdf(EVERYWHERE)
            np.testing.assert_allclose(solution.log_pdf(t, EVERYWHERE), expected, rtol=1e-11)

    def test_symbols_and_numbers_agree_however_symbols_are_written(self):
        model = SymbolicSDE(["x", "y"], ["(x**2 - 1)/(x - 1) - 3*x", "sin(x)**2 + cos(x)**2 + x - y"], ["1", "1/2"])
        numbers = linear([[-2.0, 0.0], [1.0, -1.0]], [1.0, 1.0], np.diag([1.0, 0.5]))
        x = EVERYWHERE[:, :2]
        values = [
            FokkerPlanckProblem(e, initial=[0.3, 1.0]).solve([0.7], EXACT).log_pdf(0.7, x) for e in (model, numbers)
        ]
        np.testing.assert_allclose(values[0], values[1], rtol=1e-12)

    @pytest.mark.parametrize("t", [1e-6, 1e-3, 1.0, 40.0, 1e4])
    def test_kramers(self, t):
        model = SymbolicSDE(["x", "v"], ["v", "-x - v/2"], [["0"], ["sqrt(0.6)"]])
        found = FokkerPlanckProblem(model, initial=[1.0, 0.0]).solve([t], EXACT).moments(t)
        matrix, w = np.array([[0.0, 1.0], [-1.0, -0.5]]), np.sqrt(15) / 4
        if t < 1e-2:  # series: D t^3 2/3, t^2, 2 t
            expected = 0.3 * np.array([[2 * t**3 / 3, t**2], [t**2, 2 * t]])
            np.testing.assert_allclose(found.covariance, expected, rtol=2 * t + 1e-10)
        else:
            stationary = 0.6 * np.eye(2)
            e = expm(matrix * t)
            expected = stationary - e @ stationary @ e.T
            np.testing.assert_allclose(found.covariance, expected, rtol=1e-10, atol=1e-13)
            x = np.exp(-t / 4) * (np.cos(w * t) + np.sin(w * t) / (4 * w))
            np.testing.assert_allclose(found.mean[0], x, rtol=1e-9, atol=1e-13)

    def test_unstable_and_singular_matrices(self):
        found = FokkerPlanckProblem(linear([[2.0, 0.0], [0.0, 0.0]], [0.0, 3.0]), initial=[1.0, 1.0]).solve(
            [1.5], EXACT
        )
        moments = found.moments(1.5)
        np.testing.assert_allclose(moments.mean, [np.exp(3.0), 5.5], rtol=1e-13)
        np.testing.assert_allclose(np.diag(moments.covariance), [np.expm1(6.0) / 4, 1.5], rtol=1e-13)

    def test_proof_with_symbols(self):
        problem = FokkerPlanckProblem(SymbolicSDE("x", "-x", "sqrt(2)"), initial=[0.0])
        x = np.linspace(-2, 2, 9)
        formula = "exp(-x**2/(2*(1 - exp(-2*t))))/sqrt(2*pi*(1 - exp(-2*t)))"
        proof = problem.check(formula)
        assert proof.solves
        compiled = problem.model.function(formula)
        expected = compiled(0.4, double(x)[:, None], torch.zeros(0, dtype=torch.float64))
        np.testing.assert_allclose(problem.solve([0.4], EXACT).pdf(0.4, x[:, None]), expected, rtol=1e-12)

    @pytest.mark.parametrize("symbols", [True, False])
    def test_rotating_eigenspace(self, symbols):
        """g = B + t I from N(0, I): Sigma = (1 + t^3/3) I + t B B^T + t^2 (B + B^T) / 2."""
        d, t = 5, 1.3
        b = np.random.default_rng(3).normal(size=(d, d)).round(3)
        if symbols:
            names = [f"x{i}" for i in range(d)]
            g = [[f"{b[i, j]}" + (" + t" if i == j else "") for j in range(d)] for i in range(d)]
            sde = SymbolicSDE(names, ["0"] * d, g)
        else:
            noise = lambda t, x: (double(b) + t * torch.eye(d, dtype=torch.float64)).expand(len(x), d, d)  # noqa: E731
            sde = SDE(lambda t, x: torch.zeros_like(x), noise, dim=d, noise_type="additive")
        law = Independent(Normal(torch.zeros(d).double(), torch.ones(d).double()), 1)
        found = FokkerPlanckProblem(sde, initial=law).solve([t], EXACT).moments(t)
        expected = (1 + t**3 / 3) * np.eye(d) + t * b @ b.T + t**2 * (b + b.T) / 2
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-11, atol=1e-12)

    def test_time_dependent_drift(self):
        model = SymbolicSDE("x", "-2*t*x + t", "sqrt(2*t)")
        found = FokkerPlanckProblem(model, initial=[2.0]).solve([0.5, 1.5], EXACT)
        for t in (0.5, 1.5):  # in the clock t^2 / 2: an Ornstein-Uhlenbeck process
            assert found.moments(t).mean[0] == pytest.approx(0.5 + 1.5 * np.exp(-(t**2)), rel=1e-10)
            assert found.moments(t).covariance[0, 0] == pytest.approx(0.5 * -np.expm1(-2 * t**2), rel=1e-10)
        assert found.at(0.5).error == 1e-9

    def test_mixtures_stay_mixtures_and_samples_become_one(self):
        weights, means = double([0.3, 0.7]), double([[-2.0, 0.0], [1.0, 1.0]])
        parts = Independent(Normal(means, torch.full((2, 2), 0.3, dtype=torch.float64)), 1)
        sde = linear(A[:2, :2], SHIFT[:2], G[:2, :2])
        x = EVERYWHERE[:, :2]
        mixture = FokkerPlanckProblem(sde, initial=MixtureSameFamily(Categorical(weights), parts)).solve([0.3], EXACT)
        normal = [MultivariateNormal(m, 0.09 * torch.eye(2).double()) for m in means]
        each = [FokkerPlanckProblem(sde, initial=n).solve([0.3], EXACT).pdf(0.3, x) for n in normal]
        np.testing.assert_allclose(mixture.pdf(0.3, x), 0.3 * each[0] + 0.7 * each[1], rtol=1e-12)
        starts = np.random.default_rng(0).normal(size=(3000, 2))
        samples = FokkerPlanckProblem(sde, initial=starts).solve([0.3], EXACT)
        few = [FokkerPlanckProblem(sde, initial=s).solve([0.3], EXACT).pdf(0.3, x[:3]) for s in starts[:40]]
        some = FokkerPlanckProblem(sde, initial=starts[:40]).solve([0.3], EXACT).pdf(0.3, x[:3])
        np.testing.assert_allclose(some, np.mean(few, axis=0), rtol=1e-12)
        for density in (mixture.at(0.3), samples.at(0.3)):
            check_score(density, x[:20])
            q, m = density.quadrature(), density.moments()
            np.testing.assert_allclose(q.weights @ q.states, m.mean, atol=5e-3)
            np.testing.assert_allclose(np.cov(density.sample(20_000).T), m.covariance, atol=0.04)

    def test_against_the_grid(self):
        sde = linear([[-1.0, 0.6], [-0.2, -0.8]], None, np.array([[1.0, 0.0], [0.4, 0.9]]))
        problem = FokkerPlanckProblem(sde, initial=MultivariateNormal(double([1.0, 0.0]), 0.3 * torch.eye(2).double()))
        exact, grid = problem.solve([1.0], EXACT), problem.solve([1.0], Grid(80))
        x = EVERYWHERE[:, :2]
        error = (grid.pdf(1.0, x) - exact.pdf(1.0, x)).norm() / exact.pdf(1.0, x).norm()
        assert error < 1e-3

    def test_stationary_law(self):
        found = FokkerPlanckProblem(linear(A, SHIFT, G)).stationary(EXACT)
        np.testing.assert_allclose(found.moments().mean, -np.linalg.solve(A, SHIFT), rtol=1e-12)
        np.testing.assert_allclose(found.moments().covariance, solve_continuous_lyapunov(A, -G @ G.T), rtol=1e-12)
        check_score(found.at(), EVERYWHERE)

    def test_forty_dimensions(self):
        rng = np.random.default_rng(1)
        matrix, noise = -np.eye(40) + 0.1 * rng.normal(size=(40, 40)), rng.normal(size=(40, 40))
        found = FokkerPlanckProblem(linear(matrix, None, noise), initial=np.ones(40)).solve([0.5], EXACT)
        expected = covariance_by_quadrature(matrix, noise, 0.5, np.zeros((40, 40)))
        np.testing.assert_allclose(found.moments(0.5).covariance, expected, rtol=1e-9, atol=1e-10)
        q = found.at(0.5).quadrature()
        assert np.linalg.norm(q.weights @ q.states - found.moments(0.5).mean) < 0.5


class TestKnownLaws:
    X = np.array([1e-6, 0.05, 0.4, 1.0, 3.0, 15.0])[:, None]

    @pytest.mark.parametrize(
        ("drift", "noise", "convention"),
        [
            ("x/10", "2*x/5", "ito"),
            ("0.1*x - 0.08*x", "x*0.4", "stratonovich"),
            ("(x**2 + x)/10 - x**2/10", "sqrt(4*x**2/25)", "ito"),
        ],
    )
    def test_geometric_brownian_motion(self, drift, noise, convention):
        model = SymbolicSDE("x", drift, noise, convention=convention, domain=[(0, None)])
        found = FokkerPlanckProblem(model, initial=[0.8]).solve([1.5], EXACT)
        law = st.lognorm(0.4 * np.sqrt(1.5), scale=0.8 * np.exp(0.02 * 1.5))
        np.testing.assert_allclose(found.log_pdf(1.5, self.X), law.logpdf(self.X[:, 0]), rtol=1e-12)
        assert found.moments(1.5).mean[0] == pytest.approx(law.mean(), rel=1e-12)
        assert found.moments(1.5).covariance[0, 0] == pytest.approx(law.var(), rel=1e-12)
        check_score(found.at(1.5), self.X[1:], 1e-6, 1e-5)
        q = found.at(1.5).quadrature()
        assert q.weights @ q.states[:, 0] ** 2 == pytest.approx(law.moment(2), rel=1e-10)
        assert found.pdf(1.5, double([[-1.0]])) == 0

    def test_log_normal_start_and_samples(self):
        model = SymbolicSDE("x", "x/10", "2*x/5", domain=[(0, None)])
        start = LogNormal(double(0.3), double(0.5))
        found = FokkerPlanckProblem(model, initial=start).solve([0.0, 2.0], EXACT)
        law = st.lognorm(np.sqrt(0.25 + 0.32), scale=np.exp(0.3 + 0.04))
        np.testing.assert_allclose(found.log_pdf(2.0, self.X), law.logpdf(self.X[:, 0]), rtol=1e-12)
        both = FokkerPlanckProblem(model, initial=[[0.5], [2.0]]).solve([1.0], EXACT).pdf(1.0, self.X)
        each = [FokkerPlanckProblem(model, initial=[s]).solve([1.0], EXACT).pdf(1.0, self.X) for s in (0.5, 2.0)]
        np.testing.assert_allclose(both, (each[0] + each[1]) / 2, rtol=1e-12)

    def test_mirrored_and_shifted(self):
        up = SymbolicSDE("x", "1 - x", "sqrt(x)", domain=[(0, None)])
        down = SymbolicSDE("x", "3 - 1 - x", "sqrt(3 - x)", domain=[(None, 3)])
        values = [
            FokkerPlanckProblem(m, initial=[s]).solve([0.5], EXACT).pdf(0.5, x)
            for m, s, x in ((up, 0.7, self.X), (down, 2.3, 3 - self.X))
        ]
        np.testing.assert_allclose(*values, rtol=1e-9)
        debt = SymbolicSDE("x", "x/10", "2*x/5")
        law = FokkerPlanckProblem(debt, initial=[-1.0]).solve([1.0], EXACT)
        credit = FokkerPlanckProblem(debt, initial=[1.0]).solve([1.0], EXACT)
        np.testing.assert_allclose(law.score(1.0, -self.X), -credit.score(1.0, self.X), rtol=1e-12)

    @pytest.mark.parametrize("df", [8.0, 1.5, 0.8])
    @pytest.mark.parametrize("t", [0.01, 1.0])
    def test_square_root_process(self, df, t):
        kappa, sigma, start = 2.0, 0.8, 0.7
        theta = df * sigma**2 / (4 * kappa)
        model = SymbolicSDE("x", f"{kappa}*({theta!r} - x)", f"sqrt({sigma**2!r}*x)", domain=[(0, None)])
        boundary = [("reflecting" if df < 2 else "natural", "natural")]
        problem = FokkerPlanckProblem(model, initial=[start], boundary=boundary)
        found = problem.solve([t], EXACT)
        scale = sigma**2 * -np.expm1(-kappa * t) / (4 * kappa)
        law = st.ncx2(df, start * np.exp(-kappa * t) / scale, scale=scale)
        x = law.ppf([0.001, 0.1, 0.5, 0.9, 0.999])[:, None]
        np.testing.assert_allclose(found.log_pdf(t, x), law.logpdf(x[:, 0]), rtol=1e-9, atol=1e-11)
        assert found.moments(t).mean[0] == pytest.approx(law.mean(), rel=1e-12)
        assert found.moments(t).covariance[0, 0] == pytest.approx(law.var(), rel=1e-12)
        check_score(found.at(t), x[1:], 1e-7, 1e-5)
        q = found.at(t).quadrature()
        assert q.weights.sum() == pytest.approx(1, abs=1e-9)
        assert q.weights @ q.states[:, 0] == pytest.approx(law.mean(), rel=1e-9)
        assert st.kstest(found.sample(5000, t).numpy()[:, 0], law.cdf).pvalue > 1e-4
        gamma = st.gamma(df / 2, scale=sigma**2 / (2 * kappa))
        np.testing.assert_allclose(problem.stationary(EXACT).log_pdf(x), gamma.logpdf(x[:, 0]), rtol=1e-11, atol=1e-12)

    def test_square_root_from_zero_and_far_in_the_tails(self):
        model = SymbolicSDE("x", "1 - x", "sqrt(x)", domain=[(0, None)])
        found = FokkerPlanckProblem(model, initial=[0.0]).solve([0.5], EXACT)
        law = st.gamma(2.0, scale=-np.expm1(-0.5) / 2)
        np.testing.assert_allclose(found.log_pdf(0.5, [[40.0], [300.0]]), law.logpdf([40.0, 300.0]), rtol=1e-12)

    def test_bessel_function(self):
        z = np.array([0.0, 0.3, 0.999, 1.001, 30.0, 600.0])
        for order in (-0.9, 0.0, 2.5, 40.0):
            expected = np.log(ive(order, z[1:])) - order * np.log(z[1:] / 2)
            np.testing.assert_allclose(log_clifford(order, z)[1:], expected, rtol=1e-12, atol=1e-12)
        import mpmath

        for order, value in ((300.0, 5.0), (1000.0, 900.0), (3.5, 1e10)):
            with mpmath.workdps(40):
                bessel = mpmath.log(mpmath.besseli(order, value)) - order * mpmath.log(mpmath.mpf(value) / 2) - value
            assert log_clifford(order, np.array([value]))[0] == pytest.approx(float(bessel), rel=1e-12)


class TestGibbs:
    def test_ring(self):
        r2 = "(x**2 + y**2 - 1)"
        problem = FokkerPlanckProblem(SymbolicSDE(["x", "y"], [f"-8*x*{r2}", f"-8*y*{r2}"], ["sqrt(2)", "sqrt(2)"]))
        found = problem.stationary(EXACT)
        z = np.pi * np.sqrt(np.pi / 8) * (1 + erf(np.sqrt(2)))
        assert z == pytest.approx(3.84782606, abs=1e-8)
        x = EVERYWHERE[:, :2]
        expected = -2 * ((x**2).sum(-1) - 1) ** 2 - np.log(z)
        np.testing.assert_allclose(found.log_pdf(x), expected, rtol=1e-10, atol=1e-10)
        p = sympy.exp(-2 * (problem.model.state[0] ** 2 + problem.model.state[1] ** 2 - 1) ** 2)
        assert sympy.simplify(Equation.of(problem.model).fokker_planck(p).doit()) == 0
        radius = found.sample(4000).norm(dim=-1).numpy()
        law = lambda r: (erf(np.sqrt(2) * (r**2 - 1)) + erf(np.sqrt(2))) / (1 + erf(np.sqrt(2)))  # noqa: E731
        assert st.kstest(radius, law).pvalue > 1e-4
        check_score(found.at(), x)

    @pytest.mark.parametrize("numbers", [True, False])
    def test_double_well(self, numbers):
        model = SymbolicSDE("x", "4*x*(1 - x**2)", "1")
        found = FokkerPlanckProblem(model.at() if numbers else model).stationary(EXACT)
        z = quad(lambda x: np.exp(-2 * (x**2 - 1) ** 2), -6, 6, epsabs=1e-14)[0]
        x = np.linspace(-3, 3, 13)
        np.testing.assert_allclose(found.log_pdf(x[:, None]), -2 * (x**2 - 1) ** 2 - np.log(z), rtol=1e-11, atol=1e-11)
        assert abs(float(found.moments().mean[0])) < 1e-12

    def test_noise_that_depends_on_the_state_in_both_senses(self):
        """p ~ 1/D exp(int f/D) for Ito, 1/sqrt(D) exp(int f/D) for Stratonovich; here student's and a like law."""
        x = np.linspace(-30, 30, 13)
        for convention, power in (("ito", 1.5), ("stratonovich", 1.0)):  # D = 1 + x^2
            model = SymbolicSDE("x", "-x", "sqrt(2 + 2*x**2)", convention=convention)
            found = FokkerPlanckProblem(model).stationary(EXACT)
            z = quad(lambda s, k=power: (1 + s * s) ** -k, -np.inf, np.inf, epsabs=1e-13)[0]
            np.testing.assert_allclose(found.pdf(x[:, None]), (1 + x**2) ** -power / z, rtol=1e-8)

    def test_rayleigh_and_a_wall(self):
        model = SymbolicSDE("r", "1/(2*r) - r", "1", domain=[(0, None)])
        found = FokkerPlanckProblem(model).stationary(EXACT)
        x = np.array([0.01, 0.5, 2.0])
        np.testing.assert_allclose(found.pdf(x[:, None]), 2 * x * np.exp(-(x**2)), rtol=1e-10)
        wall = FokkerPlanckProblem(
            SymbolicSDE("x", "-1", "1"), domain=[(2, None)], boundary=[("reflecting", "natural")]
        )
        np.testing.assert_allclose(wall.stationary(EXACT).pdf([[2.0], [3.0]]), 2 * np.exp([0.0, -2.0]), rtol=1e-10)

    def test_jacobi_law_singular_at_both_ends(self):
        model = SymbolicSDE("x", "(1 - 2*x)/8", "sqrt(x*(1 - x))/sqrt(2)", domain=[(0, 1)])
        found = FokkerPlanckProblem(model).stationary(EXACT)
        x = np.array([1e-5, 0.2, 0.9])
        np.testing.assert_allclose(found.pdf(x[:, None]), st.beta(0.5, 0.5).pdf(x), rtol=1e-6)

    def test_three_dimensions_with_a_full_tensor(self):
        """f = D grad phi for phi = -(x^4 + y^2 + z^2 + x y) / 2 - z^2."""
        g = [["1", "0", "0"], ["1/2", "1", "0"], ["0", "1/3", "1"]]
        model = SymbolicSDE(["x", "y", "z"], ["0"] * 3, g)
        x, y, z = model.state
        slope = [-2 * x**3 - y / 2, -y - x / 2, -3 * z]
        drift = list(model.diffusion_tensor * sympy.Matrix(slope))
        found = FokkerPlanckProblem(SymbolicSDE(["x", "y", "z"], drift, g)).stationary(EXACT)
        a, b, c = EVERYWHERE.T
        phi = -(a**4 + b**2 + a * b) / 2 - 1.5 * c**2
        mass = (
            quad(lambda s: np.exp(-(s**4) / 2 + s**2 / 8), -6, 6, epsabs=1e-13)[0]
            * np.sqrt(2 * np.pi)
            * np.sqrt(2 * np.pi / 3)
        )
        np.testing.assert_allclose(found.log_pdf(EVERYWHERE), phi - np.log(mass), rtol=1e-9, atol=1e-9)

    def test_period(self):
        turn = 2 * np.pi
        round_ = {"domain": [(0, turn)], "boundary": "periodic"}
        found = FokkerPlanckProblem(SymbolicSDE("x", "sin(x)", "1"), **round_).stationary(EXACT)
        x = np.linspace(-1, 8, 7)
        np.testing.assert_allclose(found.pdf(x[:, None]), st.vonmises(2, loc=np.pi).pdf(x), rtol=1e-10)
        with pytest.raises(UnsupportedError, match=r"current.*Grid\(\)"):
            FokkerPlanckProblem(SymbolicSDE("x", "sin(x) + 0.1", "1"), **round_).stationary(EXACT)

    def test_far_and_narrow(self):
        found = FokkerPlanckProblem(SymbolicSDE("x", "-(x - 1000)**3 - (x - 1000)", "1/100")).stationary(EXACT)
        assert found.moments().mean[0] == pytest.approx(1000, abs=1e-9)
        assert found.moments().covariance[0, 0] == pytest.approx(5e-5, rel=1e-3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("model", "given", "words"),
        [
            (SymbolicSDE("x", "-x**3", "1"), {}, "Grid"),
            (SymbolicSDE("x", "-x", "1"), {"domain": [(-1, 1)], "boundary": "reflecting"}, "Grid"),
            (SymbolicSDE("x", "-x", "sqrt(1 + x**2)"), {}, "Grid"),
            (
                SymbolicSDE("x", "1 - x", "sqrt(x)", domain=[(0, None)]),
                {"boundary": [("absorbing", "natural")]},
                "Grid",
            ),
            (SymbolicSDE("x", "-x", "1"), {"initial": Laplace(0.0, 1.0)}, "Laplace"),
        ],
    )
    def test_no_formula(self, model, given, words):
        with pytest.raises(UnsupportedError, match=words):
            FokkerPlanckProblem(model, **({"initial": [0.5]} | given)).solve([1.0], EXACT)

    def test_hidden_nonlinearity(self):
        """A numeric drift that is linear near the origin, or at whole numbers, or at first."""
        for drift in (
            lambda t, x: -x.clamp(-20, 20),
            lambda t, x: -x + 1e-3 * torch.sin(torch.pi * x),
            lambda t, x: -x - max(float(t) - 0.3, 0.0) * x**3,
        ):
            sde = SDE(drift, lambda t, x: torch.ones_like(x), dim=2)
            with pytest.raises(UnsupportedError, match="none of them"):
                FokkerPlanckProblem(sde, initial=[0.0, 0.0]).solve([1.0], EXACT)

    def test_degenerate(self):
        frozen = SymbolicSDE(["x", "y"], ["-x", "0"], [["1"], ["1"]])
        with pytest.raises(NumericalError, match=r"t = 1\. A covariance is singular"):
            FokkerPlanckProblem(SymbolicSDE(["x", "y"], ["0", "0"], [["1"], ["1"]]), initial=[0.0, 0.0]).solve(
                [1.0], EXACT
            )
        with pytest.raises(UnsupportedError, match="not stable"):
            FokkerPlanckProblem(frozen).stationary(EXACT)
        twins = SymbolicSDE(["x", "y"], ["-x", "-y"], [["1"], ["1"]])
        with pytest.raises(UnsupportedError, match="no density"):
            FokkerPlanckProblem(twins).stationary(EXACT)

    def test_no_stationary_law(self):
        for model, words in (
            (SymbolicSDE("x", "x", "1"), "not stable"),
            (SymbolicSDE("x", "0", "1"), "not stable"),
            (SymbolicSDE("x", "x/10", "x/5", domain=[(0, None)]), "no stationary law"),
            (SymbolicSDE("x", "x**3", "1"), "."),
            (SymbolicSDE("x", "-x/(1 + x**2)", "3"), "integrable"),
            (SymbolicSDE("x", "-t*x", "1"), "explicit time"),
        ):
            with pytest.raises((UnsupportedError, NumericalError), match=words):
                FokkerPlanckProblem(model).stationary(EXACT)

    def test_current(self):
        turning = SymbolicSDE(["x", "y"], ["-x**3 - y", "-y**3 + x"], ["1", "1"])
        with pytest.raises(UnsupportedError, match=r"current.*Grid\(\)"):
            FokkerPlanckProblem(turning).stationary(EXACT)
        with pytest.raises(UnsupportedError, match="SymbolicSDE"):
            FokkerPlanckProblem(turning.at()).stationary(EXACT)

    def test_starts(self):
        growth = SymbolicSDE("x", "x", "x")
        with pytest.raises(InputError, match="one side"):
            FokkerPlanckProblem(growth, initial=[[1.0], [-1.0]]).solve([1.0], EXACT)
        with pytest.raises(InputError, match="weights"):
            GaussianMixture(np.array([0.5, 0.6]), np.zeros((2, 1)), np.ones((1, 1, 1)))
