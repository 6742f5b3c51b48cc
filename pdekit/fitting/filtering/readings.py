"""Bayes' rule on a grid: what a noisy reading says about the cell that the state is in."""

import math
from collections.abc import Callable

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Tensor

from pdekit.fitting.filtering.initial import LEAST
from pdekit.fokker_planck.generator import FiniteVolumeGrid

_NODES = 9
_STEEPEST = 50.0  # what a prior may gain against its value at the reading, in nats


class ReadingWeights:
    r"""Weights w_i(y) of the cells with sum_i p_i w_i = int N(y; x, eps^2) p(x) dx, for every width of the noise.

    Noise wider than a cell is taken at the centres: the trapezoid rule, which is exact to rounding for smooth
    functions. Narrower noise is integrated by Gauss-Hermite nodes around the reading, between which and the centres p
    is interpolated by cubics; without noise that is the interpolated density. From one to two cells one goes over into
    the other.

    Args:
        grid: The grid.
        readings: All readings y, (n,).
        slope: dy/dx of the grid's coordinate at states (n,).
    """

    def __init__(self, grid: FiniteVolumeGrid, readings: Tensor, slope: Callable[[Tensor], Tensor]) -> None:
        self.grid, self.readings = grid, readings
        inside = readings.clamp(float(grid.centers[0]), float(grid.centers[-1]))
        self._slope = slope(inside)
        near = 1e-4 * float(grid.centers[-1] - grid.centers[0])
        ahead, behind = (
            (inside + near).clamp(max=float(grid.centers[-1])),
            (inside - near).clamp(min=float(grid.centers[0])),
        )
        self._bend = (slope(ahead) - slope(behind)) / (ahead - behind)
        self._position = (grid.coordinate.to_y(inside) - grid.y_lower) / grid.step - 0.5
        nodes, weights = hermegauss(_NODES)
        self._nodes = torch.from_numpy(nodes)
        self._weights = torch.from_numpy(weights / math.sqrt(2.0 * math.pi))

    def __call__(self, chosen: Tensor, level: Tensor) -> Tensor:
        """w of the chosen readings (R,) under noise of this standard deviation, (R, N)."""
        with torch.no_grad():
            # The width of the noise in cells, and the share of the wide rule.
            width = level.detach() * self._slope[chosen] / self.grid.step
            least, greatest = float(width.min()), float(width.max())
        if least >= 2.0:
            return self._wide(chosen, level)
        if greatest <= 1.0:
            return self._narrow(chosen, level)
        ratio = (level * self._slope[chosen] / self.grid.step - 1.0).clamp(0.0, 1.0)
        share = (ratio * ratio * (3.0 - 2.0 * ratio))[:, None]
        # Noise far below a cell would overflow in the wide rule, whose share is then zero.
        floor = torch.maximum(level, 0.5 * self.grid.step / self._slope[chosen])
        return share * self._wide(chosen, floor) + (1.0 - share) * self._narrow(chosen, level)

    def _wide(self, chosen: Tensor, level: Tensor) -> Tensor:
        level = level[:, None] if level.ndim else level
        z = (self.readings[chosen, None] - self.grid.centers) / level
        return torch.exp(-0.5 * z * z) / (level * math.sqrt(2.0 * math.pi))

    def _narrow(self, chosen: Tensor, level: Tensor) -> Tensor:
        """The coordinate is expanded about the reading, to second order in the noise."""
        cells, step = self.grid.cells, self.grid.step
        error = (level[:, None] if level.ndim else level) * self._nodes
        slope, bend = self._slope[chosen, None], self._bend[chosen, None]
        position = self._position[chosen, None] + (slope * error + 0.5 * bend * error * error) / step
        position = position.clamp(0.0, cells - 1.0)
        first = position.detach().floor().long().sub(1).clamp(0, cells - 4)
        density = self._weights * (slope + bend * error) / step
        weights = _lagrange(position - first) * density[..., None]
        index = (first[..., None] + torch.arange(4)).flatten(1)
        return weights.new_zeros(len(chosen), cells).scatter_add(1, index, weights.flatten(1))

    def start(self, chosen: Tensor, level: Tensor, center: Tensor, spread: Tensor | None) -> Tensor:
        """The law of the state given the first reading of a path, (R, N).

        With a flat prior in x, or where the variance of such readings is known, a normal one with what noise leaves of
        it.
        """
        weights = self(chosen, level) * self.grid.widths
        if spread is not None:
            own = torch.maximum(spread - level.square(), LEAST * spread)
            own = own.clamp_min(float(self.grid.widths.mean()) ** 2)  # where all paths start at one point
            apart = (self.grid.centers - center).square() - (self.readings[chosen, None] - center).square()
            weights = weights * torch.exp((-0.5 * apart / own).clamp_max(_STEEPEST))
        return weights / weights.sum(-1, keepdim=True)

    def cdf(self, chosen: Tensor, level: Tensor) -> Tensor:
        """P(Y <= y) of a state spread evenly over each cell, (R, N)."""
        faces, level = self.grid.faces, level.clamp_min(1e-12 * float(self.grid.widths.min()))
        z = (self.readings[chosen, None] - faces) / level
        # The antiderivative of the normal distribution function.
        area = z * torch.special.ndtr(z) + torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        return level * (area[:, :-1] - area[:, 1:]) / self.grid.widths


def _lagrange(s: Tensor) -> Tensor:
    """Weights of the cubic through the points 0, 1, 2, 3 at s, (..., 4)."""
    a, b, c = s - 1.0, s - 2.0, s - 3.0
    return torch.stack([-a * b * c / 6.0, s * b * c / 2.0, -s * a * c / 2.0, s * a * b / 6.0], -1)


__all__ = ["ReadingWeights"]
