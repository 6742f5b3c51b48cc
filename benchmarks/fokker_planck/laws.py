"""Linear equations and their laws."""

import numpy as np
import torch
from scipy.linalg import expm, solve_continuous_lyapunov
from torch import Tensor
from torch.distributions import MultivariateNormal

import pdekit as pk

A = np.array([[-1.0, -0.8], [0.3, -1.5]])
G = np.array([[1.0, 0.0], [0.5, 0.8]])
M0, S0 = np.array([1.0, -0.5]), np.array([[0.3, 0.1], [0.1, 0.4]])


def tensor(x: object) -> Tensor:
    """float64."""
    return torch.as_tensor(np.asarray(x), dtype=torch.float64)


def crossed() -> pk.SDE:
    """Two states, a drift matrix that is not normal and a full diffusion tensor."""
    a, g = tensor(A), tensor(G)
    return pk.SDE(
        lambda t, x: x @ a.T, lambda t, x: g.expand(*x.shape[:-1], 2, 2), dim=2, noise_type="additive", autonomous=True
    )


def law(a: np.ndarray, d: np.ndarray, m0: np.ndarray, s0: np.ndarray, t: float) -> MultivariateNormal:
    """The law of dX = a X dt + noise of tensor d at time t."""
    steady, move = solve_continuous_lyapunov(a, -2 * d), expm(a * t)
    return MultivariateNormal(tensor(move @ m0), tensor(move @ (s0 - steady) @ move.T + steady))


def around(exact: MultivariateNormal, points: int = 121) -> Tensor:
    """A grid over five standard deviations to each side, (points, points, 2)."""
    sd = exact.covariance_matrix.diagonal().sqrt().numpy()
    axes = [m + s * np.linspace(-5, 5, points) for m, s in zip(exact.mean.numpy(), sd, strict=True)]
    return tensor(np.stack(np.meshgrid(*axes, indexing="ij"), -1))


def distance(found: Tensor, exact: Tensor) -> float:
    """The relative L2 error."""
    return float((found - exact).norm() / exact.norm())


def drawn(seed: int, dim: int) -> tuple[pk.SDE, MultivariateNormal, float, MultivariateNormal]:
    """A linear equation, a normal law at the start, a time, and the law then.

    The drift matrix decays at a rate of .3 at least; noise, start and time are of order one.
    """
    rng = np.random.default_rng([7, seed])
    a = rng.normal(size=(dim, dim)) - 1.5 * np.eye(dim)
    a = a - max(np.linalg.eigvals(a).real.max() + 0.3, 0.0) * np.eye(dim)
    g = np.diag(rng.uniform(0.5, 1.5, dim)) + 0.4 * rng.normal(size=(dim, dim))
    m0, factor = rng.normal(size=dim), 0.6 * np.eye(dim) + 0.2 * rng.normal(size=(dim, dim))
    t = float(rng.uniform(0.2, 1.5))
    drift, noise = tensor(a), tensor(g)
    sde = pk.SDE(
        lambda t, x: x @ drift.T,
        lambda t, x: noise.expand(*x.shape[:-1], dim, dim),
        dim=dim,
        noise_type="additive",
        autonomous=True,
    )
    s0 = factor @ factor.T
    return sde, MultivariateNormal(tensor(m0), tensor(s0)), t, law(a, g @ g.T / 2, m0, s0, t)
