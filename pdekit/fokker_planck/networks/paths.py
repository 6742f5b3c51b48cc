"""Paths of a problem: over time from its initial law, or at equilibrium."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.law import Samples
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.networks.drift import Drift
from pdekit.fokker_planck.networks.noise import AdditiveNoise, definite
from pdekit.fokker_planck.networks.pathwise import Cloud, Snapshot, first_score, follow
from pdekit.fokker_planck.statement import Statement
from pdekit.operators.convention import to_ito
from pdekit.sde import SDE

Tell = Callable[[float], None]
Targets = Literal["pathwise", "implicit", "denoising"]

_PROBES = 100
_FEWEST = 1000
_EARLY = 4  # snapshots between the start and the first of the others
_LAST = 0.05  # of denoising, the last step: times the greatest rate of the drift
_OFF = 8.0  # standard errors of Stein's identity


@dataclass(frozen=True, eq=False)
class Paths:
    """Simulated paths and what they were simulated with.

    Args:
        drift: Of the equation.
        snapshots: Increasing in time; at equilibrium a single one at t0.
        span: The time from the start to the last snapshot; at equilibrium, in which the start is forgotten.
    """

    drift: Drift
    snapshots: Sequence[Cloud]
    span: float

    def at(self, t: float) -> Cloud:
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
    """Paths from the initial law, with snapshots at times and between, and at the start if it has a density."""
    drift, noise = Drift.of(problem), additive_noise(problem)
    found = follow(drift, noise, problem.law, _every(problem, times, snapshots), count, generator, tell)
    found = _from_start(problem, _checked(found), generator.initial_seed() + 1)
    return Paths(drift, found, float(times[-1] - problem.t0))


def settled_paths(problem: Statement, snapshots: int, count: int, generator: torch.Generator, tell: Tell) -> Paths:
    """States at equilibrium, one from each path at each of several times.

    Raises:
        NumericalError: If paths do not forget their start.
    """
    drift, noise = Drift.of(problem), additive_noise(problem)
    states, duration = MonteCarlo(seed=generator.initial_seed() % 2**62).settled(problem)
    start = states.numpy()
    times = problem.t0 + np.concatenate([[0.0], duration * np.linspace(1.0, 2.0, snapshots)])
    found = follow(drift, noise, Samples(start), times, count, generator, tell)
    dim = start.shape[1]
    # States of one path stay together: rows that are held back later are then of other paths.
    x, s = (torch.stack([getattr(f, name) for f in _checked(found)], 1).reshape(-1, dim) for name in ("x", "s"))
    return Paths(drift, [Snapshot(problem.t0, x, s)], duration)


def simulated_paths(
    problem: Statement,
    times: np.ndarray | None,
    targets: Targets,
    options: tuple[int, int, int],
    device: str,
    tell: Tell,
) -> Paths:
    """Paths of any noise, without scores, or with those of a last step: see `Score`.

    Args:
        problem: With its equation.
        times: When, or None at equilibrium.
        targets: "implicit" or "denoising".
        options: Paths, snapshots and the seed.
        device: Where the states go.
        tell: Progress.
    """
    count, snapshots, seed = options
    tell(0.0)
    drift = Drift.of(problem)
    if times is None:
        states, span = MonteCarlo(count * snapshots, seed=seed).equilibrium(problem)
        every, clouds = np.array([problem.t0]), [states]
        step = _LAST / max(drift.stiffness(problem.t0, torch.as_tensor(states)), 1 / span)
        before = every
    else:
        every, span = _every(problem, times, snapshots)[1:], float(times[-1] - problem.t0)
        probe = MonteCarlo(_FEWEST, seed=seed).simulated(problem, times[-1:])[0]
        rate = drift.stiffness(float(times[-1]), torch.as_tensor(probe))
        step = min(_LAST / max(rate, 1 / span), 0.5 * float(np.diff(every, prepend=problem.t0).min()))
        before = every - step if targets == "denoising" else every
        clouds = MonteCarlo(count, seed=seed).simulated(problem, before)
    tell(1.0)
    found = [Cloud(float(t), torch.as_tensor(x)) for t, x in zip(every, clouds, strict=True)]
    if targets == "denoising":
        generator = torch.Generator().manual_seed(seed)
        found = [
            stepped(problem.sde, float(a), cloud.x, float(b - a) if times is not None else step, generator)
            for a, b, cloud in zip(before, every, found, strict=True)
        ]
    if times is not None:
        found = _from_start(problem, found, seed + 1)
    return Paths(drift, [cloud.to(device) for cloud in found], span)


def stepped(sde: SDE, t: float, x: Tensor, h: float, generator: torch.Generator) -> Snapshot:
    """A step of Euler and Maruyama from states (n, d), y = x + f h + xi, with scores -N^-1 xi, N = G G^T h.

    Raises:
        UnsupportedError: If N is singular.
    """
    ito = to_ito(sde)
    with torch.no_grad():
        f, g = ito.drift(t, x), ito.diffusion(t, x)
    g = (torch.diag_embed(g) if ito.noise_type == "diagonal" else g) * h**0.5
    n = g @ g.mT
    if not definite(n):
        raise UnsupportedError('Score(targets="denoising") needs noise in every state: use targets="implicit".')
    xi = (g @ torch.randn(*g.shape[:-2], g.shape[-1], 1, generator=generator, dtype=x.dtype))[..., 0]
    return Snapshot(t + h, x + f * h + xi, -torch.linalg.solve(n, xi))


def _from_start(problem: Statement, found: Sequence[Cloud], seed: int) -> Sequence[Cloud]:
    """With the start before them if it has a density: otherwise what they tell is extrapolated to it."""
    if not problem.law.has_density:
        return found
    like = found[0].x
    x = problem.law.sample(len(like), torch.Generator().manual_seed(seed))
    if not isinstance(found[0], Snapshot):
        return [Cloud(problem.t0, x.to(like)), *found]
    return [Snapshot(problem.t0, x.to(like), first_score(problem.law, x)[0].to(like)), *found]


def _every(problem: Statement, times: np.ndarray, snapshots: int) -> np.ndarray:
    """The start, the times, and others between: close together after a start with a density, which may be narrow."""
    t0 = problem.t0
    grid = np.linspace(t0, times[-1], snapshots + 1)
    spacing = grid[1] - grid[0]
    between = [t for t in grid[1:] if np.abs(times - t).min() > 0.25 * spacing]
    later = np.sort(np.concatenate([between, times]))
    early = t0 + (later[0] - t0) / 2.0 ** np.arange(_EARLY, 0, -1) if problem.law.has_density else []
    return np.concatenate([[t0], early, later])


def additive_noise(problem: Statement) -> AdditiveNoise:
    """The noise of an equation, refused if it depends on the state."""
    generator = torch.Generator().manual_seed(0)
    probes = problem.law.sample(_PROBES, generator) if problem.initial is not None else None
    if probes is None or len(torch.unique(probes, dim=0)) < 2:
        spread = torch.randn(_PROBES, problem.sde.dim, generator=generator, dtype=torch.float64)
        probes = spread if probes is None else probes + spread
    return AdditiveNoise(problem, probes)


def _checked(found: list[Snapshot]) -> list[Snapshot]:
    worst = max(snapshot.stein() for snapshot in found)
    if worst > _OFF:
        raise NumericalError(
            f"Scores along paths miss Stein's identity by {worst:.1f} standard errors: the drift changes too fast for "
            "the steps. Use Grid() in up to three dimensions, or MonteCarlo()."
        )
    return found


__all__ = ["Paths", "Targets", "additive_noise", "check_problem", "settled_paths", "simulated_paths", "transient_paths"]
