"""`Flow`: a velocity field that is made consistent with the density that it carries."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.fokker_planck.networks.flow_density import FlowDensity, ProbabilityFlow, steps
from pdekit.fokker_planck.networks.learned import LearnedScore
from pdekit.fokker_planck.networks.mixture import followed
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.networks.paths import Paths, additive_noise, check_problem, transient_paths
from pdekit.fokker_planck.networks.pathwise import Snapshot, carried
from pdekit.fokker_planck.networks.regression import network, noise_scaled, regressed, standardised
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement

_PARTICLES = 4000  # their scores do not scatter, so that a few are enough
_WORSE = 4.0  # times the mismatch of the first round
_NONE = 0.5  # of the score's square: no likeness is left


@dataclass(frozen=True, repr=False)
class Flow(LearningMethod):
    """The velocity v = f - D s of the probability flow, with s learned so that it is the score of what v carries.

    Mass and positivity are there by construction: p is the law at the start, carried along. A first s comes from
    simulated paths, as in `Score`; in each round particles run along v, with their scores by ds/dt = -grad (v . s +
    div v), and s is fitted to these. Where it is its own image, v solves the Fokker-Planck equation. Nothing forces the
    rounds to come nearer: when they move away, the method says so and ends.

    Args:
        paths: How many paths give the first score.
        snapshots: Times at which the network looks at them, besides those that are asked for.
        hidden: Units of the network's layers.
        components: The most components of the mixture of normal laws that the network corrects.
        training: Of the first score; rounds take a quarter of its steps.
        seed: Of everything random.
        device: Where: "cpu" or "cuda".
        progress: Called with what is done and the share of it.
        network: "hollow", whose divergence costs the same in any dimension, or "mlp".
        rounds: How many.

    Raises:
        InputError: If an option makes no sense.

    Source: Z. Shen, Z. Wang, S. Kale, A. Ribeiro, A. Karbasi and H. Hassani, Self-consistency of the Fokker-Planck
    equation, COLT 2022, arXiv 2206.00860; N. M. Boffi and E. Vanden-Eijnden, Mach. Learn.: Sci. Technol. 4 (2023)
    035012.
    """

    network: Literal["hollow", "mlp"] = "hollow"
    rounds: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network not in ("hollow", "mlp"):
            raise InputError(f'network must be "hollow" or "mlp", got {self.network!r}.')
        if not (isinstance(self.rounds, int) and not isinstance(self.rounds, bool) and self.rounds >= 0):
            raise InputError(f"rounds must be a whole number, got {self.rounds!r}.")

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`.

        Raises:
            UnsupportedError: If the problem has sides, noise that depends on the state, or a start without a density.
            NumericalError: If paths explode, or the rounds move away from each other.
        """
        check_problem(problem, times, "Flow")
        if not problem.law.has_density:
            raise UnsupportedError(
                "Flow() carries the density at the start along, and this start has none: give a distribution, or use "
                "Score()."
            )
        paths = transient_paths(problem, times, self.snapshots, self.paths, self._generator(1), self._tell)
        noise = additive_noise(problem)
        mixture = followed(paths.snapshots, self.seed, self.components)
        scaled = noise_scaled(paths.snapshots, noise) if self.network == "hollow" else None
        coordinates = scaled or standardised(paths.snapshots)
        net = network(self.network, problem.sde.dim, self.hidden, True, self.seed)
        model, _ = regressed(self, net, paths.snapshots, mixture, coordinates, "the first score")
        mismatches: list[float] = []
        for k in range(self.rounds):
            particles = self._particles(problem, paths, ProbabilityFlow(paths.drift, noise, model), k)
            mismatches.append(_mismatch(model, particles))
            if mismatches[-1] > min(_WORSE * mismatches[0], _NONE):
                told = " then ".join(f"{m:.3g}" for m in mismatches)
                raise _diverged(k + 1, f"of what its own flow makes of the score, the score misses a share of {told}")
            options = replace(self.training, steps=max(1, self.training.steps // 4), checkpoint=None)
            fewer = replace(self, training=options, seed=self.seed + k + 1)
            model, _ = regressed(fewer, net, particles, mixture, coordinates, f"round {k + 1}")
        flow = ProbabilityFlow(paths.drift, noise, model)
        if self.rounds:
            mismatches.append(_mismatch(model, self._particles(problem, paths, flow, self.rounds)))
        found = [
            FlowDensity(flow, problem.law, problem.t0, float(t), paths.at(t).x.cpu().numpy()).checked() for t in times
        ]
        notes: dict[str, Any] = {"mixture of": len(mixture.mixtures[-1].weights)}
        if mismatches:
            notes["score off its own flow's by"] = " then ".join(f"{m:.3g}" for m in mismatches)
        return DensitySolution(problem, repr(self), times, found, notes)

    def _particles(self, problem: Statement, paths: Paths, flow: ProbabilityFlow, k: int) -> list[Snapshot]:
        """Particles that the flow carries, with scores, at the times of the snapshots.

        Raises:
            NumericalError: If they run away.
        """
        times = np.array([problem.t0, *(s.t for s in paths.snapshots)])
        ends = paths.snapshots[0].x.cpu(), paths.snapshots[-1].x.cpu()
        between = int(np.ceil(steps(flow, (problem.t0, float(times[-1])), ends) / len(times)))
        if self.progress is not None:
            self.progress("following the flow", 0.0)
        try:
            return carried(flow, problem.law, times, min(self.paths, _PARTICLES), self._generator(10 + k), between)
        except NumericalError as cause:
            raise _diverged(k + 1, str(cause)) from cause


def _mismatch(model: LearnedScore, particles: list[Snapshot]) -> float:
    """E|s - S|^2 / E|S|^2 at the last time, S along the flow that s makes."""
    last = particles[-1]
    width = last.x.std(0)
    off = ((model.score(last.t, last.x) - last.s) * width).square().sum()
    return float(off / (last.s * width).square().sum())


def _diverged(round_: int, why: str) -> NumericalError:
    return NumericalError(
        f"Flow() diverged in round {round_}: {why.rstrip('.')}. Along its own flow errors of the score feed "
        "themselves, above all where the drift contracts strongly: use Score(), or Flow(rounds=0)."
    )


__all__ = ["Flow"]
