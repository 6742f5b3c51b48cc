"""`ClosedForm`: laws that formulas give."""

from dataclasses import dataclass

import numpy as np

from pdekit.errors import UnsupportedError
from pdekit.fokker_planck import known_laws, linear_equation, linear_law
from pdekit.fokker_planck.gibbs import gibbs
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement

_NAMES = {1: "square-root process", 2: "geometric Brownian motion"}


@dataclass(frozen=True)
class ClosedForm(DensityMethod):
    """The exact law, where there is one; whether there is one is found from the coefficients.

    Over time, in any dimension: linear equations dX = (A(t) X + a(t)) dt + G(t) dW, from points, samples, normal laws
    and mixtures of them. For one state stated with symbols: geometric Brownian motion, from points, samples and
    log-normal laws, and the square-root process of Cox, Ingersoll and Ross, from points and samples.

    At equilibrium: stable linear equations, the square-root process, and Gibbs laws, p ~ exp(phi) with grad phi =
    D^-1 (f - div D), for one state always, for two or three where symbols prove that the current vanishes.

    Example:
        >>> import pdekit as pk
        >>> from pdekit.fokker_planck.closed_form import ClosedForm
        >>> kramers = pk.SymbolicSDE(["x", "v"], ["v", "-x - v/2"], [["0"], ["1"]])
        >>> problem = pk.FokkerPlanckProblem(kramers, initial=[1.0, 0.0])
        >>> problem.stationary(ClosedForm()).moments().covariance.round(12) + 0.0
        array([[1., 0.],
               [0., 1.]])
        >>> float(problem.solve([2.0], ClosedForm()).pdf(2.0, [0.0, 0.0]).round(decimals=6))
        0.202686
    """

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`.

        Raises:
            UnsupportedError: If no formula is known.
            NumericalError: If there is no density at one of the times.
        """
        linear = linear_equation.read_linear(problem, times)
        if linear is not None:
            densities = linear_law.moved(problem.law, linear, problem.t0, times)
            return DensitySolution(problem, repr(self), times, densities, {"law": "linear"})
        family = known_laws.read_family(problem)
        if family is None:
            raise UnsupportedError(
                "ClosedForm() knows the laws of linear equations with natural sides at infinity, and of geometric "
                "Brownian motion and the square-root process stated with symbols; this equation is none of them. Use "
                "Grid() in up to three dimensions, Score() in more."
            )
        laws = known_laws.moved(problem.law, family, problem.t0, times)
        return DensitySolution(problem, repr(self), times, laws, {"law": _NAMES[family.power]})

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`.

        Raises:
            UnsupportedError: If there is no stationary law, or no formula is known.
        """
        if not problem.sde.autonomous:
            raise UnsupportedError(
                "A stationary law needs an equation without explicit time: declare SDE(..., autonomous=True) if so."
            )
        linear = linear_equation.read_linear(problem, None)
        family = None if linear is not None else known_laws.read_family(problem)
        if linear is not None:
            name, density = "linear", linear_law.settled(linear)
        elif family is not None:
            name, density = _NAMES[family.power], known_laws.settled(family)
        else:
            name, density = "Gibbs", gibbs(problem)
        return DensitySolution(problem, repr(self), None, [density], {"law": name})


__all__ = ["ClosedForm"]
