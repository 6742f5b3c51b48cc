"""The likelihood of snapshots of two states: masses on a sparse grid, carried from time to time.

Gradients in the parameters of the initial law are those of the adjoint evolution, run once backwards; those in the
model's parameters are central differences, of which each costs two evolutions.
"""

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from pdekit.data.snapshots import Snapshots
from pdekit.errors import NumericalError, PdekitError
from pdekit.fitting.snapshots.initial import InitialLaw
from pdekit.fokker_planck.equation import AtTime
from pdekit.fokker_planck.grid.assembly import Rates, assemble
from pdekit.fokker_planck.grid.axis import Axis, Coordinate, Linear, Logarithmic
from pdekit.fokker_planck.grid.mesh import Mesh
from pdekit.sde import SDE
from pdekit.symbolic import SymbolicSDE

CELLS_PER_DEVIATION = 3.5
LEAST_CELLS, MOST_CELLS = 24, 160
_COVERED = 5.5  # deviations; the outermost of N samples lies some sqrt(2 log N) of them away
_LEAST = 1e-280
_DIFFERENCE = 1e-5
_PORTION = 600.0  # jumps: exp(-c t) must not underflow
_MOST_JUMPS = 1e5


class PlaneLikelihood:
    """log p(t_k, x; theta, alpha) of all samples, on a grid that stays fixed while the parameters move.

    Args:
        model: An autonomous Ito SDE with two states.
        data: The snapshots.
        law: The family of initial laws.
        mesh: Nodes that cover all samples.
        units: Of the parameters theta: the size of a change that is noticed, (k,).
    """

    def __init__(self, model: SymbolicSDE, data: Snapshots, law: InitialLaw, mesh: Mesh, units: Tensor) -> None:
        self.model, self.data, self.law, self.mesh, self.units = model, data, law, mesh, units
        whole = model.diffusion_matrix
        diffusion: Any = list(whole.diagonal()) if model.noise_type == "diagonal" else whole
        self._drift, self._noise = model.function(list(model.drift)), model.function(diffusion)
        states, which = data.pooled()
        self._first = states[which == 0]
        x, self._row = states[which > 0].numpy(), (which[which > 0] - 1).numpy()
        y = mesh.to_y(x)
        self._stencil, self._weights = _stencil(mesh, y)
        self._log_slope = torch.from_numpy(mesh.log_slope_at(y) * np.ones(len(y)))
        self._nodes = torch.from_numpy(mesh.x)
        self._log_share = torch.from_numpy(np.log(mesh.volume) + mesh.log_slope)
        self._steps = np.diff(data.times.numpy())
        self.route = f"Fokker-Planck from a fitted initial law, {mesh} cells"

    @classmethod
    def lay(
        cls, model: SymbolicSDE, data: Snapshots, law: InitialLaw, theta: Tensor, alpha: Tensor
    ) -> "PlaneLikelihood":
        """A grid that suits these parameters."""
        with torch.no_grad():
            narrow = law.narrowest(alpha).numpy()
        axes = tuple(_axis(model, data, i, float(narrow[i])) for i in range(model.dim))
        return cls(model, data, law, Mesh(axes), theta.abs().clamp_min(1e-2))

    @property
    def cells(self) -> int:
        """Cells along the longer axis."""
        return max(axis.cells for axis in self.mesh.axes)

    def refined(self) -> "PlaneLikelihood":
        """The same on cells of half the width."""
        axes = tuple(Axis(a.low, a.high, 2 * a.cells, a.sides, a.coordinate) for a in self.mesh.axes)
        return PlaneLikelihood(self.model, self.data, self.law, Mesh(axes), self.units)

    def log_density(self, parameters: Tensor) -> Tensor:
        """Of every sample, (N,), at theta and alpha one after the other; differentiable once in both.

        Raises:
            NumericalError: If a coefficient is not finite on the grid, or a sample is impossible.
        """
        k = len(self.model.param_names)
        theta, alpha = parameters[:k], parameters[k:]
        start = torch.softmax(self.law.log_density(self._nodes, alpha) + self._log_share, 0)
        later = _Carried.apply(theta, start, self) - self._log_slope
        return torch.cat([self.law.log_density(self._first, alpha), later])  # type: ignore[list-item]

    def rates(self, theta: np.ndarray) -> Rates:
        """The rates of jumps between nodes.

        Raises:
            NumericalError: If they can't be had at these parameters.
        """
        at = torch.from_numpy(theta)
        ito = self.model
        sde = SDE(
            drift=lambda t, x: self._drift(t, x, at),
            diffusion=lambda t, x: self._noise(t, x, at),
            dim=ito.dim,
            noise_type=ito.noise_type,
            noise_dim=ito.noise_dim,
            autonomous=True,
            names=ito.state_names,
        )
        try:
            return assemble(self.mesh, AtTime(sde, 0.0), "blended", crude=True)
        except NumericalError:
            raise
        except PdekitError as cause:
            raise NumericalError(f"The generator can't be had at {ito.named(at)}: {cause}") from cause

    def masses(self, rates: Rates, start: np.ndarray) -> np.ndarray:
        """Masses at every later time, (K - 1, N)."""
        found, mass = [], start
        for step in self._steps:
            mass = _after(rates.matrix, mass, float(step))
            found.append(mass)
        return np.stack(found)

    def log_samples(self, masses: np.ndarray) -> np.ndarray:
        """log density with respect to y at the samples of later snapshots, (N,)."""
        log_p = np.log(np.maximum(masses, _LEAST)) - np.log(self.mesh.volume)
        return (log_p[self._row[:, None], self._stencil] * self._weights).sum(-1)

    def pulled_back(self, rates: Rates, masses: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The gradient in the masses at the start, (N,), from that in `log_samples`."""
        backwards = rates.matrix.T.tocsr()
        size, steps = masses.shape[1], list(self._steps)
        spread = np.bincount(
            (self._row[:, None] * size + self._stencil).reshape(-1),
            (self._weights * gradient[:, None]).reshape(-1),
            masses.size,
        ).reshape(masses.shape) / np.maximum(masses, _LEAST)
        found = np.zeros(size)
        for row, step in zip(spread[::-1], steps[::-1], strict=True):
            found = _after(backwards, found + row, float(step))
        return found


def _after(matrix: sp.csr_array, mass: np.ndarray, duration: float) -> np.ndarray:
    """exp(Q t) P = sum_k Poisson(k; c t) (I + Q / c)^k P: of positive terms, if P is positive.

    Raises:
        NumericalError: If there are so many jumps that it would take for ever.
    """
    fastest = float(-matrix.diagonal().min())
    jumps = fastest * duration
    if not jumps < _MOST_JUMPS:
        raise NumericalError("The rates of the grid are too large for masses to be followed jump by jump.")
    scaled = matrix / fastest
    portions = max(1, math.ceil(jumps / _PORTION))
    mean = jumps / portions
    for _ in range(portions):
        weight = math.exp(-mean)
        power, total = mass, mass * weight
        for k in range(1, math.ceil(mean + 9.0 * math.sqrt(mean) + 9.0) + 1):
            power = power + scaled @ power
            weight *= mean / k
            total = total + weight * power
        mass = total
    return mass


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, start: Tensor, likelihood: PlaneLikelihood) -> Tensor:  # type: ignore[override]
        at, mass = theta.detach().numpy().copy(), start.detach().numpy().copy()
        rates = likelihood.rates(at)
        masses = likelihood.masses(rates, mass)
        ctx.saved = (at, mass, rates, masses, likelihood)
        return torch.from_numpy(likelihood.log_samples(masses))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor):
        at, mass, rates, masses, likelihood = ctx.saved
        weight = gradient.numpy()
        in_theta = np.zeros(len(at))
        if ctx.needs_input_grad[0]:
            for i, unit in enumerate(likelihood.units.tolist()):
                ahead, behind = at.copy(), at.copy()
                ahead[i] += _DIFFERENCE * unit
                behind[i] -= _DIFFERENCE * unit
                up, down = (
                    likelihood.log_samples(likelihood.masses(likelihood.rates(p), mass)) for p in (ahead, behind)
                )
                in_theta[i] = weight @ (up - down) / (ahead[i] - behind[i])
        in_start = likelihood.pulled_back(rates, masses, weight) if ctx.needs_input_grad[1] else None
        return torch.from_numpy(in_theta), None if in_start is None else torch.from_numpy(in_start), None


def _axis(model: SymbolicSDE, data: Snapshots, i: int, narrow: float) -> Axis:
    """Nodes from before the least sample to after the greatest, fine enough for the narrowest snapshot."""
    lower, upper = model.domain[i]
    coordinate: Coordinate = Linear()
    if math.isfinite(lower) != math.isfinite(upper):
        coordinate = Logarithmic(lower) if math.isfinite(lower) else Logarithmic(upper, upward=False)
    columns = [coordinate.to_y(x[:, i].numpy()) for x in data.samples]
    y = np.concatenate(columns)
    slope = float(np.exp(coordinate.log_slope(np.array([np.median(columns[0])])))[0])
    finest = min(narrow / slope, *(float(c.std()) for c in columns))
    more = max(_COVERED - math.sqrt(2.0 * math.log(len(y))), 0.8) * min(float(y.std()), 3.0 * finest)
    low, high = float(y.min()) - more, float(y.max()) + more
    if math.isfinite(lower) and math.isfinite(upper):
        low, high = max(low, lower), min(high, upper)
    cells = math.ceil((high - low) * CELLS_PER_DEVIATION / finest)
    return Axis(low, high, min(max(cells, LEAST_CELLS), MOST_CELLS), ("natural", "natural"), coordinate)


def _stencil(mesh: Mesh, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 4^d nodes around each y, (n, 4^d), and the weights of cubic interpolation."""
    index, weight = np.zeros((len(y), 1), dtype=np.int64), np.ones((len(y), 1))
    for i, axis in enumerate(mesh.axes):
        position = (y[:, i] - axis.low) / axis.step
        first = np.clip(np.floor(position).astype(np.int64) - 1, 0, axis.size - 4)
        s = position - first
        a, b, c = s - 1.0, s - 2.0, s - 3.0
        along = np.stack([-a * b * c / 6.0, s * b * c / 2.0, -s * a * c / 2.0, s * a * b / 6.0], -1)
        nodes = first[:, None] + np.arange(4)
        index = (index[:, :, None] * axis.size + nodes[:, None, :]).reshape(len(y), -1)
        weight = (weight[:, :, None] * along[:, None, :]).reshape(len(y), -1)
    return index, weight


__all__ = ["PlaneLikelihood"]
