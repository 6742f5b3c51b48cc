"""Simulated paths that tell a solver where the density is."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from pdekit.errors import InputError, NumericalError
from pdekit.fokker_planck.law import Samples
from pdekit.fokker_planck.settling import agree
from pdekit.fokker_planck.statement import Statement
from pdekit.sde import SDE
from pdekit.simulation import simulate

_PATHS, _FEW = 1000, 300
_BETWEEN = 8
_STEPS = 128
_ATTEMPTS, _QUICK = 5, 3  # steps that are tried, each a quarter of the last
_SHORTEST = 1e-12  # of the time asked for
_MOST = 8192  # steps of one run
_ALIKE, _SETTLED = 1.5, 1.15
_LOST = 1e9
_WIDTHS = (1.0, 0.3, 0.1)  # of a start that nobody gave


@dataclass(frozen=True, eq=False)
class Pilot:
    """Where paths were.

    Args:
        states: (n, d).
        complete: Whether they were followed for as long as was asked for, so that they saw all there is to see: none
            from one well may have come to another.
    """

    states: np.ndarray
    complete: bool


def pilot_paths(problem: Statement, times: np.ndarray | None) -> Pilot:
    """Paths at the start, at the output times and between; at equilibrium if there are no times.

    Raises:
        NumericalError: If paths explode.
    """
    generator = torch.Generator().manual_seed(0)
    sde = _inside(problem)
    if times is None:
        return Pilot(_settled(problem, sde, generator), complete=False)
    start = problem.law.sample(_PATHS, generator)
    _check_inside(problem, start.numpy())
    if isinstance(problem.law, Samples):  # all of them must find a place
        start = torch.cat([start, torch.as_tensor(problem.law.x)])[: 5 * _PATHS]
    grid = np.unique(np.concatenate([np.linspace(problem.t0, times[-1], _BETWEEN + 1)[1:], times]))
    grid = grid[grid > problem.t0]
    found = [start.numpy()]
    if len(grid):
        span, bounded = float(grid[-1] - problem.t0), _bounded(problem)
        if not bounded.any():
            found.append(_run(sde, start[:_PATHS], np.append(problem.t0, grid), span / _STEPS))
            return Pilot(np.concatenate(found), complete=True)
        short, dt = _stretch(sde, start, span, bounded)
        if short < span:
            found.append(_until_settled(sde, start[:_PATHS], short, dt, span))
            return Pilot(np.concatenate(found), complete=False)
        found.append(_run(sde, start[:_PATHS], np.concatenate([[problem.t0], grid]), dt))
    return Pilot(np.concatenate(found), complete=True)


def _stretch(sde: SDE, start: torch.Tensor, span: float, bounded: np.ndarray) -> tuple[float, float]:
    """The time over which paths can be followed in not too many steps, and a step: all of the span if possible.

    Raises:
        NumericalError: If there is none.
    """
    short = span
    while True:
        try:
            return short, _step(
                sde, start, short, bounded, _QUICK if sde.autonomous else _ATTEMPTS, sure=sde.autonomous
            )
        except NumericalError:
            if not sde.autonomous or short < _SHORTEST * span:
                raise
            short /= 4**_QUICK


def _until_settled(sde: SDE, start: torch.Tensor, duration: float, dt: float, span: float) -> np.ndarray:
    """States after ever longer times, until they no longer change, (n, d): what comes later is alike.

    Raises:
        NumericalError: If they still do after many steps.
    """
    state, done = torch.as_tensor(_run(sde, start, np.array([0.0, duration]), dt)), duration
    found = [state.numpy()]
    while done < span:
        duration = min(done, span - done)
        if duration > _MOST * dt:
            raise NumericalError(
                f"Simulated paths have not settled after a time of {done:.3g} in steps of {dt:.3g}: where they will be "
                f"after {span:.3g} is not known. Give Grid(window=...), or an earlier time."
            )
        before, state = state, torch.as_tensor(_run(sde, state, np.array([0.0, duration]), dt))
        found.append(state.numpy())
        done += duration
        if agree(before.numpy(), state.numpy()):
            break
    return np.concatenate(found)


def _check_inside(problem: Statement, x: np.ndarray) -> None:
    periodic = [problem.domain.periodic(i) for i in range(problem.sde.dim)]
    low = np.where(periodic, -np.inf, problem.domain.lower)
    high = np.where(periodic, np.inf, problem.domain.upper)
    inside = float(((x >= low) & (x <= high)).all(-1).mean())
    if inside < 1.0:
        raise InputError(
            f"The initial law has about {inside:.4g} of its mass in the domain, {problem.domain}. Widen domain=, or "
            "give a law inside it."
        )


def _inside(problem: Statement) -> SDE:
    """The equation with the problem's ends; periodic states run free."""
    ends = [
        (-np.inf, np.inf) if problem.domain.periodic(i) else (low, high)
        for i, (low, high) in enumerate(zip(problem.domain.lower, problem.domain.upper, strict=True))
    ]
    return replace(problem.sde, domain=tuple(ends))


