"""Selection at fine steps: the drift from the mean of the steps, the noise from their covariance, in turns.

First with Euler steps, in which everything is linear. Then to second order in dt, about the last coefficients, until
the same terms come out twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import DataError, NumericalError
from pdekit.fitting.sparse.drift import Steps, flat_coefficients, misses, refit, sums, whitening
from pdekit.fitting.sparse.noise import NoiseChoice, choose_noise
from pdekit.fitting.sparse.options import SparseSDE
from pdekit.fitting.sparse.step import Noise, Step
from pdekit.fitting.sparse.subsets import Quadratic, best_subset
from pdekit.fitting.sparse.terms import Terms

_MOST_ROUNDS = 10
# Residuals smaller than this share of the increments are rounding.
_QUIET = 1e-7
# Residuals of a diffusion don't follow one another; those of a smooth curve are nearly the same from step to step.
_SMOOTH = 0.8

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Selection:
    """Terms that a search arrived at.

    Attributes:
        step: The step with their coefficients.
        active: Which coefficients of the drift, (d p,) bool, state by state.
        drift: The drift's likelihood about them, in all candidates.
        noise: The squared noise of each state; empty for a constant covariance.
        value: The Gaussian log-likelihood of the steps, less the price of the terms.
        settled: Whether the same terms came out twice.
    """

    step: Step
    active: np.ndarray
    drift: Quadratic
    noise: tuple[NoiseChoice, ...]
    value: float
    settled: bool


class FineSearch:
    """What stays the same from round to round.

    Args:
        options: The options.
        steps: The observations.
        drift: The drift's candidates.
        noise: The squared noise's candidates.
        seed: Of the search.
        progress: Called with (what is being done, value of the criterion).
    """

    def __init__(
        self, options: SparseSDE, steps: Steps, drift: Terms, noise: Terms, *, seed: int, progress: Progress
    ) -> None:
        self._options, self._steps, self._seed, self._progress = options, steps, seed, progress
        self._drift, self._noise_terms = drift, noise
        n, d = len(steps), steps.x0.shape[1]
        self._prices = options.prices(d * len(drift), n)
        self._noise_prices = options.prices(len(noise), n) + (
            np.log(d) if options.criterion == "pastis" else 0.0
        )  # n_0 counts the candidates of all states
        self._psi = noise.value(steps.t, steps.x0)

    def euler(self) -> Selection:
        """With Euler steps.

        Raises:
            DataError: If the drift alone explains the increments.
        """
        d = self._steps.x0.shape[1]
        everything = np.ones(len(self._prices), dtype=bool)
        rates = (self._steps.x1 - self._steps.x0) / self._steps.dt.sqrt()
        crude = Noise(self._noise_terms, torch.zeros(0), torch.diag(rates.var(0)))
        step = Step(self._drift, torch.zeros(len(self._drift), d).double(), crude, second_order=False)
        step = refit(step, self._steps, whitening(step, self._steps), everything, np.zeros(len(everything)))
        noise, choices = self._update_noise(step)
        return self._alternate(self._judge(replace(step, noise=noise), everything, choices))

    def second_order(self, start: Selection) -> Selection:
        """To second order in dt.

        Raises:
            NumericalError: If steps are so long that the drift cannot be followed over one.
        """
        step = replace(start.step, second_order=True)
        return self._alternate(self._judge(step, start.active, start.noise))

    def _alternate(self, now: Selection) -> Selection:
        """From a selection to one whose likelihood asks for the same terms; the best one met if there is none."""
        best = None
        for _ in range(_MOST_ROUNDS):
            chosen = best_subset(now.drift, starts=[now.active], seed=self._seed)
            active = now.active if chosen is None else chosen
            white = whitening(now.step, self._steps)
            step = refit(now.step, self._steps, white, active, now.drift.coefficients(active))
            noise, choices = self._update_noise(step)
            following = self._judge(replace(step, noise=noise), active, choices)
            self._progress("sparse search", following.value)
            if best is not None and _same_terms(following, now):
                return replace(following, settled=True)
            best = following if best is None or following.value > best.value else best
            now = following
        return now if best is None else best

    def _judge(self, step: Step, active: np.ndarray, choices: tuple[NoiseChoice, ...]) -> Selection:
        """The likelihood of all candidates about the step's own coefficients."""
        white = whitening(step, self._steps)
        found = sums(step, self._steps, white, np.ones(len(active), dtype=bool))
        if not np.isfinite(found.misfit) or not np.isfinite(found.information).all():
            raise NumericalError("The drift cannot be followed over a step.")
        quadratic = Quadratic.about(flat_coefficients(step), found.score, found.information, self._prices)
        price = self._prices[active].sum() + sum(self._noise_prices[c.chosen].sum() for c in choices)
        loglik = float(white.diagonal(dim1=-2, dim2=-1).log().sum()) - found.misfit
        return Selection(step, active, quadratic, choices, loglik - float(price), False)

    def _update_noise(self, step: Step) -> tuple[Noise, tuple[NoiseChoice, ...]]:
        miss, dt = misses(step, self._steps), self._steps.dt
        self._check_noise(miss)
        with torch.no_grad():
            carried = step.covariance(self._steps.t, dt, self._steps.x0) / dt[..., None]
            own = step.noise.matrix(self._steps.t, self._steps.x0)
        if self._options.noise == "full":
            squares = (miss[:, :, None] * miss[:, None, :] / dt[..., None]).mean(0)
            return Noise(self._noise_terms, torch.zeros(0), _nearest(squares - (carried - own).mean(0), squares)), ()
        # What a step adds to S dt is taken for a factor, so that the squares stay positive.
        ratio = (carried / own).diagonal(dim1=-2, dim2=-1)
        squares = (miss.square() / dt / ratio).numpy()
        choices = tuple(
            choose_noise(
                self._psi.numpy(), squares[:, i], self._noise_prices, f"squared noise of {name}", seed=self._seed
            )
            for i, name in enumerate(self._drift.state)
        )
        coefficients = torch.from_numpy(np.column_stack([c.coefficients for c in choices]))
        return Noise(self._noise_terms, coefficients), choices

    def _check_noise(self, miss: Tensor) -> None:
        """Raises DataError naming a state without noise, or without noise that is new at every step."""
        increments = (self._steps.x1 - self._steps.x0).square().mean(0).sqrt()
        rates = miss / self._steps.dt.sqrt()
        onward = (self._steps.x1[:-1] == self._steps.x0[1:]).all(1)
        followed = (rates[:-1] * rates[1:])[onward].sum(0) / rates[:-1][onward].square().sum(0).clamp_min(1e-300)
        for i, name in enumerate(self._drift.state):
            left = float(miss[:, i].square().mean().sqrt() / increments[i])
            if left <= _QUIET:
                raise DataError(
                    f"The increments of {name} have no noise: a drift of the library explains them to {left:.1g} of "
                    "their size, so that there is nothing stochastic to find. Is the series computed, interpolated or "
                    "smoothed?"
                )
            if float(followed[i]) > _SMOOTH:
                raise DataError(
                    f"{name} moves smoothly: what the drift leaves of its increments is nearly the same from step to "
                    f"step (correlation {float(followed[i]):.2f}), where noise would be new each time. Is the series "
                    "smoothed or interpolated? If it is a position, observe the velocity too."
                )


def _same_terms(one: Selection, other: Selection) -> bool:
    pairs = zip(one.noise, other.noise, strict=True)
    return bool((one.active == other.active).all()) and all((a.chosen == b.chosen).all() for a, b in pairs)


def _nearest(covariance: Tensor, otherwise: Tensor) -> Tensor:
    """The covariance where it is positive definite."""
    return covariance if int(torch.linalg.cholesky_ex(covariance).info) == 0 else otherwise
