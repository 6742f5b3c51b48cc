"""The law of dX = (-grad U + Q X) dt + sqrt(2) dW, U = 2 (|x|^2 - 1)^2, in four dimensions by spherical harmonics."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_banded
from scipy.special import erf, ive

# Z = pi^2 (sqrt(pi / 8) (1 + erf sqrt 2) + exp(-2) / 4)
NORMALISER = float(np.pi**2 * (np.sqrt(np.pi / 8) * (1 + erf(np.sqrt(2))) + np.exp(-2) / 4))
START, WIDTH = 0.5, 0.5  # distance of the mean from the centre, and standard deviation at the start
_END, _SEEN = 3.4, 2.4  # radii: no mass at the start is beyond the first, U is 45 at the second


def level(r: np.ndarray) -> np.ndarray:
    """U."""
    return 2 * (r**2 - 1) ** 2


@dataclass(frozen=True, eq=False)
class Harmonics:
    """p = exp(-U) sum_l h_l(r) C_l(cos theta), C_l Gegenbauer's polynomials of index one, theta from the turned start.

    Args:
        parts: h_l.
    """

    parts: tuple[CubicSpline, ...]

    def log_p(self, r: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        """log p at radii and cosines of theta."""
        below, now, total = np.zeros_like(r), np.ones_like(r), np.zeros_like(r)
        for part in self.parts:
            total += part(r) * now
            below, now = now, 2 * cosine * now - below
        return np.log(total) - level(r)

    @property
    def most(self) -> float:
        """The greatest p / p_stationary, which lies in the direction of the start."""
        r = np.linspace(0.01, 2.2, 800)
        return NORMALISER * float(np.exp((self.log_p(r, np.ones_like(r)) + level(r)).max()))


@cache
def harmonics(time: float, cells: int = 1000, steps: int = 600, degrees: int = 12) -> Harmonics:
    """The law at a time, from N((START, 0, 0, 0), WIDTH^2 I).

    h_l obeys w d_t h = (w h')' - l (l + 2) w / r^2 h with the weight w = r^3 exp(-U). Finite volumes of second order
    give u = w h; steps, which grow with time, are those of the L-stable diagonally implicit method of second order. At
    the start exp(z cos theta) = 2 / z sum_l (l + 1) I_{l+1}(z) C_l(cos theta), z = m r / s^2.
    """
    edges = np.linspace(0.0, _END, cells + 1)
    r, width, inner = 0.5 * (edges[1:] + edges[:-1]), edges[1], edges[1:-1]
    # What passes an edge, by u below and above it: w(edge) / w(r), without the small numbers themselves.
    right = (inner / r[:-1]) ** 3 * np.exp(level(r[:-1]) - level(inner)) / width**2
    left = (inner / r[1:]) ** 3 * np.exp(level(r[1:]) - level(inner)) / width**2
    z, times = START * r / WIDTH**2, time * np.linspace(0.0, 1.0, steps + 1) ** 2
    radial = r**3 * np.exp(z - (r**2 + START**2) / (2 * WIDTH**2)) / (2 * np.pi * WIDTH**2) ** 2
    parts = []
    for degree in range(degrees + 1):
        lost = np.append(right, 0.0) + np.append(0.0, left) + degree * (degree + 2) / r**2
        u = radial * 2 / z * (degree + 1) * ive(degree + 1, z)
        for h in np.diff(times):
            u = _stepped(u, h, lost, right, left)
        parts.append(CubicSpline(r[r < _SEEN], (u / r**3 * np.exp(level(r)))[r < _SEEN]))
    return Harmonics(tuple(parts))


def _stepped(u: np.ndarray, h: float, lost: np.ndarray, right: np.ndarray, left: np.ndarray) -> np.ndarray:
    share = 1 - 0.5**0.5
    matrix = np.stack([np.append(0.0, -share * h * left), 1 + share * h * lost, np.append(-share * h * right, 0.0)])

    def rate(v: np.ndarray) -> np.ndarray:
        return np.append(0.0, right * v[:-1]) + np.append(left * v[1:], 0.0) - lost * v

    middle = solve_banded((1, 1), matrix, u)
    return solve_banded((1, 1), matrix, u + (1 - share) * h * rate(middle))


__all__ = ["NORMALISER", "START", "WIDTH", "Harmonics", "harmonics", "level"]
