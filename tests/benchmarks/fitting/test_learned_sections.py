"""What the sections on learning are judged by: bounds, systems and counts."""

import numpy as np
import pytest
from scipy.linalg import expm

from benchmarks.fitting import bounds, noisy_bound, systems
from benchmarks.fitting.sections import faults, snapshots, sparse
from benchmarks.fitting.truth import double_well, ornstein_uhlenbeck, polynomial_well


def log_likelihood(theta, readings, process, dt, eps, cells):
    """Plain: one series, one step after the other."""
    low, high = process.support
    x = low + (high - low) / cells * (np.arange(cells) + 0.5)
    rates, _ = bounds.generator(process, np.array(theta), cells)
    _, law = bounds.generator(process, np.array(process.theta), cells)  # the law at the start is held
    transition, parts = expm(rates * dt), []
    for k, y in enumerate(readings):
        law = law @ transition if k else law
        joint = law * np.exp(-0.5 * ((y - x) / eps) ** 2) / eps
        parts.append(np.log(joint.sum()))
        law = joint / joint.sum()
    return np.array(parts)


def test_scores_of_readings_are_derivatives_of_the_filtered_likelihood():
    process, dt, eps, cells = ornstein_uhlenbeck(), 0.1, 0.1, 60
    readings = 0.3 * np.random.default_rng(0).standard_normal((2, 12))
    found = noisy_bound.filtered_scores(process, dt, readings, eps, cells)
    for series in range(2):
        for i in range(4):
            theta, h = [*process.theta, eps], 1e-5
            ends = []
            for sign in (1, -1):
                moved = theta.copy()
                moved[i] += sign * h
                ends.append(log_likelihood(moved[:3], readings[series], process, dt, moved[3], cells))
            assert found[:, series, i] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-4, rel=1e-4)


def test_noise_in_readings_costs_information(monkeypatch):
    process = double_well()
    monkeypatch.setattr(noisy_bound, "_STEPS", 600)
    monkeypatch.setattr(noisy_bound, "_SERIES", 4)
    noisy = noisy_bound.noisy_bound(process, 0.1, 1000, 0.2, cells=80)
    assert noisy.relative("sigma") > bounds.bound(process, 0.1, 1000, cells=80).relative("sigma")


def test_more_coefficients_cost_more():
    few, many = (bounds.bound(p, 0.5, 1000, cells=60).drift_error for p in (double_well(), polynomial_well(6)))
    assert many > few


def test_systems_start_and_spread_as_stated():
    def drift(x):
        return -x

    system = systems.System("spring", ("x", "y"), drift, lambda x: np.full_like(x, 0.5), (2.0, 0.0), (0.1, 0.1))
    first, last = systems.snapshots(system, np.array([0.0, 1.0]), 4000, 0, dt=0.01)
    assert first.mean(0) == pytest.approx([2.0, 0.0], abs=0.01)
    assert last.mean(0) == pytest.approx([2 * np.exp(-1), 0.0], abs=0.03)
    assert last.var(0) == pytest.approx(0.01 * np.exp(-2) + 0.125 * (1 - np.exp(-2)), rel=0.1)


def test_the_weak_baseline_is_near_the_truth():
    times = np.linspace(0, 2, 21)
    clouds = systems.snapshots(snapshots.well(), times, 2000, 0, dt=0.01)
    found = snapshots.weak_regression(times, [c[:, 0] for c in clouds])
    assert found["a"] == pytest.approx(1.0, abs=0.15)
    assert found["sigma"] == pytest.approx(0.5, abs=0.05)


def test_counts_hold_against_what_is_wanted():
    right = {"drift": [["x", "x**3"]], "noise": [["1"]], "seconds": 1.0}
    wrong = right | {"drift": [["x"]]}
    assert sparse._count("double well", [right] * 19 + [wrong], 0.95).reached
    assert not sparse._count("double well", [right] * 18 + [wrong, {"error": "none"}], 0.95).reached
    quiet, loud = {"flags": []}, {"flags": ["Step too coarse for Euler"]}
    assert faults._count("a fault", [loud] * 19 + [quiet], wanted=True).reached
    assert not faults._count("a fault", [loud] * 18 + [quiet] * 2, wanted=True).reached
    assert not faults._count("clean", [quiet] * 18 + [loud] * 2, wanted=False).reached
