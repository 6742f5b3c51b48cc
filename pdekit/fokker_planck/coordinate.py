"""A coordinate in which the noise of a one-dimensional SDE has unit strength.

The Lamperti coordinate of a reference diffusion, y = int dx / g(x), makes every step of length dt spread by about
sqrt(dt) wherever it starts, so that a grid uniform in y resolves all of them alike. It is tabulated in a base variable
u that opens the domain (u = x on the line, log(x - lower) on a half-line, a logit on an interval), in which power laws
at a boundary are smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from pdekit.errors import NumericalError

# The base variable may run this far beyond the data: exp(-80) is far below any distance to a boundary that data
# resolve.
_REACH = 80.0
_TABLE_SIZE = 6001


@dataclass(frozen=True)
class BaseVariable:
    """The monotone map between a state x in (lower, upper) and u on the whole line."""

    lower: float
    upper: float

    def to_base(self, x: Tensor) -> Tensor:
        """u(x)."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return torch.log((x - self.lower) / (self.upper - x))
        if np.isfinite(self.lower):
            return torch.log(x - self.lower)
        if np.isfinite(self.upper):
            return -torch.log(self.upper - x)
        return x

    def from_base(self, u: Tensor) -> Tensor:
        """x(u)."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return self.lower + (self.upper - self.lower) * torch.sigmoid(u)
        if np.isfinite(self.lower):
            return self.lower + torch.exp(u)
        if np.isfinite(self.upper):
            return self.upper - torch.exp(-u)
        return u

    def slope(self, u: Tensor) -> Tensor:
        """dx/du."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return (self.upper - self.lower) * torch.sigmoid(u) * torch.sigmoid(-u)
        if np.isfinite(self.lower):
            return torch.exp(u)
        if np.isfinite(self.upper):
            return torch.exp(-u)
        return torch.ones_like(u)


class LampertiCoordinate:
    """y(x) = int dx / g(x), tabulated for a fixed diffusion around a range of states.

    Args:
        diffusion: g(x) of the reference parameters, x of shape (n,); returns (n,). Its sign doesn't matter.
        domain: (lower, upper) of the state; infinite where there is no boundary.
        reach: (least, greatest) state that the coordinate must cover.
        padding: How far, in units of y, the coordinate must reach beyond them.

    Attributes:
        lower: y at the lower boundary when it is finite and within the padding, else None.
        upper: y at the upper boundary, likewise.

    Raises:
        NumericalError: If g vanishes or is not finite between the given states.
    """

    def __init__(
        self,
        diffusion: Callable[[Tensor], Tensor],
        domain: tuple[float, float],
        reach: tuple[float, float],
        padding: float,
    ) -> None:
        self.base = BaseVariable(*domain)
        u_least, u_greatest = self.base.to_base(torch.tensor(reach, dtype=torch.float64)).tolist()
        self._density = self._inverse_noise(diffusion)
        self._check_interior(diffusion, u_least, u_greatest)
        u_low, self.lower_closed = self._extend(u_least, -1.0, padding, np.isfinite(domain[0]), u_greatest - u_least)
        u_high, self.upper_closed = self._extend(u_greatest, 1.0, padding, np.isfinite(domain[1]), u_greatest - u_least)
        u = np.linspace(u_low, u_high, _TABLE_SIZE)
        self._table_u = u
        self._spline = CubicSpline(u, self._density(u)).antiderivative()
        self._slope = self._spline.derivative()
        self._table_y = self._spline(u)
        self.lower = float(self._table_y[0]) if self.lower_closed else None
        self.upper = float(self._table_y[-1]) if self.upper_closed else None

    def _inverse_noise(self, diffusion: Callable[[Tensor], Tensor]) -> Callable[[np.ndarray], np.ndarray]:
        def density(u: np.ndarray) -> np.ndarray:
            base = torch.as_tensor(u, dtype=torch.float64)
            with torch.no_grad():
                return (self.base.slope(base) / diffusion(self.base.from_base(base)).abs()).numpy()

        return density

    def _check_interior(self, diffusion: Callable[[Tensor], Tensor], u_least: float, u_greatest: float) -> None:
        u = torch.linspace(u_least, u_greatest, 1025, dtype=torch.float64)
        with torch.no_grad():
            noise = diffusion(self.base.from_base(u))
        # A noise that changes its sign between two points vanishes between them.
        bad = ~torch.isfinite(1.0 / noise) | (torch.sign(noise) != torch.sign(noise[0]))
        if bad.any():
            x = float(self.base.from_base(u[bad][0]))
            raise NumericalError(
                f"The diffusion must be finite and different from zero between the observations, but it is not "
                f"at x = {x:.6g}. A process can cross such a point in the direction of its drift only: split "
                "the data there, or choose a diffusion that does not vanish."
            )

    def _extend(self, start: float, sign: float, padding: float, bounded: bool, spread: float) -> tuple[float, bool]:
        """Moves outward from `start` until y has advanced by `padding`, or a boundary is met (then True)."""
        span = _REACH if bounded else max(spread, 1e-12)
        for _ in range(60):
            u = start + sign * np.linspace(0.0, span, 2001)
            with np.errstate(all="ignore"):
                density = self._density(u)
            finite = np.isfinite(density) & (density > 0)
            last = len(u) if finite.all() else int(np.argmin(finite))
            if last < 2:
                return start, False
            steps = 0.5 * (density[1:last] + density[: last - 1]) * abs(u[1] - u[0])
            advance = np.concatenate([[0.0], np.cumsum(steps)])
            beyond = np.flatnonzero(advance >= padding)
            if beyond.size:
                return float(u[beyond[0]]), False
            if bounded or last < len(u):
                if steps[-1] > 1e-6 * advance[-1]:
                    # The boundary is still far away in y where x can no longer be told from it.
                    return float(u[last - 1]), False
                # All that is left to the boundary is shorter than the padding; stop where the rest no longer counts.
                rest = advance[-1] - advance
                near = np.flatnonzero(rest <= 1e-9 * padding)
                return float(u[near[0]]), bounded
            span *= 2.0
        return float(u[-1]), False

    def to_y(self, x: Tensor) -> Tensor:
        """y(x), shape (n,) -> (n,); states beyond the table are carried to its ends."""
        u = self.base.to_base(x.detach().double()).cpu().numpy()
        return torch.as_tensor(self._spline(np.clip(u, self._table_u[0], self._table_u[-1])))

    def from_y(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x, u) at y, by Newton's method on the table."""
        target = y.numpy()
        u = np.interp(target, self._table_y, self._table_u)
        for _ in range(6):
            step = (self._spline(u) - target) / self._slope(u)
            u = np.clip(u - step, self._table_u[0], self._table_u[-1])
        base = torch.as_tensor(u)
        return self.base.from_base(base), base

    @property
    def range(self) -> tuple[float, float]:
        """(least, greatest) y of the table."""
        return float(self._table_y[0]), float(self._table_y[-1])
