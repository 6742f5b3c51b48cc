"""The likelihood of snapshots of one state: the density that the finite-volume generator carries from time to time.

log p(t_k, x) is interpolated between cells by cubics, after division by a speed density that stays fixed, so that
powers of the distance to a boundary cost no accuracy.
"""

import math

import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import NumericalError
from pdekit.fitting.coefficients import Coefficients
from pdekit.fitting.snapshots.initial import InitialLaw
from pdekit.fitting.snapshots.propagation import propagate, propagate_positive
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid, SpeedDensity
from pdekit.symbolic import SymbolicSDE

CELLS_PER_DEVIATION = 5.5
LEAST_CELLS, MOST_CELLS = 80, 600
_COVERED = 6.0  # deviations; the outermost of N samples lies some sqrt(2 log N) of them away
# Below this share of the start's norm an eigendecomposition leaves noise; then masses are summed of positive terms.
_NOISE_FLOOR = 1e-13
_LEAST = 1e-280
_STEEP = 30.0  # change of the logarithm of an equilibrium from cell to cell: no more than a step that mass can't climb


class LineLikelihood:
    """log p(t_k, x; theta, alpha) of all samples, on a grid that stays fixed while the parameters move.

    Args:
        model: An autonomous Ito SDE with one state.
        data: The snapshots.
        law: The family of initial laws.
        grid: Cells that cover all samples.
        reference: The parameters whose speed density is divided out, (k,).
    """

    def __init__(
        self, model: SymbolicSDE, data: Snapshots, law: InitialLaw, grid: FiniteVolumeGrid, reference: Tensor
    ) -> None:
        self.model, self.data, self.law, self.grid, self.reference = model, data, law, grid, reference
        self._coefficients = Coefficients(model)
        states, which = data.pooled()
        self._first = states[which == 0]
        later = which > 0
        x, self._row = states[later, 0], which[later] - 1
        self._times = data.times[1:] - data.times[0]
        self._stencil, self._weights = _stencil(grid, x)
        self._index = (self._row * grid.cells)[:, None] + self._stencil
        self._wanted = torch.zeros(len(self._times) * grid.cells, dtype=torch.bool)
        self._wanted[self._index.flatten()] = True
        self._wanted = self._wanted.reshape(len(self._times), grid.cells)
        visited = self._wanted.any(0)
        self._visited = (visited[1:] & visited[:-1]).double()
        with torch.no_grad():
            chain = grid.assemble(self._scalar(reference))
            self._log_speed = chain.log_speed
            self._at_samples = SpeedDensity(grid, x).log(chain, self._scalar(reference))
        self.route = f"Fokker-Planck from a fitted initial law, {grid.cells} cells"

    @classmethod
    def lay(
        cls, model: SymbolicSDE, data: Snapshots, law: InitialLaw, theta: Tensor, alpha: Tensor
    ) -> "LineLikelihood":
        """A grid that suits these parameters.

        Raises:
            NumericalError: If the diffusion vanishes between the samples.
        """
        coefficients = Coefficients(model)
        noise = lambda x: coefficients.noise(0.0, x[:, None], theta)[:, 0, :].square().sum(-1).sqrt()  # noqa: E731
        states = torch.cat(data.samples)[:, 0]
        reach = (float(states.min()), float(states.max()))
        near = LampertiCoordinate(noise, model.domain[0], reach, 1e-3)
        spread = float(near.to_y(states).std())
        more = max(_COVERED - math.sqrt(2.0 * math.log(len(states))), 1.0)
        padding = more * min(math.sqrt(float(data.times.diff().max())), spread)
        coordinate = LampertiCoordinate(noise, model.domain[0], reach, padding)
        y = coordinate.to_y(states)
        lower, upper = float(y.min()) - padding, float(y.max()) + padding
        least, greatest = coordinate.range
        covered = min(upper, greatest) - max(lower, least)
        with torch.no_grad():
            narrow = float(law.narrowest(alpha)[0] / noise(data.samples[0].median(0).values).clamp_min(1e-300))
        finest = min([narrow, *(float(coordinate.to_y(x[:, 0]).std()) for x in data.samples)])
        cells = math.ceil(covered * CELLS_PER_DEVIATION / max(finest, 1e-300))
        cells = min(max(cells, LEAST_CELLS), MOST_CELLS)
        return cls(model, data, law, FiniteVolumeGrid(coordinate, lower, upper, cells), theta)

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.grid.cells

    def refined(self) -> "LineLikelihood":
        """The same on cells of half the width."""
        return LineLikelihood(self.model, self.data, self.law, self.grid.refined(), self.reference)

    def log_density(self, parameters: Tensor) -> Tensor:
        """Of every sample, (N,), at theta and alpha one after the other; differentiable in both.

        Raises:
            NumericalError: If the generator can't be assembled or decomposed, or a sample is impossible.
        """
        k = len(self.model.param_names)
        theta, alpha = parameters[:k], parameters[k:]
        log_p = self._log_masses(self.grid.assemble(self._scalar(theta)), alpha)
        cells = (log_p - self._log_speed).flatten()[self._index]
        later = (cells * self._weights).sum(-1) + self._at_samples
        return torch.cat([self.law.log_density(self._first, alpha), later])

    def _log_masses(self, chain: Chain, alpha: Tensor) -> Tensor:
        """log density with respect to x at the centres, (K - 1, n)."""
        if float((chain.log_speed.detach().diff().abs() * self._visited).max()) > _STEEP:
            raise NumericalError("The noise is too weak against the drift for this grid at these parameters.")
        per_mass = chain.log_speed - chain.log_mass
        start = torch.log_softmax(self.law.log_density(self.grid.centers[:, None], alpha) - per_mass, 0)
        half = 0.5 * chain.log_mass
        half = half - half.detach().max()
        symmetric = torch.exp(start - half)
        found = None
        if bool(torch.isfinite(symmetric).all()):
            found = propagate(*chain.symmetric(), symmetric, self._times)
            floor = _NOISE_FLOOR * float(symmetric.detach().norm())
            if bool(((found.detach() < floor) & self._wanted).any()):
                found = None
        if found is not None:
            return torch.log(found.clamp_min(_LEAST)) + half + per_mass
        masses = propagate_positive(chain.up.exp(), chain.down.exp(), start.exp(), self._times)
        if bool(((masses.detach() < _LEAST) & self._wanted).any()):
            raise NumericalError("A sample has no density in double precision at these parameters.")
        return torch.log(masses.clamp_min(_LEAST)) + per_mass

    def _scalar(self, theta: Tensor):
        def coefficients(x: Tensor) -> tuple[Tensor, Tensor]:
            state = x[:, None]
            noise = self._coefficients.noise(0.0, state, theta)[:, 0, :]
            size = noise[:, 0] if noise.shape[-1] == 1 else noise.square().sum(-1).sqrt()
            return self._coefficients.drift(0.0, state, theta)[:, 0], size

        return coefficients


def _stencil(grid: FiniteVolumeGrid, x: Tensor) -> tuple[Tensor, Tensor]:
    """The four cells around each x, (n, 4), and the weights of cubic interpolation in y."""
    position = (grid.coordinate.to_y(x) - grid.y_lower) / grid.step - 0.5
    first = position.floor().long().sub(1).clamp(0, grid.cells - 4)
    s = position - first
    a, b, c = s - 1.0, s - 2.0, s - 3.0
    weights = torch.stack([-a * b * c / 6.0, s * b * c / 2.0, -s * a * c / 2.0, s * a * b / 6.0], -1)
    return first[:, None] + torch.arange(4), weights


__all__ = ["LineLikelihood"]
