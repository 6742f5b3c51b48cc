"""Densities on grids against closed forms, with the time they take and the error they admit."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats as ss
from scipy.integrate import quad
from scipy.special import voigt_profile
from torch import Tensor
from torch.distributions import Cauchy, MultivariateNormal

import pdekit as pk
from benchmarks.fokker_planck.laws import M0, S0, A, G, around, crossed, distance, law, tensor
from benchmarks.results import Row, at_most
from benchmarks.runner import Context
from pdekit.fokker_planck import DensitySolution
from pdekit.fokker_planck.equation import AtTime
from pdekit.fokker_planck.grid.assembly import assemble
from pdekit.fokker_planck.grid.axis import Axis
from pdekit.fokker_planck.grid.mesh import Mesh

TITLE = "Densities on grids against closed forms: relative L2 error"


def run(context: Context) -> list[Row]:
    """One state, two states, and the assembly in three."""
    return [*_crossed(), *_kramers(context), *_one_state(), _assembly(context)]


def _row(
    name: str, solve: Callable[[], DensitySolution], error: Callable[[DensitySolution], float], most: float
) -> Row:
    begun = time.perf_counter()
    solution = solve()
    seconds = time.perf_counter() - begun
    detail = f"{seconds:.2f} s, estimated {float(solution.error_estimate[-1]):.1e}, {solution.notes['grid']}"
    return at_most(name, error(solution), most, detail=detail)


def _crossed() -> list[Row]:
    exact = law(A, G @ G.T / 2, M0, S0, 1.0)
    x = around(exact)
    p = exact.log_prob(x).exp()
    problem = pk.FokkerPlanckProblem(crossed(), MultivariateNormal(tensor(M0), tensor(S0)))
    name = "2-D Ornstein-Uhlenbeck, drift not diagonal, full D, t = 1"
    solve, seconds = lambda: problem.solve(1.0, pk.Grid(160)), []
    solve()  # imports and caches
    for _ in range(3):
        begun = time.perf_counter()
        solve()
        seconds.append(time.perf_counter() - begun)
    told = "measured before on two cores: fplanck 4.8e-4 in 3.3 s, py-pde 1.3e-3 in 16 s"
    return [
        _row(name, solve, lambda s: distance(s.pdf(1.0, x), p), 1e-5),
        at_most(f"{name}: time", float(np.median(seconds)), 2.0, "s", detail=told),
    ]


def _kramers(context: Context) -> list[Row]:
    model = pk.SymbolicSDE(["x", "v"], ["v", "-x-v"], ["0", "sqrt(2)"])
    a, m0, s0 = np.array([[0, 1.0], [-1, -1]]), np.array([1.0, 0.0]), np.eye(2) / 4
    exact = law(a, np.diag([0, 1.0]), m0, s0, 1.0)
    x = around(exact)
    p = exact.log_prob(x).exp()
    problem = pk.FokkerPlanckProblem(model, MultivariateNormal(tensor(m0), tensor(s0)))
    cells = 160 if context.quick else 320
    name = "Kramers' oscillator, no noise in the position, t = 1"
    return [_row(name, lambda: problem.solve(1.0, pk.Grid(cells)), lambda s: distance(s.pdf(1.0, x), p), 1e-4)]


def _one_state() -> list[Row]:
    x = np.linspace(-2.2, 2.2, 401)
    total = quad(lambda u: float(_well(np.array(u))), -8, 8, epsabs=1e-13)[0]
    force = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x-x**3", "sqrt(1/2)"))
    rayleigh = pk.FokkerPlanckProblem(pk.SymbolicSDE("r", "1/(2*r)-r", "1", domain=[(0, None)]))
    r, z = np.linspace(0.01, 3, 300), np.linspace(-8, 8, 321)
    growth, grown = pk.SymbolicSDE("x", "x/10", "2*x/5", domain=[(0, None)]), ss.lognorm(0.4, scale=np.exp(0.02))
    cauchy = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "0", "1"), Cauchy(0.0, 1.0))
    return [
        _row("Gibbs law from its force", force.stationary, lambda s: _off(s.pdf, x, _well(x) / total), 1e-6),
        *[_cox_ingersoll_ross(theta) for theta in (1.0, 0.1, 0.05)],
        _at_one(
            "geometric Brownian motion from a point", pk.FokkerPlanckProblem(growth, 1.0), _inside(grown), grown.pdf
        ),
        _row("Rayleigh", rayleigh.stationary, lambda s: _off(s.pdf, r, 2 * r * np.exp(-(r**2))), 1e-5),
        _at_one("Brownian motion from a Cauchy law", cauchy, z, lambda x: voigt_profile(x, 1, 1)),
    ]


def _well(x: np.ndarray) -> np.ndarray:
    return np.exp(4 * (x**2 / 2 - x**4 / 4))


def _cox_ingersoll_ross(theta: float) -> Row:
    kappa, sigma, start = 1.0, 0.5, 0.1
    model = pk.models.cir().fix(kappa=kappa, theta=theta, sigma=sigma)
    c = 2 * kappa / (sigma**2 * (1 - np.exp(-kappa)))
    exact = ss.ncx2(4 * kappa * theta / sigma**2, 2 * c * start * np.exp(-kappa), scale=1 / (2 * c))
    name = f"Cox-Ingersoll-Ross, {16 * theta:.2g} degrees of freedom"
    return _at_one(name, pk.FokkerPlanckProblem(model, start), _inside(exact), exact.pdf)


def _at_one(name: str, problem: pk.FokkerPlanckProblem, x: np.ndarray, exact: Callable[..., np.ndarray]) -> Row:
    """The density of one state at t = 1."""
    return _row(name, lambda: problem.solve(1.0), lambda s: _off(lambda z: s.pdf(1.0, z), x, exact(x)), 1e-5)


def _inside(law: Any) -> np.ndarray:
    """States between its quantiles .05 % and 99.95 %."""
    return law.ppf(np.linspace(0.0005, 0.9995, 301))


def _off(pdf: Callable[[Tensor], Tensor], x: np.ndarray, exact: np.ndarray) -> float:
    return distance(pdf(tensor(x)[:, None]), tensor(exact))


def _assembly(context: Context) -> Row:
    model = pk.SymbolicSDE(["x", "y", "z"], ["-x", "-2*y", "-z/2"], ["1", "1", "1"])
    sde, cells = model.at(), 16 if context.quick else 63
    mesh = Mesh(tuple(Axis(-5.0, 5.0, cells, ("natural", "natural")) for _ in range(3)))
    seconds = []
    for _ in range(4):
        begun = time.perf_counter()
        assemble(mesh, AtTime(sde, 0.0), "blended")
        seconds.append(time.perf_counter() - begun)
    return at_most(f"assembly of {cells + 1}^3 nodes", float(np.median(seconds[1:])), 0.4, "s")
