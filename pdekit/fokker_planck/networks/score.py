"""`Score`: the score learned from paths, and the density from it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, UnsupportedError
from pdekit.fokker_planck.networks.backward import initial_density, measured
from pdekit.fokker_planck.networks.flow_density import FlowDensity, ProbabilityFlow
from pdekit.fokker_planck.networks.mixture import MovingMixture, chosen, followed
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.networks.paths import (
    Paths,
    Targets,
    additive_noise,
    check_problem,
    settled_paths,
    simulated_paths,
    transient_paths,
)
from pdekit.fokker_planck.networks.potential_density import PotentialDensity, normalised
from pdekit.fokker_planck.networks.regression import HELD, Kind, network, noise_scaled, regressed, standardised
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement

_LAST = 1000  # of the paths that were held back: among them the density is compared


@dataclass(frozen=True, repr=False)
class Score(LearningMethod):
    """Scores s = grad log p by regression on unbiased values along simulated paths; then log p.

    Every path carries an S_t with E[S_t | X_t] = grad log p_t(X_t), see `pathwise`; the network that is nearest to S on
    average is the score. A mixture of normal laws that follows the paths is corrected by a scalar network u, p ~ q
    exp(u), so that p is positive and has a mass, which is made one by sampling. The density is then compared with the
    Fokker-Planck residual summed along paths that run backwards, which gives the true one with a standard error: that
    is the error that the solution tells.

    Args:
        paths: How many.
        snapshots: Times at which the network looks at them, besides those that are asked for.
        hidden: Units of the network's layers.
        components: The most components that the mixture may have; paths that were held back choose how many.
        training: How it is trained.
        seed: Of everything random.
        device: Where: "cpu" or "cuda".
        progress: Called with what is done and the share of it.
        targets: "pathwise"; "implicit", Hyvarinen's, which needs states only and takes noise that depends on them; or
            "denoising", the scores of a last short step, which are true but scatter widely.
        network: "potential", a scalar network; or the score itself as a field, "mlp" or "hollow", whose density comes
            by the probability flow, without an estimate of its error.
        check: Whether the error is measured, which takes about as long as the simulation.

    Raises:
        InputError: If an option makes no sense.

    Example:
        >>> import pdekit as pk
        >>> from pdekit.fokker_planck import Score, Training
        >>> force = ["x - x*(x**2 + y**2) - y", "y - y*(x**2 + y**2) + x"]
        >>> spiral = pk.SymbolicSDE(["x", "y"], force, [["1", "0"], ["0", "1"]])
        >>> method = Score(paths=2000, hidden=(16,), training=Training(steps=50), check=False)
        >>> solution = pk.FokkerPlanckProblem(spiral, initial=[1.0, 0.0]).solve([1.0], method)
        >>> bool(0.95 < solution.mass[0] < 1.05)
        True
    """

    targets: Targets = "pathwise"
    network: Kind = "potential"
    check: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("network", get_args(Kind)), ("targets", get_args(Targets))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {known}, got {getattr(self, name)!r}.")
        if self.targets != "pathwise" and self.network != "potential":
            raise InputError(f'Score(targets="{self.targets}") learns a density itself: leave network="potential".')

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`.

        Raises:
            UnsupportedError: If the problem has sides; with pathwise targets, if noise depends on the state.
            NumericalError: If paths explode, or the training diverges.
        """
        check_problem(problem, times, "Score")
        if self.network != "potential":
            _check_start(problem, self.network)
        paths = self._paths(problem, times)
        mixture = followed(paths.snapshots, self.seed, self.components)
        coordinates = (
            noise_scaled(paths.snapshots, additive_noise(problem))
            if self.network == "hollow"
            else standardised(paths.snapshots)
        )
        net = network(self.network, problem.sde.dim, self.hidden, True, self.seed)
        model, loss = regressed(self, net, paths.snapshots, mixture, coordinates)
        notes = {"mixture of": len(mixture.mixtures[-1].weights), "loss": loss}
        if self.network != "potential":
            flow = ProbabilityFlow(paths.drift, additive_noise(problem), model)
            flows = [
                FlowDensity(flow, problem.law, problem.t0, float(t), _numbers(paths.at(t).x)).checked() for t in times
            ]
            return DensitySolution(problem, repr(self), times, flows, notes)
        densities = []
        for t in times:
            density = normalised(model, float(t), paths.at(t).x, self._generator(2))
            if self.check and problem.law.has_density:
                density = self._checked(problem, density, initial_density(problem), float(t), settled=False)
            densities.append(density)
        self._warn([d.error for d in densities if d.deviation is not None])
        return DensitySolution(problem, repr(self), times, densities, notes | _told(densities))

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`; raises as `solve`, and if paths do not settle."""
        check_problem(problem, None, "Score")
        if self.network != "potential":
            raise UnsupportedError('A stationary law has no flow that leads to it: use Score(network="potential").')
        paths = self._paths(problem, None)
        snapshot = paths.snapshots[0]
        mixture = MovingMixture((chosen(snapshot, self.seed, self.components),))
        net = network("potential", problem.sde.dim, self.hidden, False, self.seed)
        model, loss = regressed(self, net, paths.snapshots, mixture, standardised(paths.snapshots))
        density = normalised(model, snapshot.t, snapshot.x, self._generator(2))
        if self.check:
            density = self._checked(problem, density, density.log_at, problem.t0 + paths.span, settled=True)
        self._warn([density.error] if density.deviation is not None else [])
        notes = {"mixture of": len(mixture.mixtures[-1].weights), "loss": loss} | _told([density])
        return DensitySolution(problem, repr(self), None, [density], notes)

    def _held(self, paths: np.ndarray) -> np.ndarray:
        """Some that had no part in the training, of many paths: at equilibrium the states of one stand together."""
        rows = np.linspace(len(paths) * (1 - HELD), len(paths) - 1, _LAST).astype(int)
        return paths[np.unique(rows)]

    def _paths(self, problem: Statement, times: np.ndarray | None) -> Paths:
        if self.targets != "pathwise":
            options = (self.paths, self.snapshots, self.seed)
            return simulated_paths(problem, times, self.targets, options, self.device, self._tell)
        if times is None:
            return settled_paths(problem, self.snapshots, self.paths, self._generator(1), self._tell)
        return transient_paths(problem, times, self.snapshots, self.paths, self._generator(1), self._tell)

    def _checked(
        self,
        problem: Statement,
        density: PotentialDensity,
        start: Callable[[Tensor], Tensor],
        end: float,
        settled: bool,
    ) -> PotentialDensity:
        """With its deviation at some of the paths that were held back."""
        held = torch.as_tensor(self._held(density.paths)).to(density.weights)
        first = held if settled else problem.law.sample(_LAST, torch.Generator().manual_seed(0))
        exact = density.doubled()  # the operators compare derivatives in time with differences of these values
        if self.progress is not None:
            self.progress("measuring the error", 0.0)
        ends, states = (problem.t0, end), (first.to(held), held)
        knots = density.model.times.known
        found = measured(problem, exact.log_density, start, ends, states, knots, self._generator(3))
        return replace(density, deviation=found)


def _check_start(problem: Statement, kind: str) -> None:
    if not problem.law.has_density:
        raise UnsupportedError(
            f'Score(network="{kind}") carries the density at the start along, and this start has none: give a '
            'distribution, or use network="potential".'
        )


def _numbers(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()


def _told(densities: list[PotentialDensity]) -> dict[str, Any]:
    found: dict[str, Any] = {"mass": ", ".join(str(p.unit) for p in densities)}
    told = [p.deviation for p in densities if p.deviation is not None]
    if told:
        found["log p off by"] = ", ".join(d.text for d in told)
    return found


__all__ = ["Score"]
