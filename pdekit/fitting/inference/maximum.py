"""Maximum likelihood with a transition density that is refined until it no longer matters.

Start from moments, descend on a first grid, lay the grid anew at the estimate, then extrapolate and double it until the
estimate would move by less than a twentieth of a standard error; one Newton step takes out most of the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import ConvergenceError, NumericalError
from pdekit.fitting.densities.bridge import BridgeTransition
from pdekit.fitting.densities.choose import Method, transition_density
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.plane import PlaneTransition
from pdekit.fitting.densities.protocol import MixedTransition, OnGrid, TransitionDensity
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.optimise import Descent, Minimum, descend, finish
from pdekit.fitting.inference.starting_values import parameter_scale, starting_values
from pdekit.symbolic import SymbolicSDE

LARGEST_SHIFT = 0.05
_MOST_CELLS = 2000
# Up to this many standard errors away the Hessian at hand still serves; further, the better grid is descended on.
_NEAR = 0.3
_MOST_CORRECTIONS = 6
# A transformed parameter whose likelihood is flatter than this is looked at: does it stay as flat a factor e^5 nearer
# its bound?
_FLAT = 0.1
_CLOSER = 5.0
# The bridge's second-order terms may move the estimate by this much; what follows them is then far smaller.
_LARGEST_BRIDGE_TERM = 0.5
Progress = Callable[[str, float], None]
Lay = Callable[[Tensor], TransitionDensity]


@dataclass(frozen=True)
class Maximum:
    """The maximum of a likelihood.

    Attributes:
        theta: The parameters, (k,).
        loglik: The log-likelihood there.
        objective: The likelihood of the free parameters, on its final density.
        minimum: How the last minimisation ended, in the transformed parameters, on the objective's own grid.
        correction: What extrapolation to a fine grid adds to `minimum.point`, (k_free,).
        free: Which parameters were estimated; the others were given, or are at a bound.
        at_bound: Names of parameters that the data push onto their bound.
        shift: The estimate's remaining discretisation error, in standard errors, by parameter (k_free,).
        evaluations: Likelihood gradients used.
        start: The starting values, (k,).
    """

    theta: Tensor
    loglik: float
    objective: NegativeLogLikelihood
    minimum: Minimum
    correction: np.ndarray
    free: np.ndarray
    at_bound: tuple[str, ...]
    shift: np.ndarray
    evaluations: int
    start: Tensor

    @property
    def point(self) -> np.ndarray:
        """The transformed parameters at `theta`, (k_free,)."""
        return self.minimum.point + self.correction

    @property
    def density(self) -> TransitionDensity:
        """The transition density that `theta` maximises, its grids extrapolated."""
        return _on_grids(self.objective.density, lambda grid: grid if grid.extrapolate else grid.extrapolated())

    @property
    def on_grids(self) -> bool:
        """Whether a grid was used, so that there is a discretisation error to speak of."""
        return bool(_grids(self.objective.density))


def maximise(
    model: SymbolicSDE,
    pairs: Pairs,
    *,
    method: Method = "auto",
    start: Mapping[str, float] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    lay: Lay | None = None,
    first: Tensor | None = None,
) -> Maximum:
    """Maximises the likelihood of `pairs` over the parameters of `model`.

    Args:
        model: The SDE.
        pairs: The observations.
        method: Which transition density, see `transition_density`.
        start: Starting values, by name; those left out come from moments.
        fixed: Parameters held at these values.
        seed: Of the search for starting values.
        progress: Called with (what is being done, log-likelihood) after every accepted step.
        lay: Another likelihood than a transition density: parameters (k,) -> the density that suits them. It is asked
            again at the estimate.
        first: The starting values, (k,), where moments of the increments don't give them.

    Raises:
        ConvergenceError: If no starting point gives the observations a positive density.
    """
    search = _Search(model, pairs, method, dict(fixed or {}), progress or (lambda what, value: None), lay)
    if first is None:
        first = starting_values(model, pairs, {**(start or {}), **search.fixed}, seed=seed)
    best = search.run(first)
    if not best.minimum.converged or best.at_bound:
        for trial in _other_starts(first, best.theta, search, seed):
            other = search.run(trial)
            if other.minimum.converged and (not best.minimum.converged or other.loglik > best.loglik):
                best = other
    return best


def _other_starts(first: Tensor, last: Tensor, search: "_Search", seed: int) -> list[Tensor]:
    """Three starts around the moments' values, one beside the failed end."""
    generator = torch.Generator().manual_seed(seed)
    bijection = search.bijection
    noise = [0.7 * torch.randn(len(first), generator=generator, dtype=torch.float64) for _ in range(4)]
    scale = torch.from_numpy(parameter_scale(first, list(bijection.bounds)))
    centers = [first, first, first, last]
    moved = [bijection.forward(bijection.inverse(c) + n * scale).detach() for c, n in zip(centers, noise, strict=True)]
    held = torch.from_numpy(search.held)
    return [torch.where(held, first, m) for m in moved]


