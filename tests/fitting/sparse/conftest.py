"""Paths whose equations are known, for tests of the sparse search."""

import numpy as np
import pytest

from pdekit.data import Trajectories


@pytest.fixture
def simulated():
    """Fine Euler steps of any SDE: simulated(drift, noise, x0, n, dt, seed, substeps) -> Trajectories."""

    def make(drift, noise, x0, n, dt, *, seed=0, substeps=5, names=None, burn=0):
        rng = np.random.default_rng(seed)
        x, h = np.array(x0, dtype=float), dt / substeps
        out = np.empty((n, len(x)))
        for i in range(-burn, n):
            if i >= 0:
                out[i] = x
            for z in rng.standard_normal((substeps, len(x))) * np.sqrt(h):
                x = x + drift(x) * h + noise(x) * z
        return Trajectories.from_arrays(None, out, fixed_dt=dt, names=names or ["x", "y", "z"][: len(x)])

    return make


@pytest.fixture
def double_well(double_well_path):
    """dx = (x - x^3) dt + dW / 2."""

    def make(n=20_000, dt=0.02, seed=0, substeps=10):
        return double_well_path(n=n, dt=dt, seed=seed, substeps=substeps)

    return make


@pytest.fixture
def square_root():
    """Exact draws of dx = 3 (.3 - x) dt + .4 sqrt(x) dW: a scaled chi-square that is not central."""

    def make(n=20_000, dt=0.02, seed=0):
        rng = np.random.default_rng(seed)
        x, decay = np.full(n, 0.3), np.exp(-3 * dt)
        scale = 0.16 * (1 - decay) / 12
        for i in range(1, n):
            x[i] = scale * rng.noncentral_chisquare(4 * 3 * 0.3 / 0.16, x[i - 1] * decay / scale)
        return Trajectories.from_arrays(None, x, fixed_dt=dt, names=["x"])

    return make
