"""`Residual`: a density of mass one whose Fokker-Planck residual is made small."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, UnsupportedError
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.linear_equation import read_linear
from pdekit.fokker_planck.monte_carlo import MonteCarlo
from pdekit.fokker_planck.networks.backward import Deviation, LogDensity, initial_density, measured
from pdekit.fokker_planck.networks.between import Times
from pdekit.fokker_planck.networks.mixture import Mixture, MovingMixture, fitted
from pdekit.fokker_planck.networks.morphing import Morphing, morphed
from pdekit.fokker_planck.networks.options import LearningMethod
from pdekit.fokker_planck.networks.paths import check_problem
from pdekit.fokker_planck.networks.residual_flow import ConditionalFlowDensity, trained_flow
from pdekit.fokker_planck.normal_laws import normal_mixture
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement
from pdekit.training import Training

Family = Literal["mixture", "flow"]

_TRAINING = Training(steps=1500, batch=512, rate=1e-3)
_BETWEEN = 40  # times at which a mixture is kept, at least
_FITTED = 50_000  # states that a mixture at the start is fitted to


@dataclass(frozen=True, repr=False)
class Residual(LearningMethod):
    """A normalised density whose residual r = d_t log p - (L* p) / p is small.

    With `family="mixture"` the parameters of a mixture of normal laws move so that at every time E[r^2] under the
    mixture itself is least; see `morphing`. No network is trained, it takes seconds, and where the law stays such a
    mixture, as under a linear drift, log p is right to some 1e-4. With `family="flow"` a masked autoregressive flow is
    trained on r^2 at simulated paths of all times together. A small residual does not bound the error: that is
    measured, as in `Score`, and a warning given if it is large or can't be told.

    Args:
        paths: How many paths the flow is trained at.
        snapshots: At how many times.
        hidden: Units of the flow's networks.
        components: Of the mixture. A start that is itself a mixture of normal laws is taken as it is if the equation
            is linear or it has as many components; to any other one a mixture is fitted.
        training: Of the flow.
        seed: Of everything random.
        device: Where the flow is trained: "cpu" or "cuda".
        progress: Called with what is done and the share of it.
        family: "mixture" or "flow".
        most: Steps in time that the mixture may take.
        check: Whether the error is measured.

    Raises:
        InputError: If an option makes no sense.

    Source: W. Anderson and M. Farazmand, Fisher information and shape-morphing modes for solving the Fokker-Planck
    equation in higher dimensions, arXiv 2306.03749, for mixtures; K. Tang, X. Wan and Q. Liao, J. Comput. Phys. 457
    (2022) 111080, for flows.

    Example:
        >>> import torch, pdekit as pk
        >>> sde = pk.SymbolicSDE("x", "x - x**3", "1")
        >>> problem = pk.FokkerPlanckProblem(sde, initial=torch.distributions.Normal(0.0, 0.3))
        >>> solution = problem.solve([1.0], pk.Residual(components=6))
        >>> exact = problem.solve([1.0])
        >>> x = exact.sample(1000, 1.0)
        >>> bool((solution.log_pdf(1.0, x) - exact.log_pdf(1.0, x)).abs().mean() < 0.03)
        True
    """

    hidden: tuple[int, ...] = (64, 64)
    training: Training = _TRAINING
    paths: int = 20_000
    family: Family = "mixture"
    most: int = 2000
    check: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in get_args(Family):
            raise InputError(f"family must be one of {get_args(Family)}, got {self.family!r}.")
        if not (isinstance(self.most, int) and not isinstance(self.most, bool) and self.most >= 1):
            raise InputError(f"most must be a whole number of at least 1, got {self.most!r}.")

    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """See `FokkerPlanckProblem.solve`.

        Raises:
            UnsupportedError: If the problem has sides, or the law at the start is a point, or has no density and a flow
                is asked for.
            NumericalError: If the mixture breaks down, or the training diverges.
        """
        check_problem(problem, times, "Residual")
        return self._mixture(problem, times) if self.family == "mixture" else self._flow(problem, times)

    def stationary(self, problem: Statement) -> DensitySolution:
        """See `FokkerPlanckProblem.stationary`: where a mixture, fitted to simulated states, comes to rest.

        Raises:
            UnsupportedError: If a flow is asked for, the problem has sides, or explicit time.
            NumericalError: If paths do not settle, or the mixture breaks down.
        """
        check_problem(problem, None, "Residual")
        if self.family != "mixture":
            raise UnsupportedError(
                'Residual(family="flow") finds no stationary laws: use family="mixture", or Score().'
            )
        self._say("simulating", 0.0)
        states, span = MonteCarlo(_FITTED, seed=self.seed).equilibrium(problem)
        start = fitted(torch.as_tensor(states), self.components, self.seed)
        end = problem.t0 + span
        morphing, moving, _ = self._moved(problem, start, np.array([end]))
        mixture = moving.mixtures[-1]
        log_p: Callable[[float], LogDensity] = lambda near: lambda t, x: mixture.log_values(x)  # noqa: E731
        x = torch.as_tensor(states)
        off = self._deviation(problem, log_p, mixture.log_values, end, (x, x), np.zeros(0)) if self.check else None
        notes = {"components": len(mixture.weights), "residual": _listed([morphing.residual(end, mixture)])}
        density = _density(mixture, off)
        self._warn([density.error] if off is not None else [])
        return DensitySolution(problem, repr(self), None, [density], notes | _told([off]))

    def _mixture(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        start = _start(problem, self.components, self.seed, times)
        morphing, moving, when = self._moved(problem, start, times)
        log_p: Callable[[float], LogDensity] = lambda near: lambda t, x: moving.at(when.at(t, near)).log_values(x)  # noqa: E731
        found = self._measured(problem, times, log_p, when.known)
        mixtures = [moving.at(when.at(float(t))) for t in times]
        residuals = [morphing.residual(float(t), mixture) for t, mixture in zip(times, mixtures, strict=True)]
        densities = [_density(mixture, off) for mixture, off in zip(mixtures, found, strict=True)]
        self._warn([d.error for d, off in zip(densities, found, strict=True) if off is not None])
        notes = {"components": len(start.weights), "residual": _listed(residuals)} | _told(found)
        return DensitySolution(problem, repr(self), times, densities, notes)

    def _moved(self, problem: Statement, start: Mixture, times: np.ndarray) -> tuple[Morphing, MovingMixture, Times]:
        morphing = Morphing(problem.sde, len(start.weights), self.seed)
        every = np.union1d(np.linspace(problem.t0, times[-1], _BETWEEN + 1), times)
        say = lambda share: self._say("moving the mixture", share)  # noqa: E731
        return morphing, morphed(morphing, start, every, self.most, say), Times(every)

    def _flow(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        if not problem.law.has_density:
            raise UnsupportedError(
                'Residual(family="flow") needs the density at the start, and this start has none: give a distribution, '
                "or use Score()."
            )
        every = np.union1d(np.linspace(problem.t0, times[-1], self.snapshots + 1), times)
        self._say("simulating", 0.0)
        states = MonteCarlo(self.paths, seed=self.seed).simulated(problem, every)
        net = trained_flow(self, problem, every, states)
        found = self._measured(problem, times, lambda near: net, np.zeros(0))
        densities = [
            ConditionalFlowDensity(net, float(t), problem.sde.dim, off) for t, off in zip(times, found, strict=True)
        ]
        self._warn([d.error for d in densities if d.deviation is not None])
        return DensitySolution(problem, repr(self), times, densities, _told(found))

    def _measured(
        self, problem: Statement, times: np.ndarray, log_p: Callable[[float], LogDensity], knots: np.ndarray
    ) -> list[Deviation | None]:
        """How far log p is from the truth at each time, at states of simulated paths."""
        if not (self.check and problem.law.has_density):
            return [None] * len(times)
        states = MonteCarlo(1000, seed=self.seed + 1).simulated(problem, times)
        start, first = initial_density(problem), problem.law.sample(1000, torch.Generator().manual_seed(0))
        return [
            self._deviation(problem, log_p, start, float(t), (first, torch.as_tensor(x)), knots)
            for t, x in zip(times, states, strict=True)
        ]

    def _deviation(
        self,
        problem: Statement,
        log_p: Callable[[float], LogDensity],
        start: Callable[[Tensor], Tensor],
        end: float,
        states: tuple[Tensor, Tensor],
        knots: np.ndarray,
    ) -> Deviation:
        self._say("measuring the error", 0.0)
        return measured(
            problem, log_p, start, (problem.t0, end), states, knots, torch.Generator().manual_seed(self.seed)
        )

    def _say(self, what: str, share: float) -> None:
        if self.progress is not None:
            self.progress(what, share)


def _start(problem: Statement, components: int, seed: int, times: np.ndarray) -> Mixture:
    """The mixture at the start.

    Raises:
        UnsupportedError: If the start is a point.
    """
    known = normal_mixture(problem.law)
    if known is not None and (len(known[0]) >= components or read_linear(problem, times) is not None):
        weights, means, covariances = (torch.as_tensor(np.array(a)) for a in known)
        return Mixture(weights, means, torch.linalg.cholesky(covariances))
    x = problem.law.sample(_FITTED, torch.Generator().manual_seed(seed))
    if bool((x.std(0) == 0).any()):
        raise UnsupportedError(
            "Residual() begins with a density, and this start is a point or lies in a plane: use Score(), or a narrow "
            "normal law."
        )
    return fitted(x, components, seed)


def _density(mixture: Mixture, off: Deviation | None) -> GaussianMixture:
    return replace(mixture.density(), error=off.relative_l2 if off is not None and off.trusted else None)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{v:.2g}" for v in values)


def _told(found: list[Deviation | None]) -> dict[str, Any]:
    told = [off.text for off in found if off is not None]
    return {"log p off by": ", ".join(told)} if told else {}


__all__ = ["Residual"]
