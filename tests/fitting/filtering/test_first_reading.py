"""Many short paths, whose first readings are a fixed share of all; and forces that depend on time."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.optimize import minimize

import pdekit as pk
from pdekit.fitting.filtering import KalmanLikelihood, Observation, observed_model
from pdekit.fitting.filtering.moments import MomentStep

OU = pk.SymbolicSDE("x", "-k*x", "s", params={"k": (0, None), "s": (0, None)})


def stationary_paths(drift, noise, paths, n, dt, seed):
    """Exact paths of dx = A x dt + L dW from the law at rest, (n, paths, d), and this law's covariance."""
    rng = np.random.default_rng(seed)
    rest = solve_continuous_lyapunov(drift, -noise @ noise.T)
    step = expm(drift * dt)
    root = np.linalg.cholesky(rest - step @ rest @ step.T)
    x = [rng.standard_normal((paths, len(rest))) @ np.linalg.cholesky(rest).T]
    for _ in range(n - 1):
        x.append(x[-1] @ step.T + rng.standard_normal((paths, len(rest))) @ root.T)
    return np.array(x), rest


def test_a_state_that_is_not_read_follows_the_first_reading_as_at_rest():
    """The likelihood given the first readings, from the dense normal law of each path."""
    drift, noise, dt, n = np.array([[-1.0, 1.0], [0.0, -0.5]]), np.diag([0.3, 0.6]), 0.3, 8
    x, rest = stationary_paths(drift, noise, 30, n, dt, 0)
    model = pk.SymbolicSDE(["x", "y"], ["y - k*x", "-g*y"], ["s", "r"], params=dict.fromkeys("kgsr", (0, None)))
    times = [np.arange(n) * dt] * 30
    data = pk.Trajectories.from_arrays(times, [x[:, i, 0] for i in range(30)])
    theta = torch.tensor([1.0, 0.5, 0.3, 0.6], dtype=torch.float64)
    found = KalmanLikelihood(model, data.pairs(), Observation(of=["x"]), theta)
    found.initial = type(found.initial)(**{**vars(found.initial), "spread": None})  # noise-free readings need no prior
    lags = [(expm(drift * dt * k) @ rest)[0, 0] for k in range(n)]
    covariance = np.array([[lags[abs(i - j)] for j in range(n)] for i in range(n)])
    y = x[:, :, 0].T
    joint = -0.5 * (np.einsum("ij,jk,ik->i", y, np.linalg.inv(covariance), y) + np.linalg.slogdet(covariance)[1])
    first = -0.5 * (y[:, 0] ** 2 / covariance[0, 0] + np.log(covariance[0, 0]))
    exact = (joint - first).sum() - 0.5 * 30 * (n - 1) * np.log(2 * np.pi)
    assert float(found.log_density(theta).sum()) == pytest.approx(exact, abs=1e-6)


def test_noisy_first_readings_of_many_short_paths():
    """Against the maximum of the exact likelihood of paths at rest; a flat prior gives k = 1.5."""
    dt, n, eps, paths = 0.5, 5, 0.7, 400
    x, _ = stationary_paths(np.array([[-1.0]]), np.array([[1.0]]), paths, n, dt, 1)
    y = (x[:, :, 0] + eps * np.random.default_rng(2).standard_normal((n, paths))).T
    times = [np.arange(n) * dt] * paths
    fit = pk.fit(OU, pk.Trajectories.from_arrays(times, list(y)), observation=Observation(noise=eps))

    def negative(p):
        k, s = np.exp(p)
        apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
        covariance = s * s / (2 * k) * np.exp(-k * dt * apart) + eps**2 * np.eye(n)
        form = np.einsum("ij,jk,ik", y, np.linalg.inv(covariance), y)
        return 0.5 * (paths * np.linalg.slogdet(covariance)[1] + form)

    exact = np.exp(minimize(negative, [0.0, 0.0]).x)
    for name, value in zip(("k", "s"), exact, strict=True):
        assert abs(fit.params[name].estimate - value) < 1.2 * fit.params[name].stderr
        assert abs(fit.params[name].estimate - 1.0) < 2.5 * fit.params[name].stderr


def test_the_grid_filter_takes_the_same_law_at_the_start():
    dt, n, eps, paths = 0.5, 4, 0.6, 60
    x, _ = stationary_paths(np.array([[-1.0]]), np.array([[1.0]]), paths, n, dt, 3)
    y = (x[:, :, 0] + eps * np.random.default_rng(4).standard_normal((n, paths))).T
    data = pk.Trajectories.from_arrays([np.arange(n) * dt] * paths, list(y))
    logliks = [
        pk.fit(OU, data, observation=Observation(noise=eps), method=method).loglik
        for method in ("kalman", "fokker-planck")
    ]
    assert logliks[0] == pytest.approx(logliks[1], abs=0.02)


def test_a_force_that_depends_on_time_converges_fast_in_the_parts_of_a_step():
    """dx = k (A sin(2 pi t) - x) dt + s dW has a normal law with a known mean."""
    params = {"k": (0, None), "A": None, "s": (0, None)}
    model = observed_model(pk.SymbolicSDE("x", "k*(A*sin(2*pi*t) - x)", "s", params=params), Observation(noise=0.1))
    step = MomentStep(model)
    assert not step.linear
    k, a, s, h, t0 = 2.0, 3.0, 0.5, 0.25, 0.1
    w = 2 * np.pi

    def particular(t):
        return a * k / (k * k + w * w) * (k * np.sin(w * t) - w * np.cos(w * t))

    exact = particular(t0 + h) + (0.4 - particular(t0)) * np.exp(-k * h)
    spread = s * s * (1 - np.exp(-2 * k * h)) / (2 * k) + 0.2 * np.exp(-2 * k * h)
    theta = torch.tensor([k, a, s], dtype=torch.float64)
    errors = []
    for parts in (1, 2, 4):
        one = torch.ones(1, dtype=torch.float64)
        mean, covariance = step(t0 * one, h * one, 0.4 * one[:, None], 0.2 * one[:, None, None], theta, parts)
        errors.append(abs(float(mean) - exact))
        assert float(covariance) == pytest.approx(spread, rel=1e-9)
    assert errors[2] < errors[1] / 8 < errors[0] / 64
    assert errors[2] < 2e-4


@pytest.mark.parametrize("method", ["kalman", "fokker-planck"])
def test_paths_that_all_start_at_one_point(method):
    """Equal first readings: the state is known there, and nothing is divided by their spread of zero."""
    dt, n, eps, paths = 0.5, 4, 0.3, 40
    rng, decay = np.random.default_rng(5), np.exp(-0.5)
    x = np.ones((paths, n))
    for k in range(1, n):
        x[:, k] = decay * x[:, k - 1] + np.sqrt((1 - decay**2) / 2) * rng.standard_normal(paths)
    y = x + eps * rng.standard_normal(x.shape)
    y[:, 0] = 1.0
    data = pk.Trajectories.from_arrays([np.arange(n) * dt] * paths, list(y))
    fit = pk.fit(OU, data, observation=Observation(noise=eps), method=method)
    for p in fit.params.values():
        assert p.stderr is not None
        assert abs(p.estimate - 1.0) < 3 * p.stderr
