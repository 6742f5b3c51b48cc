"""Small data and small networks for the tests of neural fits."""

import numpy as np
import pytest
import torch

from pdekit.data import Pairs, Trajectories
from pdekit.fitting.neural.member import Member
from pdekit.fitting.neural.processes import Processes
from pdekit.fitting.neural.survey import survey
from pdekit.fitting.neural.transitions import PairsSource


@pytest.fixture
def double_well_data(double_well_path):
    """Trajectories of dx = (x - x^3) dt + sigma dW, 600 steps."""

    def make(dt=0.05, n=600, seed=0, sigma=0.5):
        return double_well_path(n=n, dt=dt, seed=seed, sigma=sigma, substeps=5)

    return make


@pytest.fixture
def euler_pairs():
    """Transitions that are Euler steps of given coefficients from given states: make(f, g, x0, dt, seed)."""

    def make(f, g, x0, dt=0.01, seed=0):
        generator = torch.Generator().manual_seed(1000 + seed)
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        x1 = x0 + f(x0) * dt + (g(x0) @ noise[..., None])[..., 0] * dt**0.5
        n = len(x0)
        return Pairs(
            t=torch.arange(n, dtype=torch.float64) * dt,
            dt=torch.full((n,), dt, dtype=torch.float64),
            x0=x0,
            x1=x1,
            path=torch.zeros(n, dtype=torch.int64),
        )

    return make


@pytest.fixture
def a_member():
    """A member for some pairs, with its survey and source: make(pairs, **architecture)."""

    def make(pairs, **architecture):
        names = tuple(f"x{i}" for i in range(pairs.dim))
        source = PairsSource(pairs, names)
        seen = survey(source, Processes())
        usual = {
            "dim": pairs.dim,
            "network": "mlp",
            "hidden": [16],
            "activation": "tanh",
            "noise": "diagonal",
            "time": False,
            "linear": True,
            "gain": 0.5,
            "seed": 0,
        }
        return Member({**usual, **architecture}, seen.units), seen, source

    return make


@pytest.fixture
def planar_data():
    """Two states that turn about one another, with correlated noise: 3000 Euler steps of length 0.02."""
    rng = np.random.default_rng(0)
    root = np.array([[0.5, 0.0], [0.3, 0.4]])
    x = np.empty((3001, 2))
    x[0] = 1.0, 0.0
    for k in range(3000):
        drift = np.array([-x[k, 0] - 2 * x[k, 1], 2 * x[k, 0] - x[k, 1]])
        x[k + 1] = x[k] + 0.02 * drift + np.sqrt(0.02) * root @ rng.standard_normal(2)
    return Trajectories.from_arrays(np.arange(3001) * 0.02, x, names=["x", "y"])
