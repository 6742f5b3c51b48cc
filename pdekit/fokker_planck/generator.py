"""The finite-volume generator of a one-dimensional diffusion, the matrix behind the grid solver and the likelihood.

With scale density s = exp(-Psi) and speed density m = 2 exp(Psi) / g^2, Psi = int 2 f / g^2 dx, the generator is
L u = (1/m) (u' / s)'. Cells of speed mass M_i joined by resistances S_{i+1/2} = int s dx give a chain of jumps with
rates 1 / (M_i S_{i+1/2}): conservative, positive, reversible, whatever the step of the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fokker_planck.coordinate import LampertiCoordinate

# Coefficients of a 1-D SDE at states x of shape (n,): returns f and g, each (n,), differentiable in the parameters.
Coefficients = Callable[[Tensor], tuple[Tensor, Tensor]]

_GAUSS_NODES = torch.tensor([0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5], dtype=torch.float64)
_GAUSS_WEIGHTS = torch.tensor([5.0, 8.0, 5.0], dtype=torch.float64) / 18.0


def power_cells(cells: int) -> int:
    """How many cells next to a boundary are integrated as powers of the distance: the same stretch on finer grids."""
    return min(max(4, cells // 16), cells // 4)


@dataclass(frozen=True)
class Chain:
    """A reversible chain of cells.

    Attributes:
        up: log rate from cell i to i + 1, shape (n - 1,), 1/time.
        down: log rate from cell i + 1 to i, shape (n - 1,), 1/time.
        log_mass: log M_i, the speed mass of each cell, shape (n,), up to a common constant.
        log_speed: log m at the cell centres, same constant, shape (n,).
    """

    up: Tensor
    down: Tensor
    log_mass: Tensor
    log_speed: Tensor

    def exit_rates(self) -> Tensor:
        """The total rate out of each cell, shape (n,)."""
        zero = self.up.new_zeros(1)
        return torch.cat([self.up.exp(), zero]) + torch.cat([zero, self.down.exp()])

    def symmetric(self) -> tuple[Tensor, Tensor]:
        """Diagonal (n,) and off-diagonal (n - 1,) of M^{1/2} L M^{-1/2}, which is symmetric."""
        return -self.exit_rates(), (0.5 * (self.up + self.down)).exp()

    def stationary(self) -> Tensor:
        """The stationary probability of each cell, shape (n,)."""
        return torch.softmax(self.log_mass, 0)


class FiniteVolumeGrid:
    """A grid uniform in the Lamperti coordinate, with what is needed to assemble a `Chain` for any parameters.

    Args:
        coordinate: The coordinate, made at reference parameters and kept while parameters move.
        lower: Lower end in y, or the coordinate's own boundary where that is nearer.
        upper: Upper end in y, likewise.
        cells: The number of cells n.
        beside: How many of them, next to a boundary, are integrated as powers of the distance to it; by default those
            of `power_cells`.

    Attributes:
        centers: Cell centres, states x, (n,).
        faces: Cell faces, states x, (n + 1,).
        widths: Cell widths in x, (n,).
    """

    def __init__(
        self, coordinate: LampertiCoordinate, lower: float, upper: float, cells: int, beside: int | None = None
    ) -> None:
        self.coordinate = coordinate
        self.beside = power_cells(cells) if beside is None else beside
        least, greatest = coordinate.range
        self.closed_lower = coordinate.lower is not None and lower <= coordinate.lower
        self.closed_upper = coordinate.upper is not None and upper >= coordinate.upper
        self.y_lower, self.y_upper = max(lower, least), min(upper, greatest)
        self.cells = cells
        self.step = (self.y_upper - self.y_lower) / cells
        faces_y = torch.linspace(self.y_lower, self.y_upper, cells + 1, dtype=torch.float64)
        self.faces, self._faces_u = coordinate.from_y(faces_y)
        self.centers, self._centers_u = coordinate.from_y(0.5 * (faces_y[1:] + faces_y[:-1]))
        if self.closed_lower:
            self.faces[0] = coordinate.base.lower
        if self.closed_upper:
            self.faces[-1] = coordinate.base.upper
        self.widths = self.faces[1:] - self.faces[:-1]
        inner = self._faces_u[1:-1]
        left_nodes, self._left_weights = self._quadrature(self._centers_u[:-1], inner)
        right_nodes, self._right_weights = self._quadrature(inner, self._centers_u[1:])
        self._points = torch.cat([self.centers, self.faces[1:-1], left_nodes.flatten(), right_nodes.flatten()])

    def _quadrature(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Gauss nodes x and weights dx between base variables `start` and `end`, each (k, 3)."""
        base = self.coordinate.base
        u = start[:, None] + (end - start)[:, None] * _GAUSS_NODES
        return base.from_base(u), (end - start)[:, None] * _GAUSS_WEIGHTS * base.slope(u)

    def refined(self) -> "FiniteVolumeGrid":
        """The same grid with every cell halved."""
        return FiniteVolumeGrid(self.coordinate, self.y_lower, self.y_upper, 2 * self.cells)

    def assemble(self, coefficients: Coefficients) -> Chain:
        """The chain for these coefficients, differentiable in whatever they depend on.

        Raises:
            NumericalError: If a coefficient is not finite or the diffusion vanishes on the grid.
        """
        n = self.cells
        drift, diffusion = coefficients(self._points)
        log_noise = torch.log(diffusion * diffusion)
        ratio = 2.0 * drift * torch.exp(-log_noise)
        sign = torch.sign(diffusion.detach())
        wrong = ~torch.isfinite(ratio.detach()) | (sign != sign[0])
        if bool(wrong.any()):
            bad = self._points[int(wrong.nonzero()[0])].item()
            raise NumericalError(
                f"2 f / g^2 must be finite on the grid, but it is not at x = {bad:.6g}: the diffusion vanishes there."
            )
        at_nodes = ratio[2 * n - 1 :].reshape(2, n - 1, 3)
        to_face = (at_nodes[0] * self._left_weights).sum(-1)
        from_face = (at_nodes[1] * self._right_weights).sum(-1)
        rise = to_face + from_face
        potential = torch.cat([rise.new_zeros(1), torch.cumsum(rise, 0)])
        log_speed = potential - log_noise[:n]
        log_speed_faces = potential[:-1] + to_face - log_noise[n : 2 * n - 1]
        log_resistance = self._log_resistance(to_face, rise)
        log_mass = log_speed + torch.log(self.widths)
        log_mass, log_resistance = self._power_laws(log_mass, log_resistance, log_speed, log_speed_faces, rise)
        # Both rates are formed relative to their own cell, so that a large common Psi cancels before it is
        # exponentiated; 2 / g^2 was left out of the speed above as 1 / g^2, hence log 2.
        local_mass = log_mass - potential + 0.6931471805599453
        return Chain(
            up=-log_resistance - local_mass[:-1],
            down=-log_resistance - rise - local_mass[1:],
            log_mass=log_mass,
            log_speed=log_speed,
        )

    def _log_resistance(self, to_face: Tensor, rise: Tensor) -> Tensor:
        """log of S_{i+1/2} exp(Psi_i): the midpoint rule, going over to Scharfetter-Gummel's at large |rise|."""
        length = torch.log(self.centers[1:] - self.centers[:-1])
        scharfetter_gummel = length - 0.5 * rise + _log_sinhc(0.5 * rise)
        blend = 1.0 / (1.0 + (rise / 3.0) ** 4)
        return blend * (length - to_face) + (1.0 - blend) * scharfetter_gummel

    def _power_laws(
        self, log_mass: Tensor, log_resistance: Tensor, log_speed: Tensor, log_speed_faces: Tensor, rise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replaces masses and resistances of the cells next to a closed end by integrals of local powers."""
        base = self.coordinate.base
        count = self.beside
        if self.closed_lower:
            distance = lambda x: x - base.lower  # noqa: E731 - two one-line mirror images
            mass, resistance = _power_integrals(
                distance(self.centers[: count + 1]),
                distance(self.faces[1 : count + 1]),
                log_speed[:count],
                log_speed_faces[:count],
                rise[:count],
            )
            log_mass = torch.cat([mass, log_mass[count:]])
            log_resistance = torch.cat([resistance, log_resistance[count:]])
        if self.closed_upper:
            distance = lambda x: base.upper - x  # noqa: E731
            mass, resistance = _power_integrals(
                distance(self.centers[-count - 1 :].flip(0)),
                distance(self.faces[-count - 1 : -1].flip(0)),
                log_speed[-count:].flip(0),
                log_speed_faces[-count:].flip(0),
                -rise[-count:].flip(0),
            )
            # Seen from the other end the resistance is relative to cell i + 1; bring it back to cell i.
            resistance = resistance.flip(0) - rise[-count:]
            log_mass = torch.cat([log_mass[:-count], mass.flip(0)])
            log_resistance = torch.cat([log_resistance[:-count], resistance])
        return log_mass, log_resistance


class SpeedDensity:
    """log m at states between the centres: Psi from the nearest centre on by quadrature.

    Args:
        grid: The grid.
        x: The states, (n,).

    Attributes:
        nearest: The cell of each state.
    """

    def __init__(self, grid: FiniteVolumeGrid, x: Tensor) -> None:
        self._grid, self._x = grid, x
        y = grid.coordinate.to_y(x)
        self.nearest = ((y - grid.y_lower) / grid.step).long().clamp(0, grid.cells - 1)
        nodes, self._weights = grid._quadrature(grid._centers_u[self.nearest], grid.coordinate.base.to_base(x))
        self._nodes = nodes.flatten()

    def log(self, chain: Chain, coefficients: Coefficients) -> Tensor:
        """log m(x), with the constant of `chain.log_speed`, (n,)."""
        n = len(self._x)
        drift, diffusion = coefficients(torch.cat([self._nodes, self._x]))
        ratio = 2.0 * drift[:-n] / (diffusion[:-n] * diffusion[:-n])
        rise = (ratio.reshape(n, 3) * self._weights).sum(-1)
        centers = torch.log(coefficients(self._grid.centers)[1].abs())
        potential = (chain.log_speed + 2.0 * centers)[self.nearest]
        return potential + rise - 2.0 * torch.log(diffusion[-n:].abs())


def _power_integrals(
    center: Tensor, face: Tensor, log_speed: Tensor, log_speed_face: Tensor, rise: Tensor
) -> tuple[Tensor, Tensor]:
    """Log masses of the first k cells and log resistances (relative to exp(Psi_i)) behind them.

    Speed and scale density are taken to be powers of the distance to the boundary.

    Args:
        center: Distances of the first k + 1 centres to the boundary.
        face: Distances of the outer faces of the first k cells.
        log_speed: log m at the first k centres.
        log_speed_face: log m at those faces.
        rise: Psi_{i+1} - Psi_i for the first k cells.
    """
    log_center, log_face = torch.log(center), torch.log(face)
    exponent = 1.0 + (log_speed_face - log_speed) / (log_face - log_center[:-1])
    reflecting = _positive(exponent[:1])
    outer = log_face - log_center[:-1]
    # int_l^r (z/c)^{k-1} dz / c, z the distance: the first cell reaches down to the boundary, where it is (r/c)^k / k.
    inner = log_face[:-1] - log_center[1:-1]
    width, middle = outer[1:] - inner, 0.5 * (outer[1:] + inner)
    span = torch.log(width) + exponent[1:] * middle + _log_sinhc(0.5 * exponent[1:] * width)
    first_span = reflecting * outer[:1] - torch.log(reflecting)
    log_mass = log_speed + log_center[:-1] + torch.cat([first_span, span])
    length = log_center[1:] - log_center[:-1]
    power = 1.0 - rise / length
    log_resistance = log_center[:-1] + torch.log(length) + 0.5 * power * length + _log_sinhc(0.5 * power * length)
    return log_mass, log_resistance


def _positive(exponent: Tensor) -> Tensor:
    """The exponent itself, going over to a small positive number below a thousandth.

    The mass of the first cell is 1 / exponent: as the exponent falls to zero the process returns ever more rarely from
    the boundary, and for a negative one never. The mass goes on growing there, e^1000 for each unit of the exponent: a
    cell that is hardly ever left, an absorbing boundary for all that a record can tell.
    """
    least = 1e-3
    below = least * torch.exp(exponent.clamp(max=least) / least - 1.0)
    return torch.where(exponent > least, exponent, below.clamp_min(1e-300))


def _log_sinhc(z: Tensor) -> Tensor:
    """log(sinh(z) / z), smooth through zero and free of overflow."""
    small = z.abs() < 1e-2
    square = z * z
    series = square / 6.0 - square * square / 180.0
    size = torch.where(small, torch.ones_like(z), z.abs())
    return torch.where(small, series, size + torch.log(-torch.expm1(-2.0 * size) / (2.0 * size)))
