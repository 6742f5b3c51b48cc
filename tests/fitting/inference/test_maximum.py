"""Maximum likelihood and its error bars, against closed forms and against other routes to the same likelihood."""

import math

import numpy as np
import pytest
import torch

from pdekit.errors import ConvergenceError, DataError, InputError, UnsupportedError
from pdekit.fitting import fit
from pdekit.fitting.densities.grid import FokkerPlanckTransition

POSITIVE = (0.0, None)


def shift_in_errors(one, other):
    return np.abs((one.theta - other.theta).numpy()) / np.sqrt(np.diag(other.covariances.observed))


def linear_regression(data, dt):
    """The exact maximum for an Ornstein-Uhlenbeck process on equal steps: an autoregression."""
    x = data.values[0][:, 0].numpy()
    slope, intercept = np.polyfit(x[:-1], x[1:], 1)
    variance = np.mean((x[1:] - slope * x[:-1] - intercept) ** 2)
    theta = -math.log(slope) / dt
    return np.array([theta, intercept / (1 - slope), math.sqrt(variance * 2 * theta / (1 - slope**2))])


@pytest.fixture
def ornstein_uhlenbeck(model):
    return model("theta*(mu - x)", "sigma", {"theta": POSITIVE, "mu": None, "sigma": POSITIVE})


@pytest.mark.parametrize("method", ["closed-form", "fokker-planck"])
def test_estimates_are_those_of_the_equivalent_autoregression(ornstein_uhlenbeck, ornstein_uhlenbeck_path, method):
    data = ornstein_uhlenbeck_path(n=2000, dt=0.3)
    result = fit(ornstein_uhlenbeck, data, method=method)
    exact = linear_regression(data, 0.3)
    errors = np.sqrt(np.diag(result.covariances.observed))
    limit = 1e-3 if method == "closed-form" else 0.02
    assert (np.abs(result.theta.numpy() - exact) / errors < limit).all()
    assert result.status == "converged"


def test_standard_errors_are_those_of_the_autoregression(ornstein_uhlenbeck, ornstein_uhlenbeck_path):
    # var(slope) = (1 - slope^2) / n; the rate is -log(slope) / dt.
    data = ornstein_uhlenbeck_path(n=4000, dt=0.3)
    result = fit(ornstein_uhlenbeck, data)
    slope = math.exp(-result.params["theta"].estimate * 0.3)
    expected = math.sqrt((1 - slope**2) / result.n) / slope / 0.3
    # Observed against expected information: they differ by O(n^-1/2).
    assert result.params["theta"].stderr == pytest.approx(expected, rel=0.1)
    assert result.params["theta"].robust_stderr == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("drift", "diffusion", "domain"),
    [
        ("theta*(mu - x)", "sigma", None),
        ("theta*(mu - x)", "sigma*sqrt(x)", [(0, None)]),
        ("theta*x", "sigma*x", [(0, None)]),
    ],
)
def test_both_likelihoods_of_a_closed_form_model_agree(model, ornstein_uhlenbeck_path, drift, diffusion, domain):
    data = ornstein_uhlenbeck_path(n=800, dt=0.2, mu=3.0, sigma=0.8)
    sde = model(
        drift, diffusion, {"theta": None, "mu": None, "sigma": POSITIVE} if "mu" in drift else None, domain=domain
    )
    exact, grid = fit(sde, data, method="closed-form"), fit(sde, data, method="fokker-planck")
    assert shift_in_errors(grid, exact).max() < 0.05
    # 800 terms, each within about 1e-4 after extrapolation.
    assert grid.loglik == pytest.approx(exact.loglik, abs=0.1)


def test_refinement_leaves_less_than_a_twentieth_of_a_standard_error(model, double_well_path):
    sde = model("a*x - b*x**3", "sigma", {"a": None, "b": None, "sigma": POSITIVE})
    data = double_well_path()
    result = fit(sde, data)
    start = dict(zip(sde.param_names, result.theta.tolist(), strict=True))
    from pdekit.fitting.inference.maximum import maximise

    fine = FokkerPlanckTransition.lay(sde, data.pairs(), result.theta, cells=400, extrapolate=True)
    gradient = torch.autograd.functional.jacobian(lambda th: fine.log_density(th).sum(), result.theta)
    left = result.covariances.observed @ gradient.numpy() / np.sqrt(np.diag(result.covariances.observed))
    assert np.abs(left).max() < 0.05
    assert maximise(sde, data.pairs(), start=start).loglik == pytest.approx(result.loglik, abs=1e-3)


