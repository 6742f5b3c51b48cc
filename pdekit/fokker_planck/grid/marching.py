"""Masses of nodes from the start of a problem to each of the times that were asked for."""

import numpy as np

from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.evolution import Evolution, through
from pdekit.fokker_planck.grid.progress import Tell, silent
from pdekit.fokker_planck.grid.refinement import Masses
from pdekit.fokker_planck.grid.starting import start
from pdekit.fokker_planck.statement import Statement

_ON_THE_WAY = 8  # steps of a search for what has to be covered


def marched(
    problem: Statement, grid: Discretisation, times: np.ndarray, steps: int, tell: Tell = silent
) -> list[Masses]:
    """Columns of masses (N, c) with their weights, at each time.

    Args:
        problem: The problem.
        grid: The grid.
        times: Increasing, none before the start.
        steps: From the start to the last time, where coefficients depend on time.
        tell: Is told how far this is.
    """
    begun = start(grid, problem.law)
    masses, t = begun.masses, problem.t0
    rates, longest = grid.rates(t), float(times[-1] - problem.t0)
    found = []
    for end in map(float, times):
        if end > t:
            within = _within(tell, (t - problem.t0) / longest, (end - t) / longest)
            if problem.sde.autonomous:
                masses = Evolution(rates, grid.dim, tell=within)(masses, end - t)
            else:
                share = max(1, round(steps * (end - t) / longest))
                masses = through(grid.rates, grid.dim, masses, t, end, share, within)
            t = end
        found.append(Masses(masses, begun.weights, rates.positive, begun.smooth, begun.least))
    tell(1.0)
    return found


def _within(tell: Tell, done: float, part: float) -> Tell:
    """Shares of one part of something as shares of the whole."""
    return lambda share: tell(done + part * min(share, 1.0))


def on_the_way(problem: Statement, grid: Discretisation, end: float) -> list[Masses]:
    """Masses from the start to the end, for what a grid has to cover."""
    times = np.linspace(problem.t0, end, _ON_THE_WAY + 1)
    return marched(problem, grid, times, steps=_ON_THE_WAY)


__all__ = ["marched", "on_the_way"]