def _run(sde: SDE, start: torch.Tensor, times: np.ndarray, dt: float) -> np.ndarray:
    with torch.no_grad():
        return simulate(sde, start, times, seed=0, dt=dt).values[1:].numpy().reshape(-1, sde.dim)


def _step(
    sde: SDE, start: torch.Tensor, span: float, bounded: np.ndarray, attempts: int = _ATTEMPTS, *, sure: bool = False
) -> float:
    """A step with which rough paths neither explode nor end elsewhere than with one four times as long.

    Raises:
        NumericalError: If there is none: if paths explode, or, to be `sure`, end elsewhere with every step.
    """
    before, last = None, None
    for attempt in range(attempts):
        dt = span / (_STEPS * 4**attempt)
        try:
            reach = _reach(_run(sde, start[:_FEW], np.array([0.0, span]), dt))[bounded]
        except NumericalError as cause:
            before, last = None, cause
            continue
        if before is not None and (np.maximum(reach, before) <= _ALIKE * np.minimum(reach, before)).all():
            return dt
        before = reach
    if before is None or sure:
        raise NumericalError(f"Simulated paths leave every bound: {last}") from last
    return dt


def _reach(x: np.ndarray) -> np.ndarray:
    """How far samples (n, d) are spread, (d,)."""
    return np.quantile(x, 0.98, axis=0) - np.quantile(x, 0.02, axis=0) + 1e-300


def _settled(problem: Statement, sde: SDE, generator: torch.Generator) -> np.ndarray:
    """Paths from a spread start over ever longer times, until their spread is steady."""
    state, bounded = _anywhere(problem, generator), _bounded(problem)
    if not bounded.any():
        return state.numpy()
    duration, before = 1.0, None
    state, dt = _begun(problem, sde, state, duration, bounded)
    while duration <= _MOST * dt:
        state = torch.as_tensor(_run(sde, state, np.array([0.0, duration]), dt))
        spread = _reach(state.numpy())[bounded]
        if (spread > _LOST).any():
            raise NumericalError("Simulated paths run away: the stationary law is not normalisable.")
        if before is not None and (np.maximum(spread / before, before / spread) < _SETTLED).all():
            break
        duration, before = 2 * duration, spread
    return state.numpy()


def _begun(
    problem: Statement, sde: SDE, state: torch.Tensor, duration: float, bounded: np.ndarray
) -> tuple[torch.Tensor, float]:
    """States, and a step for them: narrower ones if from some the drift is too steep for any step."""
    for width in _WIDTHS:
        narrow = state if width == 1 or problem.initial is not None else state.mean(0) + width * (state - state.mean(0))
        try:
            return narrow, _step(sde, narrow, duration, bounded)
        except NumericalError:
            if width == _WIDTHS[-1] or problem.initial is not None:
                raise
    raise NumericalError("Simulated paths leave every bound.")


def _bounded(problem: Statement) -> np.ndarray:
    """Which states are not periodic, (d,)."""
    return np.array([not problem.domain.periodic(i) for i in range(problem.sde.dim)])


def _anywhere(problem: Statement, generator: torch.Generator) -> torch.Tensor:
    if problem.initial is not None:
        return problem.law.sample(_PATHS, generator)
    low, high = np.array(problem.domain.lower), np.array(problem.domain.upper)
    noise = torch.randn(_PATHS, len(low), generator=generator, dtype=torch.float64)
    share = torch.rand(_PATHS, len(low), generator=generator, dtype=torch.float64)
    columns = []
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if np.isfinite(a) and np.isfinite(b):
            columns.append(a + (b - a) * (0.05 + 0.9 * share[:, i]))
        elif np.isfinite(a):
            columns.append(a + torch.exp(noise[:, i]))
        elif np.isfinite(b):
            columns.append(b - torch.exp(noise[:, i]))
        else:
            columns.append(noise[:, i])
    return torch.stack(columns, -1)


__all__ = ["Pilot", "pilot_paths"]
