"""The maximum of a snapshot likelihood over the model's parameters and those of the initial law together.

The error bars of the model's parameters then hold what is not known of the law at the start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import ConvergenceError, NumericalError
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.optimise import Minimum, descend, difference_steps, finish, newton_decrement
from pdekit.fitting.inference.starting_values import parameter_scale
from pdekit.fitting.snapshots.initial import InitialLaw
from pdekit.fitting.snapshots.line import MOST_CELLS as LINE_CELLS
from pdekit.fitting.snapshots.line import LineLikelihood
from pdekit.fitting.snapshots.plane import MOST_CELLS as PLANE_CELLS
from pdekit.fitting.snapshots.plane import PlaneLikelihood
from pdekit.symbolic import SymbolicSDE

Likelihood = LineLikelihood | PlaneLikelihood
Progress = Callable[[str, float], None]

_NEAR = 0.3  # standard errors: up to here a Newton step with the Hessian at hand corrects for the grid
_FAR = 1.0  # the same in two states, where finer grids cost minutes
_CORRECTIONS, _STILL = 6, 0.05
_HOPELESS = 5.0  # so long a Newton step says that the two grids have little in common
_FLAT, _CLOSER = 0.1, 5.0
_TOLERANCE = 1e-4
_STARTS = 3  # tried until one ends well


@dataclass(frozen=True, eq=False)
class Found:
    """Where the search ended.

    Args:
        parameters: theta and alpha, (k + a,).
        loglik: There, extrapolated to a fine grid.
        observed: The inverse of the observed information, in theta and alpha, (k + a, k + a); zero where held.
        sandwich: H^-1 (sum of outer products of scores) H^-1.
        free: Which parameters moved.
        at_bound: Which were pushed onto their bound.
        shift: What the grid still costs, in standard errors.
        converged: Whether the likelihood has its maximum there.
        route: How it was computed.
        cells: Of the grid.
    """

    parameters: Tensor
    loglik: float
    observed: np.ndarray
    sandwich: np.ndarray
    free: np.ndarray
    at_bound: np.ndarray
    shift: float
    converged: bool
    route: str
    cells: int


class Search:
    """One model and one set of snapshots.

    Args:
        model: An autonomous Ito SDE with one or two states.
        data: The snapshots.
        law: The family of initial laws.
        held: Which of the model's parameters are held, (k,).
        progress: Called after every step.
    """

    def __init__(
        self, model: SymbolicSDE, data: Snapshots, law: InitialLaw, held: np.ndarray, progress: Progress
    ) -> None:
        self.model, self.data, self.law, self.progress = model, data, law, progress
        bounds = [model.params[name] for name in model.param_names]
        self._bounds = bounds + [(-np.inf, np.inf)] * law.size
        self._free = np.concatenate([~held, np.ones(law.size, dtype=bool)])

    def best(self, starts: list[Tensor], alpha: Tensor) -> Found:
        """The maximum from the likeliest start; from the others, too, if the search does not end well.

        Raises:
            ConvergenceError: If the samples are impossible at every start.
        """
        starts = sorted(starts, key=lambda theta: -self._loglik(theta, alpha))[:_STARTS]
        found = None
        for theta in starts:
            try:
                other = self.run(theta, alpha)
            except ConvergenceError:
                continue
            if found is None or (other.converged, other.loglik) > (found.converged, found.loglik):
                found = other
            if found.converged and not found.at_bound.any():
                break
        if found is None:
            raise ConvergenceError("The samples are impossible at every starting point; give others by start={...}.")
        return found

    def _loglik(self, theta: Tensor, alpha: Tensor) -> float:
        try:
            with torch.no_grad():
                value = float(self._laid(theta, alpha).log_density(torch.cat([theta, alpha])).sum())
        except NumericalError:
            return -np.inf
        return value if np.isfinite(value) else -np.inf

    def run(self, theta: Tensor, alpha: Tensor) -> Found:
        """The maximum that is found from here.

        Raises:
            ConvergenceError: If the samples are impossible at the start.
        """
        k, free = len(theta), self._free
        parameters = torch.cat([theta, alpha])
        stuck = np.zeros(len(free), dtype=bool)
        for _ in range(2):  # the first grid was made for the start
            likelihood = self._laid(parameters[:k], parameters[k:])
            objective, minimum = self._minimised(likelihood, parameters, free)
            parameters = objective.theta(torch.from_numpy(minimum.point)).detach()
            if isinstance(likelihood, PlaneLikelihood):
                break
        now = self._at_bound(objective, minimum, free, k)
        if now.any():
            stuck, free = now, free & ~now
            objective, minimum = self._minimised(likelihood, parameters, free)
        return self._refined(likelihood, objective, minimum, free, stuck)

    def _laid(self, theta: Tensor, alpha: Tensor) -> Likelihood:
        kind = LineLikelihood if self.model.dim == 1 else PlaneLikelihood
        return kind.lay(self.model, self.data, self.law, theta, alpha)

    def _objective(self, likelihood: Likelihood, parameters: Tensor, free: np.ndarray) -> NegativeLogLikelihood:
        return NegativeLogLikelihood(likelihood, Bijection(self._bounds), free, parameters)  # type: ignore[arg-type]

    def _scale(self, parameters: Tensor) -> np.ndarray:
        """Of a sensible change; those of the initial law are standardised, and may be zero."""
        scale = parameter_scale(parameters, self._bounds)
        scale[len(scale) - self.law.size :] = 1.0
        return scale

    def _minimised(
        self, likelihood: Likelihood, parameters: Tensor, free: np.ndarray
    ) -> tuple[NegativeLogLikelihood, Minimum]:
        objective = self._objective(likelihood, parameters, free)
        eta = objective.eta(parameters)
        if not np.isfinite(objective(eta)[0]):
            raise ConvergenceError(
                f"The samples are impossible at {self.model.named(parameters[: len(self.model.params)])}; give other "
                "starting values by start={...}."
            )
        scale = self._scale(parameters)[free]
        report = lambda value: self.progress(likelihood.route, -value)  # noqa: E731
        information = _outer(objective, eta, scale)
        descent = descend(
            objective, eta, scale=scale, inverse=_inverse(information), callback=report, tolerance=_TOLERANCE
        )
        if isinstance(likelihood, LineLikelihood):
            return objective, finish(objective, descent, scale=scale)
        # In two states a differenced Hessian would cost minutes; at the maximum the scores give the information.
        information = _outer(objective, descent.point, scale)
        decrement = newton_decrement(information, descent.gradient)
        return objective, Minimum(
            descent.point,
            descent.value,
            descent.gradient,
            information,
            decrement,
            descent.evaluations,
            decrement < 10 * _TOLERANCE,
        )

    def _at_bound(self, objective: NegativeLogLikelihood, minimum: Minimum, free: np.ndarray, k: int) -> np.ndarray:
        stuck = np.zeros(len(free), dtype=bool)
        for position, i in enumerate(np.flatnonzero(free)[: int(free[:k].sum())].tolist()):
            lower, upper = self._bounds[i]
            if not (np.isfinite(lower) or np.isfinite(upper)) or minimum.hessian[position, position] > _FLAT:
                continue
            for bound, toward in ((lower, -_CLOSER), (upper, _CLOSER)):
                closer = minimum.point.copy()
                closer[position] += toward
                stuck[i] |= bool(np.isfinite(bound) and objective(closer)[0] <= minimum.value + 1e-2)
        return stuck

    def _refined(
        self,
        likelihood: Likelihood,
        objective: NegativeLogLikelihood,
        minimum: Minimum,
        free: np.ndarray,
        stuck: np.ndarray,
    ) -> Found:
        """Newton steps to the maximum that grids of vanishing cells would have; finer grids where these are long."""
        line = isinstance(likelihood, LineLikelihood)
        most, near = (LINE_CELLS, _NEAR) if line else (PLANE_CELLS, _FAR)
        while True:
            move, loglik, shift, left = self._corrected(likelihood, objective, minimum)
            if shift < near or not np.isfinite(shift) or 2 * likelihood.cells > most:
                break
            likelihood = likelihood.refined()
            parameters = objective.theta(torch.from_numpy(minimum.point)).detach()
            objective, minimum = self._minimised(likelihood, parameters, free)
        return self._result(likelihood, objective, minimum, move, loglik, free, stuck, left)

    def _corrected(
        self, likelihood: Likelihood, objective: NegativeLogLikelihood, minimum: Minimum
    ) -> tuple[np.ndarray, float, float, float]:
        """Newton steps on (4 l_fine - l_coarse) / 3, which is of fourth order in the cell.

        Returns:
            The move, the log-likelihood after it, its length and what it leaves, in standard errors.
        """
        inverse, none = _inverse(minimum.hessian), np.zeros(len(minimum.point))
        if not np.isfinite(minimum.decrement):
            return none, -minimum.value, np.inf, np.inf
        errors = np.sqrt(np.diag(inverse).clip(min=1e-300))
        parameters = objective.theta(torch.from_numpy(minimum.point)).detach()
        fine = self._objective(likelihood.refined(), parameters, objective.free)
        move, coarse, last = none, (minimum.value, minimum.gradient), np.inf
        for k in range(_CORRECTIONS):
            value, gradient = fine(minimum.point + move)
            if not np.isfinite(value):
                return none, -minimum.value, np.inf, np.inf
            slope = (4.0 * gradient - coarse[1]) / 3.0
            step = -inverse @ slope
            move, last = move + step, float(np.abs(step / errors).max(initial=0.0))
            loglik = -(4.0 * value - coarse[0]) / 3.0 - 0.5 * float(slope @ step)
            if last < _STILL or last > _HOPELESS or k == _CORRECTIONS - 1:
                break
            coarse = objective(minimum.point + move)
        shift = float(np.abs(move / errors).max(initial=0.0))
        # Fourth order leaves a sixteenth of a step of second order; on grids of two states, which are seldom fine
        # enough for that, a quarter was measured.
        left = shift / 16.0 if isinstance(likelihood, LineLikelihood) else shift / 4.0
        return move, loglik, max(shift, last), max(left, last if last >= _STILL else 0.0)

    def _result(
        self,
        likelihood: Likelihood,
        objective: NegativeLogLikelihood,
        minimum: Minimum,
        move: np.ndarray,
        loglik: float,
        free: np.ndarray,
        stuck: np.ndarray,
        shift: float,
    ) -> Found:
        point = minimum.point + move
        observed, sandwich = (np.zeros((len(free), len(free))) for _ in range(2))
        index, slope = np.ix_(free, free), objective.slope(point)
        if np.isfinite(minimum.decrement):
            inverse = _inverse(minimum.hessian)
            meat = _outer(objective, minimum.point, np.ones(len(point)))
            observed[index] = inverse * np.outer(slope, slope)
            sandwich[index] = inverse @ meat @ inverse * np.outer(slope, slope)
        else:
            observed[index] = sandwich[index] = np.nan
        return Found(
            parameters=objective.theta(torch.from_numpy(point)).detach(),
            loglik=loglik,
            observed=observed,
            sandwich=sandwich,
            free=free,
            at_bound=stuck,
            shift=shift,
            converged=minimum.converged,
            route=likelihood.route,
            cells=likelihood.cells,
        )


def _outer(objective: NegativeLogLikelihood, point: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The sum of the outer products of the scores, (k, k)."""
    steps = 1e-4 * np.maximum(scale, 1e-3)
    scores = objective.scores(point, difference_steps(np.diag(steps**2) * 2.5e3, point, scale))
    return scores.T @ scores


def _inverse(information: np.ndarray) -> np.ndarray:
    """Its inverse, flat directions kept finite."""
    size = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-12))
    values, vectors = np.linalg.eigh(np.nan_to_num(information / np.outer(size, size)))
    values = np.maximum(np.abs(values), 1e-10 * max(float(np.abs(values).max()), 1e-300))
    return (vectors / values) @ vectors.T / np.outer(size, size)


__all__ = ["Found", "Likelihood", "Progress", "Search"]