def test_profile_and_wald_intervals_agree_on_a_long_record_and_profile_contains_the_estimate(
    ornstein_uhlenbeck, ornstein_uhlenbeck_path
):
    result = fit(ornstein_uhlenbeck, ornstein_uhlenbeck_path(n=5000, dt=0.2))
    for name, parameter in result.params.items():
        low, high = result.interval(name, kind="profile")
        wald_low, wald_high = result.interval(name)
        assert low < parameter.estimate < high
        assert low == pytest.approx(wald_low, abs=0.15 * parameter.stderr)
        assert high == pytest.approx(wald_high, abs=0.15 * parameter.stderr)


def test_profile_ends_where_the_likelihood_ratio_test_says(ornstein_uhlenbeck, ornstein_uhlenbeck_path):
    data = ornstein_uhlenbeck_path(n=300, dt=0.2)
    result = fit(ornstein_uhlenbeck, data)
    for end in result.interval("theta", kind="profile"):
        held = fit(ornstein_uhlenbeck, data, fixed={"theta": end})
        assert 2 * (result.loglik - held.loglik) == pytest.approx(3.8415, abs=0.02)


def test_irregular_steps_and_gaps(ornstein_uhlenbeck, ornstein_uhlenbeck_path):
    steps = np.random.default_rng(3).uniform(0.1, 1.0, 400)
    data = ornstein_uhlenbeck_path(n=401, dt=steps)
    exact, grid = fit(ornstein_uhlenbeck, data), fit(ornstein_uhlenbeck, data, method="fokker-planck")
    assert shift_in_errors(grid, exact).max() < 0.05
    truth = np.array([1.0, 0.3, 0.5])
    assert (np.abs(exact.theta.numpy() - truth) / np.sqrt(np.diag(exact.covariances.observed)) < 4).all()


def test_time_unit_scales_rates_and_nothing_else(ornstein_uhlenbeck, ornstein_uhlenbeck_path):
    from pdekit.data import Trajectories

    data = ornstein_uhlenbeck_path(n=1000, dt=0.2)
    slow = Trajectories.from_arrays(data.times[0] / 3600.0, data.values[0], time_unit="hour")
    fast, hourly = fit(ornstein_uhlenbeck, data), fit(ornstein_uhlenbeck, slow)
    assert hourly.params["theta"].estimate == pytest.approx(3600 * fast.params["theta"].estimate, rel=1e-5)
    assert hourly.params["sigma"].stderr == pytest.approx(60 * fast.params["sigma"].stderr, rel=1e-3)
    assert hourly.loglik == pytest.approx(fast.loglik, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_units_do_not_matter_where_powers_of_the_state_appear(model, double_well_path, scale):
    from pdekit.data import Trajectories

    sde = model("a*x - b*x**3", "sigma", {"a": POSITIVE, "b": POSITIVE, "sigma": POSITIVE})
    data = double_well_path(n=400)
    scaled = Trajectories.from_arrays(data.times[0], data.values[0] * scale, time_unit="s")
    plain, other = fit(sde, data), fit(sde, scaled)
    assert other.status == "converged"
    assert other.loglik + other.n * math.log(scale) == pytest.approx(plain.loglik, abs=1e-4)
    assert other.params["b"].estimate == pytest.approx(plain.params["b"].estimate / scale**2, rel=1e-3)


def test_a_profile_is_open_where_the_likelihood_levels_off(model, ornstein_uhlenbeck_path):
    # A fifth of a time unit of data can't tell the mean of a process that may hardly revert.
    sde = model("theta*(mu - x)", "sigma", {"theta": POSITIVE, "mu": None, "sigma": POSITIVE})
    result = fit(sde, ornstein_uhlenbeck_path(n=20, dt=0.01, theta=0.2, seed=3))
    low, high = result.interval("mu", kind="profile")
    assert math.isinf(low) or math.isinf(high)


def test_a_series_without_noise_is_refused(model):
    from pdekit.data import Trajectories

    t = np.arange(50.0)
    sde = model("theta*(mu - x)", "sigma", {"theta": None, "mu": None, "sigma": POSITIVE})
    with pytest.raises(DataError, match="no noise"):
        fit(sde, Trajectories.from_arrays(t, 1.0 + 2.0 * t, time_unit="s"))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_state_do_not_matter(model, ornstein_uhlenbeck_path, scale):
    from pdekit.data import Trajectories

    sde = model("theta*(mu - x)", "sigma", {"theta": None, "mu": None, "sigma": POSITIVE})
    data = ornstein_uhlenbeck_path(n=1000, dt=0.2)
    scaled = Trajectories.from_arrays(data.times[0], data.values[0] * scale, time_unit="s")
    plain, other = fit(sde, data, method="fokker-planck"), fit(sde, scaled, method="fokker-planck")
    assert other.status == "converged"
    assert other.params["mu"].estimate == pytest.approx(scale * plain.params["mu"].estimate, rel=1e-3)
    assert other.params["mu"].stderr == pytest.approx(scale * plain.params["mu"].stderr, rel=1e-2)


def test_a_parameter_that_runs_into_its_bound_is_reported(model, ornstein_uhlenbeck_path):
    # The data revert to their mean; a model that may only be repelled from it ends on the bound.
    sde = model("k*(x - m)", "sigma", {"k": POSITIVE, "m": None, "sigma": POSITIVE})
    result = fit(sde, ornstein_uhlenbeck_path(n=500, dt=0.1), fixed={"m": 0.3})
    assert result.params["k"].status == "at bound"
    assert result.params["k"].stderr is None
    assert result.params["sigma"].stderr > 0
    assert result.interval("k") is None


def test_held_parameters_stay(ornstein_uhlenbeck, ornstein_uhlenbeck_path):
    result = fit(ornstein_uhlenbeck, ornstein_uhlenbeck_path(n=500), fixed={"mu": 0.25})
    assert result.params["mu"].estimate == 0.25
    assert result.params["mu"].status == "held"
    assert result.n_estimated == 2


def test_several_states_by_euler(model):
    generator = torch.Generator().manual_seed(0)
    dt, n = 0.01, 20_000
    x = torch.zeros(n, 2, dtype=torch.float64)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64) * math.sqrt(dt)
    a, b, s = 1.0, 2.0, 0.5
    for i in range(n - 1):
        drift = torch.stack([-a * x[i, 0] + b * x[i, 1], -b * x[i, 0] - a * x[i, 1]])
        x[i + 1] = x[i] + drift * dt + s * noise[i]
    from pdekit.data import Trajectories

    sde = model(["-a*x + b*y", "-b*x - a*y"], ["s", "s"], {"a": None, "b": None, "s": POSITIVE})
    result = fit(sde, Trajectories.from_arrays(np.arange(n) * dt, x.numpy(), time_unit="s"))
    errors = np.sqrt(np.diag(result.covariances.observed))
    values = np.array([result.params[name].estimate for name in ("a", "b", "s")])
    order = [sde.param_names.index(name) for name in ("a", "b", "s")]
    assert (np.abs(values - [a, b, s]) / errors[order] < 4).all()


