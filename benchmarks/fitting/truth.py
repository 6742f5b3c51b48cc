"""The processes that are benchmarked, written in NumPy and independently of pdekit.

Drift and diffusion take the parameters as a vector, work on complex numbers (derivatives come from complex steps) and
know nothing of the package under test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
Coefficient = Callable[[NDArray, NDArray], NDArray]


@dataclass(frozen=True)
class Process:
    """A one-dimensional autonomous Ito process with its true parameters.

    Args:
        name: Name used in tables and file names.
        params: Parameter names in the order of `theta`.
        theta: The true values.
        drift: f(x, theta).
        diffusion: g(x, theta), never g^2.
        support: An interval that holds all but a negligible part of the stationary mass.
    """

    name: str
    params: tuple[str, ...]
    theta: tuple[float, ...]
    drift: Coefficient
    diffusion: Coefficient
    support: tuple[float, float]

    @property
    def truth(self) -> dict[str, float]:
        """The true parameters by name."""
        return dict(zip(self.params, self.theta, strict=True))


def ornstein_uhlenbeck(theta: float = 1.0, mu: float = 0.0, sigma: float = 0.5) -> Process:
    """dX = theta (mu - X) dt + sigma dW."""
    sd = sigma / np.sqrt(2 * theta)
    return Process(
        name="ou",
        params=("theta", "mu", "sigma"),
        theta=(theta, mu, sigma),
        drift=lambda x, p: p[0] * (p[1] - x),
        diffusion=lambda x, p: p[2] + 0 * x,
        support=(mu - 7 * sd, mu + 7 * sd),
    )


def cir(kappa: float = 3.0, mu: float = 0.3, sigma: float = 0.2) -> Process:
    """dX = kappa (mu - X) dt + sigma sqrt(X) dW, with stationary law Gamma(2 kappa mu / sigma^2)."""
    stationary = stats.gamma(2 * kappa * mu / sigma**2, scale=sigma**2 / (2 * kappa))
    return Process(
        name="cir",
        params=("kappa", "mu", "sigma"),
        theta=(kappa, mu, sigma),
        drift=lambda x, p: p[0] * (p[1] - x),
        diffusion=lambda x, p: p[2] * np.sqrt(x),
        support=(float(stationary.ppf(1e-12)), float(stationary.isf(1e-12))),
    )


def double_well(a: float = 1.0, b: float = 1.0, sigma: float = 0.5) -> Process:
    """dX = (a X - b X^3) dt + sigma dW."""
    edge = np.sqrt(a / b) + 3.2 * sigma / np.sqrt(2 * a)
    return Process(
        name="double_well",
        params=("a", "b", "sigma"),
        theta=(a, b, sigma),
        drift=lambda x, p: p[0] * x - p[1] * x**3,
        diffusion=lambda x, p: p[2] + 0 * x,
        support=(-edge, edge),
    )


def polynomial_well(terms: int, sigma: float = 0.5) -> Process:
    """The double well a = b = 1 as one point of dX = (c_0 + c_1 X + ... + c_{k-1} X^{k-1}) dt + sigma dW.

    Its information bound is what a drift costs that is only known to be a polynomial of k coefficients.
    """
    coefficients = [0.0, 1.0, 0.0, -1.0, *([0.0] * terms)][:terms]
    return Process(
        name=f"polynomial_{terms}",
        params=(*(f"c{k}" for k in range(terms)), "sigma"),
        theta=(*coefficients, sigma),
        drift=lambda x, p: np.sum([p[k] * x**k for k in range(terms)], axis=0),
        diffusion=lambda x, p: p[terms] + 0 * x,
        support=double_well(sigma=sigma).support,
    )


def stationary_density(process: Process, cells: int = 4000) -> tuple[Array, Array]:
    """Midpoints and weights p(x_i) dx (they sum to one) of p proportional to g^-2 exp(int 2 f / g^2)."""
    theta = np.asarray(process.theta)
    edges = np.linspace(*process.support, cells + 1)
    x, dx = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    slope = 2 * process.drift(x, theta) / process.diffusion(x, theta) ** 2
    log_p = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) * dx / 2)])
    log_p = log_p - np.log(process.diffusion(x, theta) ** 2)
    weight = np.exp(log_p - log_p.max())
    return x, weight / weight.sum()


def drift_error(process: Process, drift: Callable[[Array], Array]) -> float:
    """sqrt(int (f^ - f)^2 p / int f^2 p) with the true stationary density p; NaN if f^ is NaN anywhere."""
    x, weight = stationary_density(process)
    true = process.drift(x, np.asarray(process.theta))
    estimate = np.broadcast_to(np.asarray(drift(x), dtype=float), x.shape)
    return float(np.sqrt(np.sum(weight * (estimate - true) ** 2) / np.sum(weight * true**2)))
