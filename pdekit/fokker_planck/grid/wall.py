"""The speed density beside a closed end of a line: a power of the distance times a smooth function, down to the end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import roots_jacobi

Coefficients = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_NEAR = 1e-6  # of the first cell: where exponents are read off
_ROUNDING = 1e-6  # what exponents may miss: one that near to none is none
_LEAST = 1e-3  # of k: below, the mass of the cell is all but infinite
_STEP = 1e-3  # of the cell: for derivatives
_GAUSS, _JACOBI = 8, 12


@dataclass(frozen=True, eq=False)
class Wall:
    """m = m_c (z / c)^(k - 1) phi(z) at a distance z from the end, with phi(c) = 1.

    With f and g the coefficients, log m = int 2 f / g^2 dx - log g^2: both terms are logarithms of z but for what is
    smooth.

    Args:
        end: The state at the end.
        inward: 1 at a lower end, -1 at an upper one.
        center: c, the distance of the centre of the first cell.
        face: The distance of its other face.
        coefficients: (f, g) at states (n,).
    """

    end: float
    inward: float
    center: float
    face: float
    coefficients: Coefficients

    @cached_property
    def power(self) -> float:
        """k - 1: zero at a side that turns the process back where drift and noise are finite."""
        found = self._drift_power - 2 * self._noise_power
        return 0.0 if abs(found) < _ROUNDING else found

    @property
    def holds(self) -> bool:
        """Whether the mass next to the end is finite."""
        return self.power + 1 > _LEAST

    @cached_property
    def _drift_power(self) -> float:
        near = self._drift(np.array([1.0, 2.0]) * _NEAR * self.face)
        return float(2 * near[0] - near[1])

    @cached_property
    def _noise_power(self) -> float:
        log_g = self._log_noise(np.array([1.0, 2.0, 4.0]) * _NEAR * self.face)
        first, second = np.diff(log_g) / np.log(2)
        return float(2 * first - second)

    def _drift(self, z: np.ndarray) -> np.ndarray:
        """d Psi / d log z."""
        f, g = self.coefficients(self.state(z))
        return self.inward * 2 * f * z / g**2

    def _log_noise(self, z: np.ndarray) -> np.ndarray:
        return np.log(np.abs(self.coefficients(self.state(z))[1]))

    def state(self, z: np.ndarray) -> np.ndarray:
        """x at a distance."""
        return self.end + self.inward * z

    def distance(self, x: np.ndarray) -> np.ndarray:
        """Of states."""
        return self.inward * (x - self.end)

    def log_speed(self, z: np.ndarray) -> np.ndarray:
        """log m / m_c at distances (n,) within the cell: infinite at the end where it is a pole or zero."""
        with np.errstate(divide="ignore"):
            powers = self.power * np.log(z / self.center) if self.power else 0.0
        return powers + self._log_smooth(np.maximum(z, _NEAR * self.face))

    def _log_smooth(self, z: np.ndarray) -> np.ndarray:
        """log phi."""
        nodes, weights = np.polynomial.legendre.leggauss(_GAUSS)
        half = 0.5 * (z - self.center)
        at = self.center + half[:, None] * (nodes + 1)
        rise = (self._drift(at.reshape(-1)).reshape(at.shape) - self._drift_power) / at
        noise = self._log_noise(np.append(z, self.center)) - self._noise_power * np.log(np.append(z, self.center))
        return half * (rise @ weights) - 2 * (noise[:-1] - noise[-1])

    def slope(self, z: np.ndarray) -> np.ndarray:
        """d log m / dx at distances (n,): infinite at the end where m is a pole or zero."""
        high, low = (np.maximum(z + sign * _STEP * self.face, _NEAR * self.face) for sign in (1, -1))
        smooth = (self._log_smooth(high) - self._log_smooth(low)) / (high - low)
        with np.errstate(divide="ignore"):
            return self.inward * (smooth + (self.power / z if self.power else 0.0))

    def log_mass(self) -> float:
        """log of the integral of m / m_c over the cell, in x."""
        z, weights = self.rule()
        return float(np.log(np.sum(weights * np.exp(self.log_speed(z)))))

    def rule(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances and weights dx of a Gauss rule for m times what is smooth, over the cell."""
        nodes, weights = roots_jacobi(_JACOBI, 0.0, self.power)
        share = 0.5 * (nodes + 1)
        # of share^power, which m brings along
        return self.face * share, self.face * weights * 2.0 ** -(self.power + 1) * share**-self.power

    def place(self, share: np.ndarray) -> np.ndarray:
        """Distances (n,) within the cell: of shares of its mass, were m the power alone."""
        return self.face * share ** (1 / (self.power + 1))


__all__ = ["Wall"]
