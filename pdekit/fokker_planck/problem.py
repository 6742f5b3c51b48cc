"""`FokkerPlanckProblem`: stated once, solved by any method."""

from typing import Any

import numpy as np
import torch

from pdekit.errors import InputError
from pdekit.fokker_planck.grid.exits import ExitTimes
from pdekit.fokker_planck.grid.solver import Grid
from pdekit.fokker_planck.law import Point
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.proof import Proof, prove
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement


class FokkerPlanckProblem(Statement):
    """d_t p = -div(f p) + sum_ij d_i d_j (D_ij p) with D = G G^T / 2, for an equation dX = f dt + G dW.

    An equation in Stratonovich's sense is converted first: the two senses give different densities.

    Args:
        sde: The equation, an `SDE`, or a `SymbolicSDE` without free parameters.
        initial: The law at t0: a torch distribution, a point (d,), samples (n, d), or, for a `SymbolicSDE`, a density
            in its states as text or a SymPy expression, normalised or not. Not needed for the stationary law.
        t0: The start.
        domain: (lower, upper) of each state, None for no end; by default the equation's own.
        boundary: "natural", "reflecting", "absorbing" or "periodic", for all sides, or one for each state, or a pair
            (lower, upper) for each. Nothing passes a natural side: it is infinitely far away, or the process does not
            get there or is turned back.

    Raises:
        InputError: If these do not fit together.

    Example:
        >>> import torch, pdekit as pk
        >>> sde = pk.SymbolicSDE("x", "-x", "sqrt(2)")
        >>> problem = pk.FokkerPlanckProblem(sde, initial=torch.distributions.Normal(2.0, 0.5))
        >>> solution = problem.solve([0.5, 1.0])
        >>> round(float(solution.pdf(1.0, torch.tensor([0.0], dtype=torch.float64))), 4)
        0.3114
    """

    def solve(self, times: Any, method: DensityMethod = Grid()) -> DensitySolution:
        """The density at times.

        Args:
            times: A time or several, increasing, t0 or later.
            method: How.

        Raises:
            InputError: If times are not in order.
            UnsupportedError: If the method can't solve this problem; the message names one that can.
        """
        try:
            found = np.atleast_1d(np.asarray(times.detach().cpu() if isinstance(times, torch.Tensor) else times))
        except (TypeError, ValueError) as cause:
            raise InputError(f"times must be numbers, got {times!r}.") from cause
        if found.dtype.kind not in "iuf":  # neither words nor truth values
            raise InputError(f"times must be numbers, got {times!r}.")
        found = found.astype(float)
        if found.ndim != 1 or len(found) == 0 or not np.isfinite(found).all():
            raise InputError(f"times must be one number or a list of them, got {times!r}.")
        if (np.diff(found) <= 0).any() or found[0] < self.t0:
            raise InputError(f"times must increase, from t0 = {self.t0:g} on, got {found}.")
        if found[0] == self.t0 and isinstance(self.law, Point):
            raise InputError(f"At t0 = {self.t0:g} the law is a point, which has no density: ask for later times.")
        return _checked(method).solve(self, found)

    def stationary(self, method: DensityMethod = Grid()) -> DensitySolution:
        """The density that does not change; as `solve`."""
        return _checked(method).stationary(self)

    def exit_times(self, method: Grid = Grid()) -> ExitTimes:
        """The mean time until the process meets an absorbing side, and the rate of escape.

        Raises:
            InputError: If no side is absorbing.
            NumericalError: If the process does not get out from everywhere.

        Example:
            From the middle of (0, 1), Brownian motion dx = sqrt(2) dW gets out after x (1 - x) / 2 on average:

            >>> import pdekit as pk
            >>> sde = pk.SymbolicSDE("x", "0", "sqrt(2)")
            >>> exits = FokkerPlanckProblem(sde, domain=(0, 1), boundary="absorbing").exit_times()
            >>> round(float(exits.mean([0.5])), 8)
            0.125
        """
        if not isinstance(method, Grid):
            raise InputError(f"Exit times are found by Grid(...), got {method!r}.")
        return method.exit_times(self)

    def check(self, exact: Any) -> Proof:
        """Prove with symbols that a formula solves the problem: residual zero, mass one; see `prove`."""
        if self.model is None:
            raise InputError("check() needs a problem stated with a SymbolicSDE.")
        return prove(self.model, exact, self.domain)

    def __repr__(self) -> str:
        what = repr(self.model) if self.model is not None else f"SDE of {self.sde.dim} states"
        return f"FokkerPlanckProblem({what}, {self.domain}, t0={self.t0:g})"


def _checked(method: Any) -> DensityMethod:
    if not isinstance(method, DensityMethod):
        raise InputError(f"method must be an object such as Grid(), got {method!r}.")
    return method


__all__ = ["FokkerPlanckProblem"]
