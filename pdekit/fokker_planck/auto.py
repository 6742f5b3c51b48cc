"""`Auto`: a method that fits the problem."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.closed_form import ClosedForm
from pdekit.fokker_planck.grid.solver import Grid
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.networks.paths import additive_noise
from pdekit.fokker_planck.networks.residual import Residual
from pdekit.fokker_planck.networks.score import Score
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement
from pdekit.training import Progress

_GRID = 3  # dimensions
_GOOD = 0.05  # relative L2 error
_COMPONENTS, _STEPS = 8, 100  # of the mixture that is tried


@dataclass(frozen=True)
class Auto(DensityMethod):
    """The first method that solves the problem; the solution's notes say which, and why not another.

    A closed form if there is one; a grid in up to three dimensions; above, a mixture of normal laws that moves with the
    equation if it arrives within 100 steps and its measured error is at most 5 percent, otherwise a learned score; and
    simulated paths where nothing else is left, as where states have ends.

    Args:
        seed: Of everything random.
        progress: Called with what is done and the share of it.

    Example:
        >>> import pdekit as pk
        >>> sde = pk.SymbolicSDE("x", "x - x**3", "1")
        >>> found = pk.FokkerPlanckProblem(sde, initial=[0.5]).solve([1.0], pk.Auto())
        >>> found.method[:4], found.notes["not taken"][:18]
        ('Grid', 'ClosedForm() knows')
    """

    seed: int = 0
    progress: Progress | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        Score(seed=self.seed, progress=self.progress)  # which says what is wrong with them

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`; raises what the last method raises."""
        return self._first(problem, times)

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`; raises what the last method raises."""
        return self._first(problem, None)

    def _first(self, problem: Statement, times: np.ndarray | None) -> DensitySolution:
        left: list[str] = []
        last: Exception | None = None
        later = times is None or times[0] > problem.t0  # learned densities are of times after the start
        for method in self._candidates(problem, later):
            try:
                with warnings.catch_warnings():
                    if isinstance(method, Residual):
                        warnings.simplefilter("ignore")  # it is tried only, and left if it is not good
                    found = method.stationary(problem) if times is None else method.solve(problem, times)
            except (UnsupportedError, NumericalError) as cause:
                left.append(str(cause))
                last = cause
                continue
            if isinstance(method, Residual) and not (found.error_estimate <= _GOOD).all():
                left.append(f"{method!r} is off by {found.notes.get('log p off by', 'an unknown amount')}.")
                continue
            return replace(found, notes=found.notes | ({"not taken": " ".join(left)} if left else {}))
        raise last or UnsupportedError("No method is left.")

    def _candidates(self, problem: Statement, later: bool) -> Iterator[DensityMethod]:
        yield ClosedForm()
        if problem.sde.dim <= _GRID:
            yield Grid(progress=self.progress)
        elif later and not any(np.isfinite(end) for end in (*problem.domain.lower, *problem.domain.upper)):
            # Without its error, which needs the density at the start, nobody knows what the mixture is worth.
            if problem.initial is None or problem.law.has_density:
                yield Residual(components=_COMPONENTS, most=_STEPS, seed=self.seed, progress=self.progress)
            yield self._score(problem)
        yield MonteCarlo(seed=self.seed)

    def _score(self, problem: Statement) -> Score:
        try:
            additive_noise(problem)
        except UnsupportedError:
            return Score(targets="implicit", seed=self.seed, progress=self.progress)
        return Score(seed=self.seed, progress=self.progress)


__all__ = ["Auto"]
