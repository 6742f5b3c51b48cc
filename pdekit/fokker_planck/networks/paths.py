"""Paths of a problem: over time from its initial law, or at equilibrium."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.law import Samples
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.noise import AdditiveNoise
from pdekit.fokker_planck.networks.pathwise import Snapshot, follow
from pdekit.fokker_planck.statement import Statement

Tell = Callable[[float], None]

_PROBES = 100
_OFF = 8.0  # standard errors of Stein's identity


@dataclass(frozen=True, eq=False)
class Paths:
    """Simulated paths and what they were simulated with.

    Args:
        drift: Of the equation.
        noise: Of the equation.
        snapshots: Increasing in time; at equilibrium a single one at t0.
        span: The time from the start to the last snapshot; at equilibrium, in which the start is forgotten.
    """

    drift: Drift
    noise: AdditiveNoise
    snapshots: list[Snapshot]
    span: float

    def at(self, t: float) -> Snapshot:
        """The snapshot at a time."""
        return min(self.snapshots, key=lambda s: abs(s.t - t))


def check_problem(problem: Statement, times: np.ndarray | None, method: str) -> None:
    """Refuse what networks on R^d can't do.

    Raises:
        UnsupportedError: If there are sides.
        InputError: If the law at the start is asked for.
    """
    domain = problem.domain
    if any(np.isfinite(end) for end in (*domain.lower, *domain.upper)):
        raise UnsupportedError(
            f"{method}() takes states without ends, these have some: {domain}. Use Grid() in up to three dimensions, "
            "MonteCarlo(), or a coordinate without ends, such as a logarithm."
        )
    if times is None and not problem.sde.autonomous:
        raise UnsupportedError(
            "A stationary law needs an equation without explicit time: declare SDE(..., autonomous=True) if so."
        )
    if times is not None and times[0] <= problem.t0:
        raise InputError(
            f"{method}() finds the law after the start, t0 = {problem.t0:g}, where it is given: ask for later."
        )


def transient_paths(
    problem: Statement, times: np.ndarray, snapshots: int, count: int, generator: torch.Generator, tell: Tell
) -> Paths:
    """Paths from the initial law, with snapshots at times and between."""
    drift, noise = _equation(problem)
    grid = np.linspace(problem.t0, times[-1], snapshots + 1)
    spacing = grid[1] - grid[0]
    between = [t for t in grid[1:] if np.abs(times - t).min() > 0.25 * spacing]
    every = np.concatenate([[problem.t0], np.sort(np.concatenate([between, times]))])
    found = follow(drift, noise, problem.law, every, count, generator, tell)
    return Paths(drift, noise, _checked(found), float(times[-1] - problem.t0))


def settled_paths(problem: Statement, snapshots: int, count: int, generator: torch.Generator, tell: Tell) -> Paths:
    """States at equilibrium, one from each path at each of several times.

    Raises:
        NumericalError: If paths do not forget their start.
    """
    drift, noise = _equation(problem)
    states, duration = MonteCarlo(seed=generator.initial_seed() % 2**62).settled(problem)
    start = states.numpy()
    times = problem.t0 + np.concatenate([[0.0], duration * np.linspace(1.0, 2.0, snapshots)])
    found = follow(drift, noise, Samples(start), times, count, generator, tell)
    dim = start.shape[1]
    # States of one path stay together: rows that are held back later are then of other paths.
    x, s = (torch.stack([getattr(f, name) for f in found], 1).reshape(-1, dim) for name in ("x", "s"))
    return Paths(drift, noise, _checked([Snapshot(problem.t0, x, s)]), duration)


def _equation(problem: Statement) -> tuple[Drift, AdditiveNoise]:
    probes = problem.law.sample(_PROBES, torch.Generator().manual_seed(0)) if problem.initial is not None else None
    if probes is None or len(torch.unique(probes, dim=0)) < 2:
        spread = torch.randn(_PROBES, problem.sde.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        probes = spread if probes is None else probes + spread
    return Drift.of(problem), AdditiveNoise(problem, probes)


def _checked(found: list[Snapshot]) -> list[Snapshot]:
    worst = max(snapshot.stein() for snapshot in found)
    if worst > _OFF:
        raise NumericalError(
            f"Scores along paths miss Stein's identity by {worst:.1f} standard errors: the drift changes too fast for "
            "the steps. Use Grid() in up to three dimensions, or MonteCarlo()."
        )
    return found


__all__ = ["Paths", "check_problem", "settled_paths", "transient_paths"]
