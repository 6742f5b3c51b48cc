"""Simulated data whose truth is known, shared by the tests of the fitting layer."""

import math

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.symbolic import SymbolicSDE


@pytest.fixture
def ornstein_uhlenbeck_path():
    """Exact draws of an Ornstein-Uhlenbeck process: make(n, dt, seed, theta, mu, sigma)."""

    def make(n=2000, dt=0.1, seed=0, theta=1.0, mu=0.3, sigma=0.5):
        rng = np.random.default_rng(seed)
        steps = np.broadcast_to(dt, n - 1)
        x = np.empty(n)
        x[0] = mu
        for i, step in enumerate(steps):
            decay = math.exp(-theta * step)
            deviation = sigma * math.sqrt(-math.expm1(-2 * theta * step) / (2 * theta))
            x[i + 1] = mu + (x[i] - mu) * decay + deviation * rng.standard_normal()
        return Trajectories.from_arrays(np.concatenate([[0.0], np.cumsum(steps)]), x, time_unit="s", names=["x"])

    return make


@pytest.fixture
def double_well_path():
    """Fine Euler steps of dx = (x - x^3) dt + sigma dW: make(n, dt, seed, sigma)."""

    def make(n=1500, dt=0.5, seed=0, sigma=0.5, substeps=100):
        generator = torch.Generator().manual_seed(seed)
        h = dt / substeps
        noise = (sigma * math.sqrt(h) * torch.randn(n, substeps, generator=generator, dtype=torch.float64)).tolist()
        x, out = 1.0, []
        for row in noise:
            for z in row:
                x += (x - x**3) * h + z
            out.append(x)
        return Trajectories.from_arrays(np.arange(n) * dt, np.array(out), time_unit="s", names=["x"])

    return make


@pytest.fixture
def model():
    """Builds a model from text: model(drift, diffusion, params)."""

    def make(drift, diffusion, params, **options):
        drift, diffusion = ([v] if isinstance(v, str) else v for v in (drift, diffusion))
        state = ["x"] if len(drift) == 1 else ["x", "y"][: len(drift)]
        return SymbolicSDE(options.pop("state", state), drift, diffusion, params, **options)

    return make
