"""The likelihood of noisy readings of one state by the Fokker-Planck equation: right at any step and any noise."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pdekit.data import Pairs
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.filtering.blocks import Blocks, cut
from pdekit.fitting.filtering.initial import first_readings
from pdekit.fitting.filtering.moments import MomentStep
from pdekit.fitting.filtering.observation import Observation, noise_levels
from pdekit.fitting.filtering.propagation import Spectrum
from pdekit.fitting.filtering.readings import ReadingWeights
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import FiniteVolumeGrid
from pdekit.symbolic import SymbolicSDE

# As in the likelihood without noise; the width that counts is that of the law between two readings.
CELLS_PER_DEVIATION = 5.5
_PADDING_DEVIATIONS = 3.0
_LEAST_CELLS, _MOST_CELLS = 60, 800
# Two filters whose laws differ by less than this mass give the same terms to 1e-8.
_FORGOTTEN = 1e-9
_LEAST_WARM_UP, _MOST_WARM_UP = 16, 10_000
# A reading this far below the peak of its prediction is lost in the rounding of the spectral kernel.
_FAINT = 1e-10
_LOST_MASS = 1e-5
# States with less than e^-600 of the greatest stationary mass are lost to rounding anyway.
_LEAST_HALF_MASS = -300.0
# Numbers kept for the backward pass beyond which parts of the run are computed twice instead.
_MOST_KEPT = 40_000_000
_KEPT_PER_CELL = 8
_PART = 8


class GridFilterLikelihood:
    r"""log p(y_{k+1} | y_1 ... y_k; theta) with the law of the state on a finite-volume grid.

    Between readings the law moves by exp(L* dt); a reading multiplies it by N(y; x, eps^2). As eps falls to zero this
    becomes the likelihood of exact readings. Built by `lay`; `refined` and `extrapolated` derive better ones.

    Args:
        model: An autonomous SDE with one state, with the level of the noise among its parameters or known.
        pairs: The readings, one column.
        observation: How much noise they have.
        grid: The grid, which stays fixed while the parameters move.
        reference: The parameters (k,) whose Lamperti coordinate the grid has.
        extrapolate: Combine the grid with one of half the cell width, (4 log p_{h/2} - log p_h) / 3.
        reason: Why this filter, for the summary table.

    Attributes:
        route: For the summary table.
        blocks: How the record is cut.
        unreachable: How many readings of the last run were beyond what the grid resolves; they took the normal law
            with the mean and variance of their prediction.
    """

    def __init__(
        self,
        model: SymbolicSDE,
        pairs: Pairs,
        observation: Observation,
        grid: FiniteVolumeGrid,
        reference: Tensor,
        *,
        extrapolate: bool = False,
        reason: str = "",
    ) -> None:
        self.model, self.pairs, self.observation, self.grid = model, pairs, observation, grid
        self.reference, self.extrapolate, self.cells = reference.detach(), extrapolate, grid.cells
        self.reason = reason
        cells = f"{self.cells} and {2 * self.cells} cells, extrapolated" if extrapolate else f"{self.cells} cells"
        self.route = f"Fokker-Planck filter, {cells}{reason}"
        self._levels = noise_levels(model, observation)
        ito = model.ito()
        self._coefficients = ito.function([ito.drift[0], ito.diffusion_matrix[0, 0]])
        slope = lambda x: 1.0 / self._at(self.reference, x)[1].abs()  # noqa: E731
        self._ends = ReadingWeights(grid, pairs.x1[:, 0], slope)
        self._starts = ReadingWeights(grid, pairs.x0[:, 0], slope)
        self._center, self._spread = first_readings(pairs)
        self._moments = MomentStep(model)
        self._range = float(pairs.dt.min()), float(pairs.dt.max())
        self.blocks: Blocks = cut(pairs, _LEAST_WARM_UP)
        self.unreachable = 0
        self._fine = self.refined() if extrapolate else None

    @classmethod
    def lay(
        cls,
        model: SymbolicSDE,
        pairs: Pairs,
        observation: Observation,
        reference: Tensor,
        *,
        cells: int | None = None,
        extrapolate: bool = False,
        reason: str = "",
    ) -> "GridFilterLikelihood":
        """Lays a grid for these readings in the Lamperti coordinate of the reference parameters (k,).

        Args:
            model: An autonomous SDE with one state, from `observed_model`.
            pairs: The readings.
            observation: How much noise they have.
            reference: Parameters near which the likelihood will be evaluated.
            cells: The number of cells; by default 5.5 in the standard deviation of the state between two readings.
            extrapolate: As in the class.
            reason: As in the class.

        Raises:
            UnsupportedError: If the model has several states or noises or depends on time.
            NumericalError: If the diffusion vanishes between the readings.
        """
        if model.dim != 1 or model.noise_dim != 1 or not model.autonomous:
            raise UnsupportedError(
                "The Fokker-Planck filter needs one state, one noise and coefficients that don't depend on time; "
                "the Kalman filter serves other models."
            )
        noise = model.function(model.ito().diffusion_matrix[0, 0])
        readings = torch.cat([pairs.x0[:, 0], pairs.x1[:, 0]])
        # Noise may carry readings, but not states, over the ends of the domain.
        margin = 1e-3 * float(readings.std())
        inside = readings.clamp(model.domain[0][0] + margin, model.domain[0][1] - margin)
        shortest, longest = math.sqrt(float(pairs.dt.min())), math.sqrt(float(pairs.dt.max()))
        coordinate = LampertiCoordinate(
            lambda at: noise(0.0, at[:, None], reference),
            model.domain[0],
            (float(inside.min()), float(inside.max())),
            _PADDING_DEVIATIONS * longest,
        )
        y = coordinate.to_y(inside)
        spread = max(float(y.std()), 1e-300)
        padding = _PADDING_DEVIATIONS * min(longest, spread)
        lower, upper = float(y.min()) - padding, float(y.max()) + padding
        with torch.no_grad():
            level = noise_levels(model, observation)(reference) / noise(0.0, inside[:, None], reference).abs()
            scale = _settled_deviation(shortest, float(level.quantile(0.05)))
        least, greatest = coordinate.range
        covered = min(upper, greatest) - max(lower, least)
        wanted = math.ceil(covered / (min(scale, spread) / CELLS_PER_DEVIATION))
        grid = FiniteVolumeGrid(coordinate, lower, upper, cells or min(max(wanted, _LEAST_CELLS), _MOST_CELLS))
        return cls(model, pairs, observation, grid, reference, extrapolate=extrapolate, reason=reason)

    def refined(self) -> "GridFilterLikelihood":
        """The same likelihood with half the cell width."""
        return self._with(self.grid.refined(), extrapolate=False)

    def extrapolated(self) -> "GridFilterLikelihood":
        """The same likelihood combined with that of half the cell width."""
        return self._with(self.grid, extrapolate=True)

    def _with(self, grid: FiniteVolumeGrid, *, extrapolate: bool) -> "GridFilterLikelihood":
        return GridFilterLikelihood(
            self.model, self.pairs, self.observation, grid, self.reference, extrapolate=extrapolate, reason=self.reason
        )

    @property
    def finest(self) -> int:
        """The cells of its finest grid."""
        return 2 * self.cells if self.extrapolate else self.cells

    def log_density(self, theta: Tensor) -> Tensor:
        """log p(y_{k+1} | y_1 ... y_k) of every pair, (n,); the first reading of each path is given."""
        coarse = self._filter(theta).log_density
        if self._fine is None:
            return coarse
        return (4.0 * self._fine.log_density(theta) - coarse) / 3.0

    def cdf(self, theta: Tensor) -> Tensor:
        """P(Y_{k+1} <= y_{k+1} | y_1 ... y_k) of every pair, (n,), without gradient."""
        best = self._fine or self
        with torch.no_grad():
            return best._filter(theta, distribution=True).below.clamp(0.0, 1.0)

    def residuals(self, theta: Tensor) -> Tensor:
        """Normal scores of the distribution function, (n, 1): independent standard normals if the model holds."""
        tiny = 1e-16
        return torch.special.ndtri(self.cdf(theta).clamp(tiny, 1.0 - tiny))[:, None]

    def states(self, theta: Tensor) -> Tensor:
        """E(X_{k+1} | y_1 ... y_{k+1}) of every pair, (n, 1)."""
        best = self._fine or self
        with torch.no_grad():
            return best._filter(theta).mean[:, None]

    def _at(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        both = self._coefficients(0.0, x[:, None], theta)
        return both[:, 0], both[:, 1]

    def _filter(self, theta: Tensor, distribution: bool = False) -> "_Found":
        """Runs the filter; again with a longer warm-up while blocks don't meet."""
        chain = self.grid.assemble(lambda x: self._at(theta, x))
        spectrum = Spectrum.of(*chain.symmetric(), *self._range)
        half_mass = (0.5 * (chain.log_mass - chain.log_mass.detach().amax())).clamp_min(_LEAST_HALF_MASS)
        while True:
            found, gap = self._run(spectrum, half_mass, theta, distribution)
            if gap <= _FORGOTTEN:
                return found
            if not math.isfinite(gap) or self.blocks.warm_up >= _MOST_WARM_UP:
                raise NumericalError(
                    f"The filter can't follow the readings at {self.model.named(theta.detach())}: they are next to "
                    "impossible there, or say next to nothing about the state. Give other starting values, or average "
                    "the readings."
                )
            self.blocks = cut(self.pairs, 2 * self.blocks.warm_up)

    def _run(self, spectrum: Spectrum, half_mass: Tensor, theta: Tensor, distribution: bool) -> tuple["_Found", float]:
        blocks = self.blocks
        law = self._starts.start(blocks.start, self._levels(theta)[0], self._center, self._spread)
        kept = blocks.columns * blocks.rows * self.cells * _KEPT_PER_CELL
        twice = torch.is_grad_enabled() and kept > _MOST_KEPT
        outputs, before_own, lost = [], law, 0
        for first in range(0, blocks.columns, _PART):
            columns = range(first, min(first + _PART, blocks.columns))
            arguments = (law, half_mass, theta, spectrum, columns, distribution)
            law, out, held, beyond = (
                checkpoint(self._part, *arguments, use_reentrant=False) if twice else self._part(*arguments)
            )  # type: ignore[misc]
            outputs.append(out)
            lost += beyond
            if held is not None:
                before_own = held
        self.unreachable = lost
        values = torch.cat(outputs, 1)[:, blocks.column, blocks.row]
        with torch.no_grad():
            later = blocks.previous >= 0
            gap = float((before_own[later] - law[blocks.previous[later]]).abs().sum(-1).amax()) if later.any() else 0.0
            gap = gap if math.isfinite(float(values.sum())) else math.nan
        return _Found(values[0], values[1].detach(), values[2].detach()), gap

    def _part(
        self,
        law: Tensor,
        half_mass: Tensor,
        theta: Tensor,
        spectrum: Spectrum,
        columns: range,
        distribution: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None, int]:
        """Some columns: the law after them, (terms, means, distribution) (3, columns, R), the law after the warm-up."""
        blocks, centers, out, held, beyond = self.blocks, self.grid.centers, [], None, 0
        to_root, from_root, level = torch.exp(-half_mass), torch.exp(half_mass), self._levels(theta)[0]
        for c in columns:
            pair, active = blocks.pair[c], blocks.active[c]
            predicted = spectrum.carry(law * to_root, self.pairs.dt[pair]) * from_root
            lost = ~((predicted.detach().sum(-1) - 1.0).abs() < _LOST_MASS)
            if bool(lost.any()):
                predicted = torch.where(lost[:, None], self._normal_step(law, self.pairs.dt[pair], theta), predicted)
            weights = self._ends(pair, level)
            joint = predicted * weights
            density = joint.sum(-1)
            faint = ~(density.detach() > _FAINT * (predicted.detach() / self.grid.widths).amax(-1))
            term = density.clamp_min(1e-300).log()
            if bool(faint.any()):
                term = torch.where(faint, self._normal(predicted, self._ends.readings[pair], level), term)
                joint = torch.where(faint[:, None], weights, joint)
            new = joint / joint.sum(-1, keepdim=True)
            below = (predicted * self._ends.cdf(pair, level)).sum(-1) if distribution else torch.zeros_like(term)
            law = new if bool(active.all()) else torch.where(active[:, None], new, law)
            out.append(torch.stack([term, law @ centers, below]))
            if c >= blocks.warm_up:
                beyond += int((faint | lost).sum())
            if c == blocks.warm_up - 1:
                held = law.detach()
        return law, torch.stack(out, 1), held, beyond

    def _normal_step(self, law: Tensor, steps: Tensor, theta: Tensor) -> Tensor:
        """The normal law after a step from laws (R, N) so improbable that rounding swallows them, on the grid."""
        centers = self.grid.centers
        mean = law @ centers
        variance = (law * (centers - mean[:, None]).square()).sum(-1).clamp_min(0.0)
        mean, spread = self._moments(torch.zeros_like(steps), steps, mean[None], variance[None, None], theta)
        z = (centers - mean[0][:, None]) / spread[0, 0].sqrt()[:, None]
        return torch.softmax(-0.5 * z * z + self.grid.widths.log(), -1)

    def _normal(self, predicted: Tensor, readings: Tensor, level: Tensor) -> Tensor:
        """log N(y) with the mean and variance of the prediction, (R,)."""
        mean = predicted @ self.grid.centers
        variance = (predicted * (self.grid.centers - mean[:, None]).square()).sum(-1) + level * level
        return -0.5 * ((readings - mean).square() / variance + torch.log(2.0 * math.pi * variance))


@dataclass(frozen=True, eq=False)
class _Found:
    """log p, filtered mean and distribution function at every pair, (n,) each."""

    log_density: Tensor
    mean: Tensor
    below: Tensor


def _settled_deviation(step: float, level: float) -> float:
    """The finest scale of the law over a step: its own noise's, or what is left of the filtered law's."""
    noise, reading = step * step, level * level
    predicted = 0.5 * (noise + math.sqrt(noise * noise + 4.0 * noise * reading))
    filtered = predicted * reading / (predicted + reading)
    return max(step, math.sqrt(filtered))


__all__ = ["GridFilterLikelihood"]