class TestRefusals:
    def test_data_outside_the_domain(self, model, ornstein_uhlenbeck_path):
        sde = model(
            "k*(t - x)", "s*sqrt(x)", {"k": POSITIVE, "t": POSITIVE, "s": POSITIVE}, domain=[(0, None)], time="time"
        )
        with pytest.raises(DataError, match="outside the domain"):
            fit(sde, ornstein_uhlenbeck_path(n=200, mu=0.0))

    def test_wrong_number_of_columns(self, model, ornstein_uhlenbeck_path):
        with pytest.raises(DataError, match="2 state"):
            fit(model(["-x", "-y"], ["s", "s"], {"s": POSITIVE}), ornstein_uhlenbeck_path(n=50))

    @pytest.mark.parametrize("what", ["start", "fixed"])
    def test_unknown_names_and_impossible_values(self, ornstein_uhlenbeck, ornstein_uhlenbeck_path, what):
        data = ornstein_uhlenbeck_path(n=50)
        with pytest.raises(InputError, match="names 'kappa'"):
            fit(ornstein_uhlenbeck, data, **{what: {"kappa": 1.0}})
        with pytest.raises(InputError, match="outside its bounds"):
            fit(ornstein_uhlenbeck, data, **{what: {"sigma": -1.0}})

    def test_methods(self, model, ornstein_uhlenbeck_path):
        sde = model("a*x - b*x**3", "sigma", {"a": None, "b": None, "sigma": POSITIVE})
        data = ornstein_uhlenbeck_path(n=50)
        with pytest.raises(UnsupportedError, match="No closed-form"):
            fit(sde, data, method="closed-form")
        with pytest.raises(InputError, match="method must be one of"):
            fit(sde, data, method="milstein")

    def test_no_possible_start(self, model, ornstein_uhlenbeck_path):
        with pytest.raises(ConvergenceError, match="starting values"):
            fit(model("a", "sqrt(x - 100)", {"a": None}), ornstein_uhlenbeck_path(n=50))

    def test_nothing_to_estimate(self, ornstein_uhlenbeck, ornstein_uhlenbeck_path):
        with pytest.raises(InputError, match="nothing to estimate"):
            fit(ornstein_uhlenbeck, ornstein_uhlenbeck_path(n=50), fixed={"theta": 1.0, "mu": 0.0, "sigma": 1.0})
