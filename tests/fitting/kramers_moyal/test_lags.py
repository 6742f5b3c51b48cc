"""Moments over several steps at once: their increments overlap."""

import numpy as np
import torch
from scipy.signal import lfilter

import pdekit as pk
from pdekit.fitting.kramers_moyal import KramersMoyal, estimate
from pdekit.fitting.kramers_moyal.conditional import conditional_moments
from pdekit.fitting.kramers_moyal.steps import Steps


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


def test_overlapping_increments_count_a_parameter_once():
    """A straight line has two coefficients however often increments overlap."""
    x = lfilter([1], [1, -0.98], 0.14 * np.random.default_rng(0).standard_normal(4000))
    options = KramersMoyal(bandwidth=float("inf"), degree=1)
    for lag in (1, 10):
        steps = Steps.of(pk.Trajectories.from_arrays(np.arange(4000) * 0.02, x), lag, np.zeros(1), np.ones(1))
        moments = conditional_moments(options, steps, np.ones(1), 0, lambda what, done: None)
        assert abs(float(moments.parameters[0]) - 2.0) < 0.1


def test_noise_on_the_readings_is_told_once():
    x = lfilter([1], [1, -0.98], 0.14 * np.random.default_rng(0).standard_normal(6000))
    x = x + 0.1 * np.random.default_rng(1).standard_normal(6000)
    fit = pk.fit(KramersMoyal(), pk.Trajectories.from_arrays(np.arange(6000) * 0.02, x))
    titles = [flag.title for flag in fit.flags]
    assert titles.count("Suspicion of measurement noise") == 1
