"""The law of the square-root process: scaled noncentral chi-squared, accurate in its tails too."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import gammaln, ive, logsumexp, roots_jacobi, roots_legendre

from pdekit.fokker_planck.density import Density, Moments, Quadrature

_PAIRS = 4_000_000  # of states and starts at a time


@dataclass(frozen=True, eq=False)
class SquareRootLaw(Density):
    """The law of c + side v / rate, where 2 v is noncentral chi-squared; an equal mixture over noncentralities.

    2 v has 2 (shape + 1) degrees and noncentrality 2 u, so that p(v) = exp(-u - v) (v / u)^(shape / 2) I_shape(2 sqrt(u
    v)); written without u in a denominator, since u = 0 gives the gamma law.

    Args:
        shape: The order of the Bessel function, above -1.
        rate: Of v to the distance y.
        starts: u, (m,), 0 or more.
        center: c.
        side: 1 or -1.
        error: See `Density`.

    Source: Cox, Ingersoll and Ross, Econometrica 53 (1985) 385-407.

    Example:
        >>> import numpy as np
        >>> gamma = SquareRootLaw(1.0, 1.0, np.zeros(1), 0.0, 1.0)
        >>> float(gamma.pdf([2.0]).round(decimals=6))       # 2 exp(-2)
        0.270671
    """

    shape: float
    rate: float
    starts: np.ndarray
    center: float
    side: float
    error: float | None = None
    dim = 1

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        v = self._scaled(x)
        found = np.full(len(v), -np.inf)
        inside = np.flatnonzero(v > 0)
        for rows in self._blocks(inside):
            found[rows] = logsumexp(self._parts(v[rows]), axis=1) - np.log(len(self.starts))
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`: d log p / dv = -1 + shape / v + u C_(shape+1) / C_shape; zero where the density is."""
        v, found = self._scaled(x), np.zeros(len(x))
        for rows in self._blocks(np.flatnonzero(v > 0)):
            logs = self._parts(v[rows])
            share = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
            z = 2 * np.sqrt(v[rows, None] * self.starts)
            ratio = np.exp(log_clifford(self.shape + 1, z) - log_clifford(self.shape, z))
            found[rows] = np.sum(share * (-1 + self.shape / v[rows, None] + self.starts * ratio), axis=1)
        return (self.side * self.rate * found)[:, None]

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return self.rate * self.side * (x[:, 0] - self.center)

    def _blocks(self, rows: np.ndarray) -> list[np.ndarray]:
        return np.array_split(rows, max(1, -(-len(rows) * len(self.starts) // _PAIRS)))

    def _parts(self, v: np.ndarray) -> np.ndarray:
        """log p(x) from each start, (n, m)."""
        u, v = np.sqrt(self.starts), v[:, None]
        return (
            np.log(self.rate)
            - (u - np.sqrt(v)) ** 2
            + self.shape * np.log(v)
            + log_clifford(self.shape, 2 * u * np.sqrt(v))
        )

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """See `Density`."""
        u = self.starts[rng.integers(len(self.starts), size=n)]
        degrees = 2 * self.shape + 2
        v = 0.5 * np.where(
            u > 0, rng.noncentral_chisquare(degrees, np.maximum(2 * u, 1e-300)), rng.chisquare(degrees, n)
        )
        return (self.center + self.side * v / self.rate)[:, None]

    def quadrature(self) -> Quadrature:
        """See `Density`: a Gauss rule, with v^shape as its weight where the law reaches zero."""
        # sqrt(v) is about sqrt(u + shape + 1), give or take 1 / sqrt(2).
        middle = np.sqrt(self.starts + self.shape + 1)
        low, high = max(0.0, float(middle.min()) - 8), float(middle.max()) + 9
        n = 200 + int(16 * (high - low))
        if low == 0:
            node, weight = roots_jacobi(n, 0, self.shape)
            v = 0.5 * high**2 * (1 + node)
            log_weight = np.log(weight) + (self.shape + 1) * np.log(0.5 * high**2) - self.shape * np.log(v)
        else:
            node, weight = roots_legendre(n)
            r = low + 0.5 * (high - low) * (1 + node)
            v, log_weight = r**2, np.log(weight * (high - low) * r)
        x = (self.center + self.side * v / self.rate)[:, None]
        p = logsumexp(self._parts(v), axis=1) - np.log(len(self.starts)) - np.log(self.rate)
        return Quadrature(x, np.exp(p + log_weight))

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    def moments(self) -> Moments:
        """Exact."""
        means = self.starts + self.shape + 1
        variance = np.mean(means + self.starts + (means - means.mean()) ** 2) / self.rate**2
        return Moments(np.array([self.center + self.side * means.mean() / self.rate]), np.array([[variance]]))


def log_clifford(order: float, z: np.ndarray) -> np.ndarray:
    """log(I_order(z) (z / 2)^-order exp(-z)), smooth through z = 0.

    The power series for z < 1, SciPy's Bessel function where it neither underflows nor overflows, and Debye's expansion
    for the large orders or arguments where it does.

    Source: NIST Digital Library of Mathematical Functions, sections 10.25 and 10.41.

    Example:
        >>> import numpy as np
        >>> log_clifford(2.0, np.zeros(1)).round(6)       # -log Gamma(3)
        array([-0.693147])
    """
    found = np.ones_like(z)
    quarter = np.minimum(z, 1.0) ** 2 / 4
    for k in range(12, 0, -1):
        found = 1 + found * quarter / (k * (order + k))
    found = np.log(found) - gammaln(order + 1) - z
    large = np.flatnonzero(z.reshape(-1) >= 1)
    if len(large):
        found.reshape(-1)[large] = _log_scaled(order, z.reshape(-1)[large]) - order * np.log(z.reshape(-1)[large] / 2)
    return found


def _log_scaled(order: float, z: np.ndarray) -> np.ndarray:
    """log(I_order(z) exp(-z)) for z >= 1."""
    with np.errstate(all="ignore"):
        direct = ive(order, z)
        good = np.isfinite(direct) & (direct > 1e-280) & (z < 1e8)
        w = np.hypot(order, z)
        square, series = (order / w) ** 2, np.zeros_like(z)
        for k in range(7, -1, -1):
            series = series / w + np.polynomial.polynomial.polyval(square, _debye(k))
        # w - z, without the difference of large numbers.
        debye = order**2 / (w + z) - order * np.arcsinh(order / z) - 0.5 * np.log(2 * np.pi * w) + np.log(series)
        return np.where(good, np.log(direct), debye)


@cache
def _debye(k: int) -> tuple[float, ...]:
    """u_k with U_k(p) = p^k u_k(p^2), U_(k+1) = p^2 (1 - p^2) U_k' / 2 + int_0^p (1 - 5 s^2) U_k ds / 8."""
    if k == 0:
        return (1.0,)
    found = [0.0] * (k + 1)
    for j, c in enumerate(_debye(k - 1)):
        power = k - 1 + 2 * j
        found[j] += c * (power / 2 + 1 / (8 * (power + 1)))
        found[j + 1] -= c * (power / 2 + 5 / (8 * (power + 3)))
    return tuple(found)


__all__ = ["SquareRootLaw", "log_clifford"]
