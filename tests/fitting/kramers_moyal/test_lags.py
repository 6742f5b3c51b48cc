"""Moments over several steps at once: their increments overlap."""

import numpy as np
import torch
from scipy.signal import lfilter

import pdekit as pk
from pdekit.fitting.kramers_moyal import KramersMoyal, estimate


def test_overlapping_increments_do_not_make_bands_narrow():
    """The scatter of the drift at zero over records; bands that count overlaps as new data are 3 times too narrow."""
    decay = np.exp(-0.02)
    sd = np.sqrt((1 - decay**2) / 2)
    found = []
    for seed in range(16):
        x = lfilter([1], [1, -decay], sd * np.random.default_rng(seed).standard_normal(5000))
        data = pk.Trajectories.from_arrays(np.arange(5000) * 0.02, x)
        model = estimate(KramersMoyal(lags=(10,), bandwidth=float("inf"), degree=1), data)
        zero = torch.zeros(1, 1, dtype=torch.float64)
        found.append((float(model.drift(0.0, zero)), float(model.drift_stderr(zero))))
    drift, error = np.array(found).T
    assert 0.5 < drift.std() / error.mean() < 1.7
