"""The Kalman filter against the joint normal law of all readings, and against the same filter run without blocks."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.stats import multivariate_normal

import pdekit as pk
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.filtering import KalmanLikelihood, Observation, observed_model
from pdekit.fitting.filtering import kalman as module
from pdekit.fitting.filtering.blocks import cut
from pdekit.symbolic import SymbolicSDE

OSCILLATOR = SymbolicSDE(["x", "v"], ["v", "-k*x - g*v"], ["0", "s"], params=dict.fromkeys("kgs", (0, None)))
OU = SymbolicSDE("x", "-k*(x - mu)", "s", params={"k": (0, None), "mu": None, "s": (0, None)})


def linear_record(drift, noise, times, seed):
    """States of dx = A x dt + L dW started at zero, (n + 1, d), and the covariance of all of them stacked."""
    drift, noise = np.atleast_2d(drift), np.atleast_2d(noise)
    d, steps = len(drift), np.diff(times)
    stationary = solve_continuous_lyapunov(drift, -noise @ noise.T)
    transitions = [expm(drift * h) for h in steps]
    spreads = [stationary - f @ stationary @ f.T for f in transitions]
    rng, x = np.random.default_rng(seed), np.zeros((len(times), d))
    for i, (f, q) in enumerate(zip(transitions, spreads, strict=True)):
        x[i + 1] = f @ x[i] + rng.multivariate_normal(np.zeros(d), q + 1e-15 * np.eye(d))
    return x, transitions, spreads


def joint_log_density(readings, prior_mean, prior, transitions, spreads, observed, variance):
    """log p(y_1 ... y_n | y_0) from the dense joint normal law of all readings; no filter."""
    d, n = len(prior), len(readings)
    means, blocks = [prior_mean], np.zeros((n * d, n * d))
    blocks[:d, :d] = prior
    for i, (f, q) in enumerate(zip(transitions, spreads, strict=True)):
        means.append(f @ means[-1])
        row, old = slice((i + 1) * d, (i + 2) * d), slice(i * d, (i + 1) * d)
        blocks[row, : (i + 1) * d] = f @ blocks[old, : (i + 1) * d]
        blocks[: (i + 1) * d, row] = blocks[row, : (i + 1) * d].T
        blocks[row, row] = f @ blocks[old, old] @ f.T + q
    see = np.concatenate([i * d + np.asarray(observed) for i in range(n)])
    mean = np.concatenate(means)[see]
    covariance = blocks[np.ix_(see, see)] + np.kron(np.eye(n), np.diag(variance))
    # The first reading is part of the prior already, as the filter begins with the law given it.
    m = len(observed)
    y = readings.reshape(-1)
    return multivariate_normal(mean[m:], covariance[m:, m:]).logpdf(y[m:])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("noise", ["estimate", 0.3])
def test_ou_with_noise_is_the_joint_normal_law(noise):
    rng = np.random.default_rng(0)
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.05, 2.0, 40))])
    x, transitions, spreads = linear_record([[-1.3]], [[0.8]], times, 1)
    y = x + 0.5 + 0.3 * rng.standard_normal(x.shape)
    observation = Observation(noise=noise)
    model = observed_model(OU, observation)
    theta = torch.tensor([1.3, 0.5, 0.8, 0.3][: len(model.params)], dtype=torch.float64)
    pairs = pk.Trajectories.from_arrays(times, y).pairs()
    filtered = KalmanLikelihood(model, pairs, observation, theta)
    truth = joint_log_density(y - 0.5, y[0] - 0.5, np.array([[0.09]]), transitions, spreads, [0], [0.09])
    assert float(filtered.log_density(theta).sum()) == pytest.approx(truth, abs=1e-9)
    assert filtered.route == "Kalman filter"


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_an_oscillator_seen_by_its_position_is_the_joint_normal_law(level):
    rng = np.random.default_rng(2)
    times = np.concatenate([[0.0], np.cumsum(rng.uniform(0.05, 0.4, 30))])
    drift, noise = np.array([[0.0, 1.0], [-2.0, -0.7]]), np.array([[0.0], [1.1]])
    x, transitions, spreads = linear_record(drift, noise, times, 3)
    y = x[:, :1] + level * rng.standard_normal((31, 1))
    observation = Observation(of=["x"], noise=level)
    theta = torch.tensor([2.0, 0.7, 1.1], dtype=torch.float64)
    filtered = KalmanLikelihood(OSCILLATOR, pk.Trajectories.from_arrays(times, y).pairs(), observation, theta)
    mean, covariance = filtered._law(theta).at(torch.from_numpy(y[:1].T), torch.tensor([level**2]).double(), [0])
    truth = joint_log_density(y, mean[:, 0].numpy(), covariance[..., 0].numpy(), transitions, spreads, [0], [level**2])
    assert float(filtered.log_density(theta).sum()) == pytest.approx(truth, abs=1e-7)


def test_two_noisy_columns_in_any_order_are_the_joint_normal_law():
    rng = np.random.default_rng(4)
    times = np.arange(25) * 0.3
    drift, noise = np.array([[-1.0, 0.5], [-0.4, -0.6]]), np.diag([0.5, 0.7])
    x, transitions, spreads = linear_record(drift, noise, times, 5)
    levels = np.array([0.2, 0.1])
    y = x + levels * rng.standard_normal(x.shape)
    model = SymbolicSDE(["x", "y"], ["-a*x + y/2", "-2*x/5 - b*y"], ["s", "7/10"])
    theta = torch.tensor([1.0, 0.6, 0.5], dtype=torch.float64)
    truth = joint_log_density(y, y[0], np.diag(levels**2), transitions, spreads, [0, 1], levels**2)
    for order in ([0, 1], [1, 0]):
        names = [["x", "y"][i] for i in order]
        observation = Observation(of=names, noise={"x": 0.2, "y": 0.1})
        pairs = pk.Trajectories.from_arrays(times, y[:, order]).pairs()
        filtered = KalmanLikelihood(model, pairs, observation, theta)
        assert float(filtered.log_density(theta).sum()) == pytest.approx(truth, abs=1e-9)
        assert filtered.residuals(theta).shape == (24, 2)
        with pytest.raises(UnsupportedError, match="innovations"):
            filtered.cdf(theta)


def double_well_record(n, paths=1, level=0.1, seed=0):
    rng, x, out = np.random.default_rng(seed), np.ones(paths), []
    for _ in range(n + 1):
        out.append(x)
        x = x + (x - x**3) * 0.05 + 0.5 * np.sqrt(0.05) * rng.standard_normal(paths)
    y = np.stack(out) + level * rng.standard_normal((n + 1, paths))
    return pk.Trajectories.from_arrays(np.arange(n + 1) * 0.05, y[..., None]).pairs()


def noisy_double_well():
    observation = Observation(noise="estimate")
    model = observed_model(pk.models.get("double_well"), observation)
    return model, observation, torch.tensor([1.0, 1.0, 0.5, 0.1], dtype=torch.float64)


def value_and_gradient(likelihood, theta):
    at = theta.clone().requires_grad_()
    terms = likelihood.log_density(at)
    return terms.detach(), torch.autograd.grad(terms.sum(), at)[0]


def test_blocks_side_by_side_give_what_one_long_run_gives():
    model, observation, theta = noisy_double_well()
    pairs = double_well_record(250)
    filtered = KalmanLikelihood(model, pairs, observation, theta)
    assert filtered.blocks.rows > 2
    terms, gradient = value_and_gradient(filtered, theta)
    filtered.blocks = cut(pairs, 250)
    assert filtered.blocks.rows == 1
    alone, exact = value_and_gradient(filtered, theta)
    assert float((terms - alone).abs().max()) < 1e-8
    assert torch.allclose(gradient, exact, rtol=0.0, atol=1e-6 * float(exact.abs().max()))


def test_the_warm_up_grows_where_the_filter_forgets_slowly():
    model, observation, theta = noisy_double_well()
    filtered = KalmanLikelihood(model, double_well_record(400), observation, theta)
    first = filtered.blocks.warm_up
    slow = torch.tensor([1.0, 1.0, 0.3, 0.3], dtype=torch.float64)
    with torch.no_grad():
        terms = filtered.log_density(slow)
        assert first < filtered.blocks.warm_up < 300
        filtered.blocks = cut(filtered.pairs, 400)
        assert float((filtered.log_density(slow) - terms).abs().max()) < 1e-8


def test_a_filter_that_never_forgets_says_so(monkeypatch):
    monkeypatch.setattr(module, "_MOST_WARM_UP", 64)
    model, observation, theta = noisy_double_well()
    filtered = KalmanLikelihood(model, double_well_record(600), observation, theta)
    with pytest.raises(NumericalError, match=r"next to nothing.*Average"):
        filtered.log_density(torch.tensor([1.0, 1.0, 0.01, 5.0], dtype=torch.float64))


def test_gradients_are_those_of_differences():
    model, observation, theta = noisy_double_well()
    filtered = KalmanLikelihood(model, double_well_record(100, paths=4), observation, theta)
    _, gradient = value_and_gradient(filtered, theta)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-5
        with torch.no_grad():
            ahead, behind = filtered.log_density(theta + step).sum(), filtered.log_density(theta - step).sum()
        # Second order in the step, and rounding of a sum of 400 terms over the step.
        assert float(gradient[i]) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-5, abs=1e-5)


def test_paths_are_filtered_each_by_itself():
    model, observation, theta = noisy_double_well()
    pairs = double_well_record(60, paths=3)
    together = KalmanLikelihood(model, pairs, observation, theta).log_density(theta)
    for path in range(3):
        chosen = (pairs.path == path).nonzero().flatten()
        alone = module.Pairs(*(getattr(pairs, n)[chosen] for n in ("t", "dt", "x0", "x1", "path")))
        terms = KalmanLikelihood(model, alone, observation, theta).log_density(theta)
        assert torch.allclose(terms, together[chosen], rtol=0.0, atol=1e-10)


def test_without_noise_a_filtered_record_has_the_density_of_its_steps():
    observation = Observation(noise="estimate")
    model = observed_model(OU, observation)
    rng = np.random.default_rng(3)
    pairs = pk.Trajectories.from_arrays(np.arange(200) * 0.2, np.cumsum(0.1 * rng.standard_normal(200))).pairs()
    theta = torch.tensor([1.0, 0.1, 0.5, 1e-9], dtype=torch.float64)
    filtered = KalmanLikelihood(model, pairs, observation, theta)
    decay = np.exp(-0.2)
    mean, sd = 0.1 + (pairs.x0[:, 0] - 0.1) * decay, 0.5 * np.sqrt((1 - decay**2) / 2)
    truth = torch.distributions.Normal(mean, sd)
    assert torch.allclose(filtered.log_density(theta), truth.log_prob(pairs.x1[:, 0]), atol=1e-8)
    assert torch.allclose(filtered.cdf(theta), truth.cdf(pairs.x1[:, 0]), atol=1e-8)
    assert torch.allclose(filtered.states(theta), pairs.x1, atol=1e-8)


def test_states_out_of_a_domain_are_an_error_and_not_a_nan():
    model = SymbolicSDE("x", "k*(1 - log(x))", "s", params={"k": (0, None), "s": (0, None)}, domain=(0, None))
    observation = Observation(noise=0.1)
    pairs = pk.Trajectories.from_arrays([0.0, 1.0, 2.0, 3.0], [0.5, -0.5, 0.3, 0.4]).pairs()
    with pytest.raises(NumericalError, match="finite"):
        KalmanLikelihood(model, pairs, observation, torch.tensor([1.0, 0.5], dtype=torch.float64))