class _Search:
    """One model, one data set: what stays the same from start to start."""

    def __init__(
        self,
        model: SymbolicSDE,
        pairs: Pairs,
        method: Method,
        fixed: dict[str, float],
        progress: Progress,
        lay: Lay | None,
    ) -> None:
        self.model, self.pairs, self.fixed, self.progress = model, pairs, fixed, progress
        self.method: Method = method
        self.given = lay
        self.bijection = Bijection([model.params[name] for name in model.param_names])
        self.held = np.array([name in fixed for name in model.param_names])
        free = torch.from_numpy(~self.held)
        self.lay: Lay = lay or (lambda theta: transition_density(model, pairs, theta, method, free=free))
        self.evaluations = 0

    def run(self, start: Tensor) -> Maximum:
        """From one starting point to the refined maximum."""
        density = self.lay(start)
        free = ~self.held
        objective, descent = self._descend(density, free, start)
        if self.given is not None or _depends_on_parameters(density):
            # The first was laid out, or chosen, for the starting values; from here on it suits the estimate.
            theta = objective.theta(torch.from_numpy(descent.point)).detach()
            better = self.lay(theta)
            if _same_function(density, better):
                objective = NegativeLogLikelihood(better, self.bijection, free, theta)
            else:
                objective, descent = self._descend(better, free, theta, descent.inverse)
        minimum = self._finish(objective, descent)
        stuck = self._at_bound(objective, minimum, free)
        if stuck.any():
            theta = objective.theta(torch.from_numpy(minimum.point)).detach()
            free = free & ~stuck
            objective, minimum = self._minimise(objective.density, free, theta)
        refined = self._refine(objective, minimum, free)
        names = tuple(n for n, s in zip(self.model.param_names, stuck, strict=True) if s)
        theta = refined.objective.theta(torch.from_numpy(refined.minimum.point + refined.correction)).detach()
        return Maximum(
            theta=theta,
            loglik=refined.loglik,
            objective=refined.objective,
            minimum=refined.minimum,
            correction=refined.correction,
            free=free,
            at_bound=names,
            shift=refined.shift,
            evaluations=self.evaluations,
            start=start,
        )

    def _minimise(
        self, density: TransitionDensity, free: np.ndarray, theta: Tensor, inverse: np.ndarray | None = None
    ) -> tuple[NegativeLogLikelihood, Minimum]:
        objective, descent = self._descend(density, free, theta, inverse)
        return objective, self._finish(objective, descent)

    def _descend(
        self, density: TransitionDensity, free: np.ndarray, theta: Tensor, inverse: np.ndarray | None = None
    ) -> tuple[NegativeLogLikelihood, Descent]:
        objective = NegativeLogLikelihood(density, self.bijection, free, theta)
        eta = objective.eta(theta)
        value, _ = objective(eta)
        if not np.isfinite(value):
            raise ConvergenceError(
                f"The observations are impossible at {self.model.named(theta)}; "
                "give other starting values by start={...}."
            )
        report = lambda value: self.progress(density.route, -value)  # noqa: E731
        descent = descend(objective, eta, scale=self._scale(objective, eta), inverse=inverse, callback=report)
        self.evaluations += descent.evaluations
        return objective, descent

    def _finish(self, objective: NegativeLogLikelihood, descent: Descent) -> Minimum:
        minimum = finish(objective, descent, scale=self._scale(objective, descent.point))
        self.evaluations += minimum.evaluations - descent.evaluations
        self.progress(objective.density.route, -minimum.value)
        return minimum

    def _scale(self, objective: NegativeLogLikelihood, eta: np.ndarray) -> np.ndarray:
        theta = objective.theta(torch.from_numpy(eta)).detach()
        return parameter_scale(theta, list(self.bijection.bounds))[objective.free]

    def _at_bound(self, objective: NegativeLogLikelihood, minimum: Minimum, free: np.ndarray) -> np.ndarray:
        """Which parameters ran into a bound: going much closer to it costs no likelihood."""
        stuck = np.zeros(len(free), dtype=bool)
        for position, i in enumerate(np.flatnonzero(free).tolist()):
            lower, upper = self.bijection.bounds[i]
            if not (np.isfinite(lower) or np.isfinite(upper)) or minimum.hessian[position, position] > _FLAT:
                continue
            for bound, toward in ((lower, -_CLOSER), (upper, _CLOSER)):
                closer = minimum.point.copy()
                closer[position] += toward
                stuck[i] |= bool(np.isfinite(bound) and objective(closer)[0] <= minimum.value + 1e-2)
        return stuck

    def _refine(self, objective: NegativeLogLikelihood, minimum: Minimum, free: np.ndarray) -> "_Refined":
        """Goes over to better grids while that moves the estimate; the last move is made by Newton steps."""
        none = np.zeros(int(free.sum()))
        if not np.isfinite(minimum.decrement):
            return _Refined(objective, minimum, -minimum.value, none, np.full_like(none, np.nan))
        last = np.full_like(none, np.nan)
        while True:
            objective, minimum = self._replace_bridge(objective, minimum, free)
            if not _grids(objective.density) or not free.any():
                return _Refined(objective, minimum, -minimum.value, none, none)
            theta = objective.theta(torch.from_numpy(minimum.point)).detach()
            better = NegativeLogLikelihood(_on_grids(objective.density, _better), self.bijection, free, theta)
            inverse = np.linalg.inv(minimum.hessian)
            if not np.isfinite(minimum.decrement) or np.diag(inverse).min() <= 0.0:
                return _Refined(objective, minimum, -minimum.value, none, np.full_like(none, np.nan))
            errors = np.sqrt(np.diag(inverse))
            if max(grid.finest for grid in _grids(better.density)) > _MOST_CELLS:
                # As fine as is affordable: what the last refinement moved is reported, and bounds what is left.
                return _Refined(objective, minimum, -minimum.value, none, last)
            value, gradient = self._finite(better, minimum.point)
            move = -inverse @ gradient
            shift = np.abs(move / errors).max()
            if shift < LARGEST_SHIFT:
                loglik = -value - 0.5 * float(gradient @ move)
                return _Refined(objective, minimum, loglik, move, move / errors)
            if shift < _NEAR:
                return self._correct(objective, minimum, better, move, inverse)
            last = move / errors
            objective, minimum = self._minimise(better.density, free, theta, inverse)

    def _correct(
        self,
        objective: NegativeLogLikelihood,
        minimum: Minimum,
        better: NegativeLogLikelihood,
        move: np.ndarray,
        inverse: np.ndarray,
    ) -> "_Refined":
        """Steps to the better objective's maximum with the Hessian at hand.

        What is left then is of fourth order in the cell where `move` was of second; a sixteenth of it, what fourth
        order gains when cells halve, is reported as the estimate.
        """
        errors, correction = np.sqrt(np.diag(inverse)), move
        for _ in range(_MOST_CORRECTIONS):
            value, gradient = self._finite(better, minimum.point + correction)
            step = -inverse @ gradient
            correction = correction + step
            if np.abs(step / errors).max() < 0.2 * LARGEST_SHIFT:
                loglik = -value - 0.5 * float(gradient @ step)
                return _Refined(objective, minimum, loglik, correction, move / errors / 16.0)
        theta = objective.theta(torch.from_numpy(minimum.point)).detach()
        objective, minimum = self._minimise(better.density, objective.free, theta, inverse)
        return self._refine(objective, minimum, objective.free)

    def _finite(self, objective: NegativeLogLikelihood, point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(point)
        self.evaluations += 1
        if not np.isfinite(value):
            raise NumericalError(
                "The likelihood is finite on one grid and not on the next; the estimate can't be trusted. "
                "Give starting values nearer to the maximum, or bounds that keep the parameters possible."
            )
        return value, gradient

    def _replace_bridge(
        self, objective: NegativeLogLikelihood, minimum: Minimum, free: np.ndarray
    ) -> tuple[NegativeLogLikelihood, Minimum]:
        """Goes over to the grid where the bridge's second-order terms move the estimate too much to stop at them."""
        bridges = [d for d in _parts(objective.density) if isinstance(d, BridgeTransition)]
        if not bridges or self.method == "bridge":
            return objective, minimum
        theta = objective.theta(torch.from_numpy(minimum.point)).detach()
        difference = np.zeros(len(minimum.point))
        for bridge in bridges:
            first = BridgeTransition(bridge.model, bridge.pairs, order=1, expressions=bridge.expressions)
            low = NegativeLogLikelihood(first, self.bijection, free, theta)(minimum.point)[1]
            high = NegativeLogLikelihood(bridge, self.bijection, free, theta)(minimum.point)[1]
            difference += low - high
            self.evaluations += 2
        move = np.linalg.solve(minimum.hessian, difference)
        errors = np.sqrt(np.diag(np.linalg.inv(minimum.hessian)).clip(min=0.0))
        if np.abs(move / errors).max(initial=0.0) < _LARGEST_BRIDGE_TERM:
            return objective, minimum
        density = transition_density(self.model, self.pairs, theta, "fokker-planck")
        return self._minimise(density, free, theta, np.linalg.inv(minimum.hessian))


@dataclass(frozen=True)
class _Refined:
    objective: NegativeLogLikelihood
    minimum: Minimum
    loglik: float
    correction: np.ndarray
    shift: np.ndarray


def _parts(density: TransitionDensity) -> list[TransitionDensity]:
    return [part for _, part in density.parts] if isinstance(density, MixedTransition) else [density]


def _grids(density: TransitionDensity) -> list[OnGrid]:
    return [part for part in _parts(density) if isinstance(part, OnGrid)]


def _same_function(one: TransitionDensity, other: TransitionDensity) -> bool:
    """Whether both are the same normal density, so that the maximum stays where it is."""
    return isinstance(one, GaussianTransition) and type(one) is type(other)


def _depends_on_parameters(density: TransitionDensity) -> bool:
    """Whether it was laid out, or chosen, for parameters near those that were given."""
    kinds = OnGrid | BridgeTransition | GaussianTransition | PlaneTransition
    return any(isinstance(part, kinds) for part in _parts(density))


def _better(grid: OnGrid) -> OnGrid:
    """First extrapolate, then halve the cells."""
    return grid.refined().extrapolated() if grid.extrapolate else grid.extrapolated()


def _on_grids(density: TransitionDensity, change: Callable[[OnGrid], OnGrid]) -> TransitionDensity:
    """The density with its grids changed."""
    if isinstance(density, OnGrid):
        return change(density)
    if isinstance(density, MixedTransition):
        return MixedTransition([(i, _on_grids(part, change)) for i, part in density.parts])
    return density
