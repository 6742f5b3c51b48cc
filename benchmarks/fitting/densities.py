"""Closed transition densities written with SciPy: the truth that a likelihood is compared with."""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.special import ive

from benchmarks.fitting.truth import Array


def cir_log_density(theta: Sequence[float], dt: float, x: Array) -> Array:
    """log p(x[k + 1] | x[k]) of CIR, dX = kappa (mu - X) dt + sigma sqrt(X) dW, shape (n,).

    2 c X' is noncentral chi-square with 4 kappa mu / sigma^2 degrees of freedom and noncentrality 2 c e X, with
    e = exp(-kappa dt) and c = 2 kappa / (sigma^2 (1 - e)). In logarithms (Cox, Ingersoll & Ross 1985):
    log c - u - v + (q / 2) log(v / u) + log I_q(2 sqrt(u v)), u = c e X, v = c X', q = 2 kappa mu / sigma^2 - 1.
    """
    kappa, mu, sigma = theta
    decay = np.exp(-kappa * dt)
    c = 2 * kappa / (sigma**2 * -np.expm1(-kappa * dt))
    q = 2 * kappa * mu / sigma**2 - 1
    u, v = c * decay * x[:-1], c * x[1:]
    z = 2 * np.sqrt(u * v)
    with np.errstate(divide="ignore"):
        bessel = np.log(ive(q, z)) + z
    direct = np.log(c) - u - v + q / 2 * np.log(v / u) + bessel
    lost = ~np.isfinite(
        direct
    )  # ive underflows for large order beside a small argument; SciPy's series is slower but does not
    direct[lost] = stats.ncx2.logpdf(2 * v[lost], 2 * (q + 1), 2 * u[lost]) + np.log(2 * c)
    return direct


def ckls_euler_log_density(theta: Sequence[float], dt: float, x: Array) -> Array:
    """Euler's normal log-density of CKLS, dX = kappa (mu - X) dt + sigma X^gamma dW, shape (n,)."""
    kappa, mu, sigma, gamma = theta
    before = x[:-1]
    return stats.norm.logpdf(x[1:], before + kappa * (mu - before) * dt, sigma * before**gamma * np.sqrt(dt))
