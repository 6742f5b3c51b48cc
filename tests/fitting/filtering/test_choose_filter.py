"""Which filter is taken, why, and what is refused."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import InputError, UnsupportedError
from pdekit.fitting.filtering import (
    GridFilterLikelihood,
    KalmanLikelihood,
    Observation,
    filter_likelihood,
    observed_model,
)
from pdekit.fitting.filtering import choose_filter as module
from pdekit.symbolic import SymbolicSDE

NOISY = Observation(noise="estimate")


def double_well_record(dt, n, level, paths=5):
    rng, x, out = np.random.default_rng(0), np.ones(paths), []
    for _ in range(n + 1):
        out.append(x)
        for _ in range(10):
            x = x + (x - x**3) * dt / 10 + 0.5 * np.sqrt(dt / 10) * rng.standard_normal(paths)
    y = np.stack(out)[..., None]
    return pk.Trajectories.from_arrays(np.arange(n + 1) * dt, y + level * rng.standard_normal(y.shape)).pairs()


def chosen(dt, n, level):
    model = observed_model(pk.models.get("double_well"), NOISY)
    theta = torch.tensor([1.0, 1.0, 0.5, level], dtype=torch.float64)
    return filter_likelihood(model, double_well_record(dt, n, level), NOISY, theta)


def test_a_long_record_of_short_steps_takes_the_kalman_filter_after_a_check(monkeypatch):
    monkeypatch.setattr(module, "_CHEAP", 0)
    found = chosen(0.02, 100, 0.05)
    assert isinstance(found, KalmanLikelihood)
    assert "checked against" in found.route


def test_short_records_and_coarse_steps_take_the_grid(monkeypatch):
    assert isinstance(chosen(0.2, 20, 0.05), GridFilterLikelihood)
    monkeypatch.setattr(module, "_CHEAP", 0)
    assert isinstance(chosen(0.5, 20, 0.05), GridFilterLikelihood)


def test_a_kalman_filter_that_does_harm_is_named_as_the_reason_for_the_grid(monkeypatch):
    monkeypatch.setattr(module, "_CHEAP", 0)
    monkeypatch.setattr(module, "_shift", lambda *arguments: (0.9, 0.1))
    found = chosen(0.1, 20, 0.05)
    assert isinstance(found, GridFilterLikelihood)
    assert "Kalman filter would move an estimate by 0.9" in found.route


def test_linear_models_take_the_kalman_filter_at_any_step():
    model = observed_model(SymbolicSDE("x", "-k*x", "s", params={"k": (0, None), "s": (0, None)}), NOISY)
    theta = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    found = filter_likelihood(model, double_well_record(2.0, 20, 0.1), NOISY, theta)
    assert found.route == "Kalman filter"


def test_several_states_and_time_take_the_kalman_filter():
    position = Observation(of=["x"])
    oscillator = pk.models.get("damped_oscillator")
    pairs = double_well_record(0.1, 20, 0.0)
    found = filter_likelihood(oscillator, pairs, position, oscillator.theta(oscillator.defaults))
    assert isinstance(found, KalmanLikelihood)
    driven = observed_model(SymbolicSDE("x", "sin(t) - x**3", "s", params={"s": (0, None)}), NOISY)
    found = filter_likelihood(driven, pairs, NOISY, torch.tensor([0.5, 0.1], dtype=torch.float64))
    assert isinstance(found, KalmanLikelihood)


def test_what_can_not_be_filtered_is_refused():
    model = observed_model(pk.models.get("double_well"), NOISY)
    theta, pairs = torch.tensor([1.0, 1.0, 0.5, 0.1], dtype=torch.float64), double_well_record(0.1, 10, 0.1)
    with pytest.raises(InputError, match="method must be one of"):
        filter_likelihood(model, pairs, NOISY, theta, "particle")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="nothing to filter"):
        filter_likelihood(model, pairs, Observation(), theta)
    oscillator = pk.models.get("damped_oscillator")
    with pytest.raises(InputError, match=r"2 column\(s\) were expected \(x, v\), got 1"):
        filter_likelihood(oscillator, pairs, Observation(noise=0.1), torch.ones(3, dtype=torch.float64))
