"""Double-exponential maps: the trapezoidal rule in s integrates over a line, a half line or an interval of x.

- line: x = c + w sinh(pi/2 sinh s);
- half line: x = end +- w exp(pi/2 sinh s);
- interval: x = low + (high - low) / (1 + exp(-pi sinh s));
- period: x = s.

Tails that fall off as a power, and integrable singularities at finite ends, cost no accuracy.

Source: H. Takahasi and M. Mori, Publ. RIMS 9 (1974) 721-741.
"""

from dataclasses import dataclass

import numpy as np

_HALF_PI = np.pi / 2
_NEAR = 3.8  # how far s goes towards a finite end: 1e-30 of the interval away


@dataclass(frozen=True)
class AxisMap:
    """x(s) along one axis.

    Args:
        low: Lower end, or minus infinity.
        high: Upper end, or infinity.
        center: c.
        width: w.
        reach: How far s goes towards infinity.
        periodic: Whether the ends are the same point.

    Example:
        >>> import numpy as np
        >>> s, step = AxisMap(-np.inf, np.inf).nodes(160)
        >>> x, slope = AxisMap(-np.inf, np.inf).at(s)
        >>> bool(abs(np.sum(np.exp(-x**2) * slope) * step - np.sqrt(np.pi)) < 1e-12)
        True
    """

    low: float
    high: float
    center: float = 0.0
    width: float = 1.0
    reach: float = 3.2
    periodic: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of s."""
        if self.periodic:
            return self.low, self.high
        low, high = (_NEAR if np.isfinite(end) else self.reach for end in (self.low, self.high))
        # On a half line below its end s runs the same way as x, too.
        return -low, high

    def nodes(self, n: int) -> tuple[np.ndarray, float]:
        """s (n,) and its step."""
        low, high = self.ends
        step = (high - low) / n
        return low + step * (np.arange(n) + 0.5), step

    def at(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and dx / ds."""
        if self.periodic:
            return s, np.ones_like(s)
        u, du = _HALF_PI * np.sinh(s), _HALF_PI * np.cosh(s)
        if np.isfinite(self.low) and np.isfinite(self.high):
            width = self.high - self.low
            x = np.where(u < 0, self.low + width * _logistic(2 * u), self.high - width * _logistic(-2 * u))
            slope = 2 * width * _logistic(2 * u) * _logistic(-2 * u) * du
        elif np.isfinite(self.low):
            x, slope = self.low + self.width * np.exp(u), self.width * np.exp(u) * du
        elif np.isfinite(self.high):
            x, slope = self.high - self.width * np.exp(-u), self.width * np.exp(-u) * du
        else:
            x, slope = self.center + self.width * np.sinh(u), self.width * np.cosh(u) * du
        return np.clip(x, np.nextafter(self.low, np.inf), np.nextafter(self.high, -np.inf)), slope

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """s(x), kept within its ends."""
        if self.periodic:
            return self.low + np.mod(x - self.low, self.high - self.low)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if np.isfinite(self.low) and np.isfinite(self.high):
                u = 0.5 * (np.log(x - self.low) - np.log(self.high - x))
            elif np.isfinite(self.low):
                u = np.log((x - self.low) / self.width)
            elif np.isfinite(self.high):
                u = -np.log((self.high - x) / self.width)
            else:
                u = np.arcsinh((x - self.center) / self.width)
            return np.clip(np.arcsinh(u / _HALF_PI), *self.ends)


def _logistic(u: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-u))


__all__ = ["AxisMap"]
