"""Mean exit times and rates of escape against quadrature and closed forms."""

import numpy as np
from scipy.integrate import quad

import pdekit as pk
from benchmarks.fokker_planck.laws import tensor
from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Exit times on grids: relative errors"
MOST = 1e-4


def run(context: Context) -> list[Row]:
    """An interval, a square, and the way over a barrier."""
    return [*_interval(), *_square(), *[_barrier(noise) for noise in (0.5, 0.3, 0.2)]]


def _interval() -> list[Row]:
    motion = pk.SymbolicSDE("x", "0", "sqrt(2)")
    exits = pk.FokkerPlanckProblem(motion, domain=(0, 1), boundary="absorbing").exit_times()
    x = np.linspace(0.05, 0.95, 19)
    tau = exits.mean(tensor(x)[:, None]).numpy()
    return [
        at_most("Brownian motion leaves (0, 1): mean time", float(np.abs(tau / (x * (1 - x) / 2) - 1).max()), MOST),
        at_most("Brownian motion leaves (0, 1): rate", abs(exits.rate / np.pi**2 - 1), MOST),
    ]


def _square() -> list[Row]:
    motion = pk.SymbolicSDE(["x", "y"], ["0", "0"], ["sqrt(2)", "sqrt(2)"])
    exits = pk.FokkerPlanckProblem(motion, domain=[(0, 1), (0, 1)], boundary="absorbing").exit_times()
    odd = np.arange(1, 400, 2)
    series = 4 / np.pi**3 * (np.sin(odd * np.pi / 2) / odd**3 / np.cosh(odd * np.pi / 2)).sum()
    tau = float(exits.mean([0.5, 0.5]))
    return [
        at_most("Brownian motion leaves a square: mean time", abs(tau / (0.125 - series) - 1), MOST),
        at_most("Brownian motion leaves a square: rate", abs(exits.rate / (2 * np.pi**2) - 1), MOST),
    ]


def _barrier(noise: float) -> Row:
    model = pk.SymbolicSDE("x", "x-x**3", str(noise))
    exits = pk.FokkerPlanckProblem(model, domain=(None, 0), boundary=("natural", "absorbing")).exit_times()

    def level(x: float) -> float:
        return (x**4 / 4 - x**2 / 2) / (noise**2 / 2)

    def inner(y: float) -> float:
        return quad(lambda z: np.exp(-level(z)), -6, y, epsabs=1e-14, epsrel=1e-12)[0]

    exact = quad(lambda y: np.exp(level(y)) * inner(y), -1, 0, epsrel=1e-11)[0] / (noise**2 / 2)
    detail = f"mean time {exact:.6g}, barrier {0.5 / noise**2:.3g} kT, estimated {exits.error:.1e}"
    return at_most(
        f"double well, noise {noise:g}: mean time", abs(float(exits.mean([-1.0])) / exact - 1), MOST, detail=detail
    )
