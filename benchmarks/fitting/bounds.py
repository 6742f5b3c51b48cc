"""What no unbiased estimator can beat: the Fisher information of a discretely observed diffusion.

For a stationary Markov chain with transition density p(y | x; theta) over one step, n observed transitions carry

    n I(theta),   I = int pi(x) int p(y | x) s(y, x) s(y, x)^T dy dx,   s = d log p / d theta.

The transition matrix is exp(Q dt), Q being a reversible birth-death chain on a uniform grid (rates from the local scale
and speed measures), and its derivative in theta comes from a complex step, which has no cancellation. Two grids and
one Richardson step remove the leading error of the grid. Nothing here is shared with the package under test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from benchmarks.fitting.truth import Array, Process, stationary_density

COMPLEX_STEP = 1e-30  # the imaginary part; its square is far below rounding, so the derivative is exact to rounding
_NEGLIGIBLE = 1e-13  # transition probabilities below this are rounding noise of expm and carry no information


@dataclass(frozen=True)
class Bound:
    """Cramer-Rao bounds for `n` transitions sampled every `dt`.

    Args:
        process: The process with its true parameters.
        dt: Sampling step.
        n: Number of observed transitions.
        information: Fisher information of one transition, shape (k, k).
    """

    process: Process
    dt: float
    n: int
    information: Array

    @property
    def covariance(self) -> Array:
        """Inverse of n I, shape (k, k)."""
        return np.linalg.inv(self.n * self.information)

    @property
    def stderr(self) -> dict[str, float]:
        """Standard error of each parameter."""
        return dict(zip(self.process.params, np.sqrt(np.diag(self.covariance)), strict=True))

    @property
    def drift_error(self) -> float:
        """Root mean square of sqrt(int (f^ - f)^2 p / int f^2 p), by the delta method."""
        x, weight = stationary_density(self.process)
        theta = np.asarray(self.process.theta)
        jacobian = np.stack([_complex_step(lambda p: self.process.drift(x, p), theta, i) for i in range(len(theta))])
        variance = np.einsum("ix,ij,jx->x", jacobian, self.covariance, jacobian)
        return float(np.sqrt(np.sum(weight * variance) / np.sum(weight * self.process.drift(x, theta) ** 2)))

    def relative(self, name: str) -> float:
        """Standard error of one parameter relative to its true value."""
        return float(self.stderr[name] / abs(self.process.truth[name]))


def bound(process: Process, dt: float, n: int, cells: int | None = None) -> Bound:
    """The bounds of `process` observed at `n` steps of length `dt`.

    Args:
        process: The process with its true parameters.
        dt: Sampling step.
        n: Number of transitions.
        cells: Cells of the coarse grid; by default six per standard deviation of one step, at least 240.

    Returns:
        The bound, extrapolated from `cells` and 1.5 `cells` cells.

    Example:
        >>> from benchmarks.fitting.truth import ornstein_uhlenbeck
        >>> exact = ou_information(1.0, 0.5, dt=0.5)
        >>> numeric = bound(ornstein_uhlenbeck(), dt=0.5, n=1).information
        >>> bool(abs(numeric / np.where(exact == 0, np.inf, exact) - (exact != 0)).max() < 1e-3)
        True
    """
    cells = cells or _default_cells(process, dt)
    fine = cells * 3 // 2
    ratio = (fine / cells) ** 2
    coarse_value, fine_value = information(process, dt, cells), information(process, dt, fine)
    return Bound(process, dt, n, (ratio * fine_value - coarse_value) / (ratio - 1))


def information(process: Process, dt: float, cells: int) -> Array:
    """Fisher information of one transition on a grid of `cells` cells, shape (k, k)."""
    theta = np.asarray(process.theta)
    scores, joint = [], np.empty(0)
    for i in range(len(theta)):
        shifted = theta.astype(complex)
        shifted[i] += 1j * COMPLEX_STEP
        rates, mass = generator(process, shifted, cells)
        transition = expm(rates * dt)
        probability = np.real(transition)
        joint = np.real(mass)[:, None] * probability
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.imag(transition) / (COMPLEX_STEP * probability)
        scores.append(np.where(probability > _NEGLIGIBLE, score, 0.0))
    stacked = np.stack(scores).reshape(len(theta), -1)
    return (stacked * joint.ravel()) @ stacked.T


def generator(process: Process, theta: NDArray, cells: int) -> tuple[NDArray, NDArray]:
    """Rates Q (cells, cells) and stationary mass of the reversible chain at (possibly complex) parameters.

    With D = g^2 / 2 and Psi = int f / D the generator is D e^-Psi d/dx (e^Psi d/dx), so the rate from cell i to its
    neighbor is D_i exp(Psi_face - Psi_i) / h^2; with stationary mass exp(Psi_i) / D_i detailed balance holds exactly.
    """
    lower, upper = process.support
    h = (upper - lower) / cells
    # Psi at half-cell spacing, by three-point Gauss quadrature on each half-cell.
    half = lower + h / 2 * np.arange(2 * cells + 1)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    points = (half[:-1] + half[1:])[:, None] / 2 + h / 4 * nodes
    slope = 2 * process.drift(points, theta) / process.diffusion(points, theta) ** 2
    psi = np.concatenate([[0.0], np.cumsum(slope @ weights * h / 4)])
    center, face = psi[1::2], psi[2:-1:2]
    tensor = process.diffusion(half[1::2], theta) ** 2 / 2
    up = tensor[:-1] * np.exp(face - center[:-1]) / h**2
    down = tensor[1:] * np.exp(face - center[1:]) / h**2
    rates = np.diag(up, 1) + np.diag(down, -1)
    rates -= np.diag(rates.sum(axis=1))
    mass = np.exp(center - np.real(center).max()) / tensor
    return rates, mass / mass.sum()


def ou_information(theta: float, sigma: float, dt: float) -> Array:
    """Closed form for Ornstein-Uhlenbeck in (theta, mu, sigma), stationary start: the check on everything above.

    The transition is normal: mean mu + (x - mu) e, variance v = sigma^2 (1 - e^2) / (2 theta), e = exp(-theta dt).
    """
    e = np.exp(-theta * dt)
    stationary = sigma**2 / (2 * theta)
    v = stationary * (1 - e**2)
    v_grad = np.array([-v / theta + stationary * 2 * dt * e**2, 0.0, 2 * v / sigma])
    info = np.outer(v_grad, v_grad) / (2 * v**2)
    info[0, 0] += (dt * e) ** 2 * stationary / v
    info[1, 1] += (1 - e) ** 2 / v
    return info


def _complex_step(function, theta: Array, i: int) -> Array:
    shifted = theta.astype(complex)
    shifted[i] += 1j * COMPLEX_STEP
    return np.imag(function(shifted)) / COMPLEX_STEP


def _default_cells(process: Process, dt: float) -> int:
    x, weight = stationary_density(process)
    step_sd = np.sqrt(dt * np.sum(weight * process.diffusion(x, np.asarray(process.theta)) ** 2))
    lower, upper = process.support
    return int(max(240, np.ceil(6 * (upper - lower) / step_sd)))
