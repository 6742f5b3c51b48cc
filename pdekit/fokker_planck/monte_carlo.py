"""`MonteCarlo`: simulated paths, in any dimension, with standard errors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.kernel import KernelDensity, batches
from pdekit.fokker_planck.method import DensityMethod
from pdekit.fokker_planck.pilot import pilot_paths
from pdekit.fokker_planck.settling import agree, forgotten
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement
from pdekit.fokker_planck.time_step import unbiased_step
from pdekit.sde import SDE
from pdekit.seeds import check_seed
from pdekit.simulation import simulate

_FEWEST = 1000
_SCOUTS = 4000  # paths that look for the time after which the start is forgotten
_PILOT = 256
_SNAPSHOTS = 16  # of each path at equilibrium
_OVERSHOOT = 0.5825971579390107  # -zeta(1/2) / sqrt(2 pi)
_FIRST_RUN = 0.25


@dataclass(frozen=True)
class MonteCarlo(DensityMethod):
    """Paths of the equation; a density by kernels in one to three dimensions, moments and expectations in any.

    At absorbing sides paths stop; since they are watched at steps only, each side is moved inwards by 0.5826 standard
    deviations of a step, which leaves an error of the order of the step.

    Args:
        paths: How many; for a stationary law how many states, 16 from each path.
        dt: The longest step; by default a pilot finds one, see `simulate`, and `solve` tries it on a quarter of the
            paths, or on all where some are absorbed: as long as a step eight times as long gives other moments, or
            leaves another mass, it takes an eighth of it, twice at most, and warns if that is not enough. The
            solution's notes tell the step.
        seed: Of starts and noise.
        bandwidth: Of the kernels, in standard deviations of the states; by default chosen by the estimated error.
        longest: For a stationary law, the longest time that paths are given to forget their start.

    Raises:
        InputError: If an option makes no sense.

    Source: M. Broadie, P. Glasserman, S. Kou, Mathematical Finance 7 (1997) 325-349, for the absorbing sides.

    Example:
        >>> import pdekit as pk
        >>> from pdekit.fokker_planck.monte_carlo import MonteCarlo
        >>> problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "-x", "1"), initial=[1.0])
        >>> found = problem.solve([1.0], MonteCarlo(paths=2000)).at(1.0)
        >>> bool(abs(found.moments().mean - 0.3679) < 4 * found.moments_stderr().mean)
        True
    """

    paths: int = 100_000
    dt: float | None = None
    seed: int = 0
    bandwidth: float | None = None
    longest: float = 256.0

    def __post_init__(self) -> None:
        if not (isinstance(self.paths, int) and self.paths >= _FEWEST):
            raise InputError(f"paths must be a whole number of at least {_FEWEST}, got {self.paths!r}.")
        for name in ("dt", "bandwidth"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} must be a positive number, got {value!r}.")
        check_seed(self.seed)
        if not 0 < self.longest < np.inf:
            raise InputError(f"longest must be a positive number, got {self.longest!r}.")

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`.

        Raises:
            UnsupportedError: If some sides absorb and others reflect.
            NumericalError: If paths explode, or too few are left.
        """
        _check_sides(problem)
        dt = self._step(problem, times) if self.dt is None and times[-1] > problem.t0 else self.dt
        states = replace(self, dt=dt).simulated(problem, times)
        notes = {} if dt is None else {"dt": f"{dt:.3g}"}
        return DensitySolution(problem, repr(self), times, [self._density(problem, x) for x in states], notes)

    def _step(self, problem: Statement, times: np.ndarray) -> float:
        """The pilot's step, or a part of it: see `unbiased_step`."""
        conserves = problem.domain.conserves
        # All of them where some are absorbed: the error may then fall with the root of the step only.
        paths = max(self.paths // 4, _FEWEST) if conserves else self.paths
        begin = problem.law.sample(_PILOT, torch.Generator().manual_seed(0))
        when = np.concatenate([[problem.t0], times[times > problem.t0]])
        rule = "reflect" if conserves else "absorb"
        pilot = simulate(_confined(problem), begin, when, seed=self._seed(2), boundary=rule)

        def run(dt: float, seed: int) -> list[np.ndarray] | None:
            try:
                return replace(self, paths=paths, seed=self._seed(3 + seed), dt=dt).simulated(problem, times)
            except NumericalError:
                return None

        return unbiased_step(run, float(pilot.dt))

    def simulated(self, problem: Statement, times: np.ndarray) -> list[np.ndarray]:
        """States (n, d) at each of the times; those that were absorbed are NaN. Raises as `solve`."""
        _check_sides(problem)
        start = problem.law.sample(self.paths, torch.Generator().manual_seed(self._seed(0)))
        later = times[times > problem.t0]
        states = [start.numpy()] * (len(times) - len(later))
        if len(later):
            states += self._run(problem, start, np.concatenate([[problem.t0], later]), self._seed(1))
        return states

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`.

        Raises:
            UnsupportedError: If the equation has explicit time, or an absorbing side.
            NumericalError: If paths do not forget their start, or go on spreading.
        """
        if not problem.sde.autonomous:
            raise UnsupportedError(
                "A stationary law needs an equation without explicit time: declare SDE(..., autonomous=True) if so."
            )
        if not problem.domain.conserves:
            raise UnsupportedError("With an absorbing side nothing is left in the end: there is no stationary law.")
        states, time = self.equilibrium(problem)
        density = self._density(problem, states)
        return DensitySolution(problem, repr(self), None, [density], {"settled after": f"{time:g}"})

    def _seed(self, k: int) -> int:
        """The k-th of independent seeds: noise that is used twice would be no noise."""
        return int(np.random.SeedSequence((self.seed, k)).generate_state(1, np.uint64)[0] >> 2)

    def equilibrium(self, problem: Statement) -> tuple[np.ndarray, float]:
        """States (n, d) at equilibrium, and the time after which the start is forgotten; raises as `settled`."""
        state, time = self.settled(problem)
        runs = -(-self.paths // _SNAPSHOTS)
        when = np.concatenate([[0.0], time * np.linspace(1.0, 2.0, _SNAPSHOTS)])
        found = self._run(problem, _repeated(state, runs, self._seed(1)), when, self._seed(2))
        # States of one path are not independent: they stay together, in one batch.
        return np.stack(found, 1).reshape(-1, problem.sde.dim), time

    def settled(self, problem: Statement) -> tuple[Tensor, float]:
        """States (4000, d) after a time in which paths forget where they were, and this time.

        Runs are made twice as long as the one before until two things hold: paths that began low and high in any state
        have the same law at the end of a run, and so have all paths at its middle and at its end.

        Raises:
            NumericalError: If that takes longer than `longest`.
        """
        known = _wrapped(problem, torch.as_tensor(pilot_paths(problem, None).states))
        duration, state, run = _FIRST_RUN, _repeated(known, _SCOUTS, self._seed(0)), 3
        while duration <= self.longest:
            halves = self._run(problem, state, np.array([0.0, duration / 2, duration]), self._seed(run))
            middle, end = halves
            if forgotten(state.numpy(), end) and agree(middle, end):
                return torch.as_tensor(end), duration
            duration, state, run = 2 * duration, torch.as_tensor(end), run + 1
        raise NumericalError(
            f"Paths do not settle within a time of {self.longest:g}: they go on spreading, so that there is no "
            "stationary law, or they stay near where they began. If they only need more time, give longest=."
        )

    def _run(self, problem: Statement, start: Tensor, times: np.ndarray, seed: int) -> list[np.ndarray]:
        """States (n, d) at all times but the first; those that were absorbed are NaN."""
        sde, rule, absorbing = _confined(problem), "reflect", not problem.domain.conserves
        dt = self.dt
        if absorbing:
            rule = "absorb"
            if dt is None:
                few = start[np.linspace(0, len(start) - 1, _PILOT).astype(int)]
                dt = simulate(sde, few, times, seed=seed, boundary=rule).dt
            sde = _tightened(sde, problem, dt, times)
            low, high = torch.tensor(sde.domain, dtype=torch.float64).T
            start = start.clamp(low, high)
        with torch.no_grad():
            values = simulate(sde, start, times, seed=seed, dt=dt, boundary=rule).values[1:]
        values = _wrapped(problem, values)
        if absorbing:
            low, high = torch.tensor(sde.domain, dtype=torch.float64).T
            gone = ((values <= low) | (values >= high)).any(-1, keepdim=True)
            values = torch.where(gone, torch.nan, values)
        return list(values.numpy())

    def _density(self, problem: Statement, states: np.ndarray) -> KernelDensity:
        left = ~np.isnan(states).any(-1)
        return KernelDensity(states[left], batches(len(states))[left], len(states), problem.domain, self.bandwidth)


def _check_sides(problem: Statement) -> None:
    domain = problem.domain
    kinds = {
        side
        for low, high, sides in zip(domain.lower, domain.upper, domain.sides, strict=True)
        for end, side in zip((low, high), sides, strict=True)
        if np.isfinite(end) and side != "periodic"
    }
    if "absorbing" in kinds and len(kinds) > 1:
        raise UnsupportedError(
            f"MonteCarlo() takes one rule for all finite sides, these absorb and turn back: {domain}. Use Grid()."
        )


def _confined(problem: Statement) -> SDE:
    """The equation with the problem's ends; periodic states run free, with coefficients that are repeated."""
    sde, domain = problem.sde, problem.domain
    periodic = [domain.periodic(i) for i in range(sde.dim)]
    ends = [
        (-np.inf, np.inf) if wrapped else (low, high)
        for wrapped, low, high in zip(periodic, domain.lower, domain.upper, strict=True)
    ]
    if not any(periodic):
        return replace(sde, domain=tuple(ends))
    drift, diffusion = sde.drift, sde.diffusion
    return replace(
        sde,
        domain=tuple(ends),
        drift=lambda t, x: drift(t, _wrapped(problem, x)),
        diffusion=lambda t, x: diffusion(t, _wrapped(problem, x)),
    )


def _wrapped(problem: Statement, x: Tensor) -> Tensor:
    """Periodic states moved into their domain."""
    domain = problem.domain
    if not any(domain.periodic(i) for i in range(domain.dim)):
        return x
    parts = [
        domain.lower[i] + torch.remainder(x[..., i] - domain.lower[i], domain.upper[i] - domain.lower[i])
        if domain.periodic(i)
        else x[..., i]
        for i in range(domain.dim)
    ]
    return torch.stack(parts, -1)


def _tightened(sde: SDE, problem: Statement, dt: float, times: np.ndarray) -> SDE:
    """The equation with its ends moved inwards, by what a path at an end overshoots in a step on average."""
    steps = np.ceil(np.diff(times) / dt - 1e-9)
    longest = float(np.max(np.diff(times) / np.maximum(steps, 1)))
    middle = torch.tensor(
        [0.0 if not np.isfinite(a + b) else 0.5 * (a + b) for a, b in sde.domain], dtype=torch.float64
    )
    ends = []
    for i, pair in enumerate(sde.domain):
        found = list(pair)
        for k, end in enumerate(pair):
            if np.isfinite(end):
                x = torch.where(torch.isfinite(middle), middle, 0.0).clone()
                x[i] = end
                with torch.no_grad():
                    g = sde.diffusion(problem.t0, x[None]).double()
                size = g[0, i].abs() if sde.noise_type == "diagonal" else g[0, i].norm()
                found[k] = end + (1 if k == 0 else -1) * _OVERSHOOT * float(size) * longest**0.5
        if not found[0] < found[1]:
            raise NumericalError(
                f"The step {longest:.3g} is too long for the domain {problem.domain}: give a smaller dt=."
            )
        ends.append(tuple(found))
    return replace(sde, domain=tuple(ends))


def _repeated(x: Tensor, n: int, seed: int) -> Tensor:
    return x[torch.randint(len(x), (n,), generator=torch.Generator().manual_seed(seed))]


__all__ = ["MonteCarlo"]
