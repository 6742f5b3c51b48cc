"""The likelihood of noisy or partial readings by an extended Kalman filter, any number of states."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.filtering.blocks import cut
from pdekit.fitting.filtering.initial import InitialLaw
from pdekit.fitting.filtering.moments import MomentStep
from pdekit.fitting.filtering.observation import Observation, noise_levels
from pdekit.symbolic import SymbolicSDE

# Two filters that agree to this, in standard deviations of the innovation, give the same terms to 1e-9.
FORGOTTEN = 1e-9
_LEAST_WARM_UP = 16
_MOST_WARM_UP = 10_000
# How much dt df/dx may change, within a part of a step, before the drift is expanded anew. Measured on double wells.
_CHANGE = 0.1
# What the midpoint rule would leave out, within a part of a step, of a drift or noise that depends on time: in standard
# deviations of the step, and as a share of its variance. Simpson's rule, which is taken, leaves far less.
_LEFT_OUT = 0.04
_MOST_SUBSTEPS = 40


class KalmanLikelihood:
    r"""log p(y_{k+1} | y_1 ... y_k; theta) by the (extended) continuous-discrete Kalman filter.

    Between readings mean and covariance move as `MomentStep` says; a reading updates them by Bayes' rule for normal
    laws. Exact for affine drift and additive noise that don't depend on time, whatever the steps.

    Args:
        model: The SDE, with its noise levels as parameters (see `observed_model`).
        pairs: The readings; x0 and x1 hold one column per observed state.
        observation: Which states they are, and with how much noise.
        reference: Parameters (k,) near which the likelihood will be evaluated. They set the law of unobserved states
            at the first reading, how often a step is subdivided, and the first guess of how fast the filter forgets.

    Attributes:
        route: For the summary table.
        blocks: How the record is cut; grows longer warm-ups where parameters make the filter forget more slowly.

    Raises:
        NumericalError: If coefficients are not finite at the readings under the reference parameters.

    Source: Jazwinski (1970), Stochastic Processes and Filtering Theory, chapters 7 and 9; Saerkkae & Solin (2019),
        Applied Stochastic Differential Equations, chapter 10.
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, observation: Observation, reference: Tensor) -> None:
        self.model, self.pairs, self.observation = model, pairs, observation
        self.columns = [model.state_names.index(name) for name in observation.states(model)]
        self._step = MomentStep(model)
        self._levels = noise_levels(model, observation)
        reference = reference.detach()
        self.initial = InitialLaw.rough(model, pairs, self.columns, reference)
        self.substeps = 1 if self._step.linear else self._count_substeps(reference)
        self.blocks = cut(pairs, _LEAST_WARM_UP)
        self._distinct = pairs.distinct() if self._step.linear and model.autonomous else None
        with torch.no_grad():
            filtered = self._filter(reference)
            if len(self.columns) < model.dim:
                found = filtered.mean.T, filtered.covariance.movedim(-1, 0)
                self.initial = self.initial.observed(*found, self.columns)
        kind = "Kalman filter" if self._step.linear else "extended Kalman filter"
        parts = f", {self.substeps} parts a step" if self.substeps > 1 else ""
        self.route = f"{kind}{parts}"

    def log_density(self, theta: Tensor) -> Tensor:
        """log p(y_{k+1} | y_1 ... y_k) of every pair, (n,); the first reading of each path is given."""
        return self._filter(theta).log_density

    def cdf(self, theta: Tensor) -> Tensor:
        """P(Y_{k+1} <= y_{k+1} | y_1 ... y_k) of every pair, (n,), without gradient; one column only."""
        if len(self.columns) > 1:
            raise UnsupportedError(
                "A distribution function needs one observed state; for several, use the standardised innovations."
            )
        return torch.special.ndtr(self.residuals(theta)[:, 0])

    def residuals(self, theta: Tensor) -> Tensor:
        """Standardised innovations, (n, d_obs): independent standard normals if the model holds and is near linear.

        Of several columns at one time, each is predicted from those before it too.
        """
        with torch.no_grad():
            return self._filter(theta).innovation.T

    def states(self, theta: Tensor) -> Tensor:
        """E(X_{k+1} | y_1 ... y_{k+1}) of every pair, (n, d)."""
        with torch.no_grad():
            return self._filter(theta).mean.T

    def covariances(self, theta: Tensor) -> Tensor:
        """The covariance of X_{k+1} given y_1 ... y_{k+1} of every pair, (n, d, d)."""
        with torch.no_grad():
            return self._filter(theta).covariance.movedim(-1, 0)

    def _filter(self, theta: Tensor) -> "Filtered":
        """Runs the filter; again with a longer warm-up while blocks don't meet."""
        while True:
            filtered, gap = self._run(theta)
            if gap <= FORGOTTEN:
                return filtered
            if self.blocks.warm_up >= _MOST_WARM_UP:
                raise NumericalError(
                    f"After {self.blocks.warm_up:,} readings the filter still depends on where it began: under these "
                    "parameters the readings say next to nothing about the state. Average or subsample them."
                )
            self.blocks = cut(self.pairs, 2 * self.blocks.warm_up)

    def _run(self, theta: Tensor) -> tuple["Filtered", float]:
        blocks, pairs = self.blocks, self.pairs
        variance = self._levels(theta).square()
        start = blocks.start
        mean, covariance = self._law(theta).at(pairs.x0[start].T, variance, self.columns)
        readings, times, steps = pairs.x1[blocks.pair], pairs.t[blocks.pair], pairs.dt[blocks.pair]
        resting = ~blocks.active.all(1)
        means, covariances, innovations, scales = [], [], [], []
        advance = self._advance(theta)
        for c in range(blocks.columns):
            before = mean, covariance
            mean, covariance = advance(blocks.pair[c], times[c], steps[c], mean, covariance)
            mean, covariance, innovation, scale = self._update(mean, covariance, readings[c], variance)
            if resting[c]:
                mean = torch.where(blocks.active[c], mean, before[0])
                covariance = torch.where(blocks.active[c], covariance, before[1])
            means.append(mean)
            covariances.append(covariance)
            innovations.append(innovation)
            scales.append(scale)
        gap = self._gap(means, covariances, scales)
        if not math.isfinite(gap):
            raise NumericalError(
                f"The filter left the range where the model's coefficients are finite at {self.model.named(theta)}; "
                "a state may have left its domain. Give other starting values, or bounds."
            )
        own = (slice(None), blocks.column - blocks.warm_up, blocks.row)
        keep = slice(blocks.warm_up, None)
        innovation, scale = torch.stack(innovations[keep], 1)[own], torch.stack(scales[keep], 1)[own]
        log_density = -0.5 * (innovation.square() + 2.0 * scale.log() + math.log(2.0 * math.pi)).sum(0)
        with torch.no_grad():
            mean = torch.stack(means[keep], 1)[own]
            covariance = torch.stack(covariances[keep], 2)[(slice(None), *own)]
        return Filtered(log_density, innovation.detach(), mean, covariance), gap

    def _law(self, theta: Tensor) -> InitialLaw:
        """The law at a first reading; hidden states as in the stationary law of these parameters, if there is one."""
        if not (self.initial.hidden and self._step.linear):
            return self.initial
        found = self._step.stationary(theta)
        return self.initial if found is None else self.initial.regressed(*found, self.columns)

    def _advance(self, theta: Tensor) -> Callable[..., tuple[Tensor, Tensor]]:
        """(pair, t, step, mean, covariance) to the next mean and covariance."""
        if self._distinct is None:
            return lambda pair, t, step, mean, covariance: self._step(t, step, mean, covariance, theta, self.substeps)
        values, index = self._distinct
        affine = self._step.affine(values, theta)
        if len(values) == 1:
            return lambda pair, t, step, mean, covariance: affine.advance(mean, covariance)
        return lambda pair, t, step, mean, covariance: affine.at(index[pair]).advance(mean, covariance)

    def _update(
        self, mean: Tensor, covariance: Tensor, reading: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bayes' rule, one column after another, which independent noise allows: (m, P, innovation, its scale)."""
        innovations, scales = [], []
        for k, i in enumerate(self.columns):
            scale = (covariance[i, i] + variance[k]).sqrt()
            innovation = (reading[:, k] - mean[i]) / scale
            shift = covariance[i] / scale
            mean = mean + shift * innovation
            covariance = covariance - shift[:, None] * shift[None]
            innovations.append(innovation)
            scales.append(scale)
        return mean, covariance, torch.stack(innovations), torch.stack(scales)

    def _gap(self, means: list[Tensor], covariances: list[Tensor], scales: list[Tensor]) -> float:
        """How far blocks are from taking over where the ones before them end; infinite or NaN where a value is."""
        with torch.no_grad():
            later = self.blocks.previous >= 0
            total = float(torch.stack([s.sum() for s in scales]).sum() + means[-1].sum())
            if not math.isfinite(total):
                return math.nan
            if not bool(later.any()):
                return 0.0
            earlier, here = self.blocks.previous[later], self.blocks.warm_up - 1
            spread = covariances[-1].diagonal().T[:, earlier].clamp_min(0.0).sqrt()
            unit = spread + 1e-3 * scales[-1].amax(0)[earlier]
            mean = (means[here][:, later] - means[-1][:, earlier]).abs() / unit
            covariance = (covariances[here][..., later] - covariances[-1][..., earlier]).abs() / (unit[:, None] * unit)
            return float(torch.maximum(mean.amax(), covariance.amax()))

    def _count_substeps(self, theta: Tensor) -> int:
        """Parts of a step short enough, at nearly all readings, for J to stay as it is."""
        pairs, zero = self.pairs, torch.zeros(len(self.columns), dtype=torch.float64)
        some = torch.linspace(0, len(pairs) - 1, min(len(pairs), 2000)).long()
        with torch.no_grad():
            ends, t, dt = [], pairs.t[some], pairs.dt[some]
            for readings, when in ((pairs.x0, t), (pairs.x1, t + dt)):
                mean, covariance = self.initial.at(readings[some].T, zero, self.columns)
                ends.append(self._step.rates(when, dt, mean, 0.0 * covariance, theta)[2])
            change = (ends[1] - ends[0]).abs().sum(1).amax(0) * dt
            left = torch.zeros_like(dt) if self.model.autonomous else self._left_out(some, theta)
        if not bool(torch.isfinite(change).all()):
            raise NumericalError(
                f"The drift's derivatives are not finite at some readings at {self.model.named(theta)}; "
                "give other starting values by start={...}."
            )
        parts = max(float(change.quantile(0.99)) / _CHANGE, math.sqrt(float(left.quantile(0.99)) / _LEFT_OUT))
        return min(max(1, math.ceil(parts)), _MOST_SUBSTEPS)

    def _left_out(self, some: Tensor, theta: Tensor) -> Tensor:
        """What the midpoint rule leaves out of f(t) and Q(t) over whole steps, (n,): a sixth of second differences."""
        t, dt = self.pairs.t[some], self.pairs.dt[some]
        zero = torch.zeros(len(self.columns), dtype=torch.float64)
        mean, covariance = self.initial.at(self.pairs.x0[some].T, zero, self.columns)
        found = [self._step.rates(t + share * dt, dt, mean, 0.0 * covariance, theta) for share in (0.0, 0.5, 1.0)]
        first, middle, last = ((f, q.diagonal().T) for f, _, _, q in found)
        size = (middle[1] * dt).sum(0).clamp_min(1e-300).sqrt()
        drift = dt * (first[0] + last[0] - 2.0 * middle[0]).abs().amax(0) / size
        noise = (first[1] + last[1] - 2.0 * middle[1]).abs().sum(0) / middle[1].sum(0).clamp_min(1e-300)
        return torch.maximum(drift, noise) / 6.0


@dataclass(frozen=True, eq=False)
class Filtered:
    """What a filter found at every pair's second reading.

    Attributes:
        log_density: log p(y_{k+1} | y_1 ... y_k), (n,), with gradient.
        innovation: Standardised innovations, (d_obs, n).
        mean: Means after the reading, (d, n).
        covariance: Covariances after the reading, (d, d, n).
    """

    log_density: Tensor
    innovation: Tensor
    mean: Tensor
    covariance: Tensor


__all__ = ["KalmanLikelihood"]
