"""Kramers-Moyal estimates against closed forms and slow plain twins."""

import json
import math

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, NumericalError, UnsupportedError
from pdekit.fitting.kramers_moyal import KernelSDE, KramersMoyal, estimate
from pdekit.fitting.kramers_moyal.design import kernel
from pdekit.fitting.kramers_moyal.estimation import _spread


def ou_paths(n, dt, *, paths=4, seed=0, matrix=((-1.0,),), noise=((0.5,),)):
    """Exact draws of dX = A X dt + G dW from X = 0: by moments over a step from the block matrix exponential."""
    a, g = torch.tensor(matrix, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64)
    d = len(a)
    block = torch.cat([torch.cat([-a, g @ g.T], 1), torch.cat([torch.zeros_like(a), a.T], 1)])
    whole = torch.linalg.matrix_exp(block * dt)  # Van Loan (1978)
    step = whole[d:, d:].T
    factor = torch.linalg.cholesky(step @ whole[:d, d:]).numpy()
    step, rng = step.numpy(), np.random.default_rng(seed)
    x = np.zeros((n + 1, paths, d))
    for k in range(n):
        x[k + 1] = x[k] @ step.T + rng.standard_normal((paths, d)) @ factor.T
    return Trajectories.from_arrays(np.arange(n + 1) * dt, x)


def double_well(n, dt=0.01, *, seed=0, substeps=1, sigma=0.5):
    rng, x = np.random.default_rng(seed), 1.0
    h = dt / substeps
    out = np.empty(n + 1)
    out[0] = x
    for k, row in enumerate(sigma * math.sqrt(h) * rng.standard_normal((n, substeps))):
        for z in row:
            x += (x - x**3) * h + z
        out[k + 1] = x
    return Trajectories.from_arrays(None, out, fixed_dt=dt)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def well():
    return double_well(40_000)


@pytest.fixture(scope="module")
def fitted(well):
    return estimate(KramersMoyal(), well)


@pytest.fixture(scope="module")
def rotating():
    data = ou_paths(4000, 0.02, paths=4, matrix=((-1.0, 2.0), (-2.0, -1.0)), noise=((0.5, 0.0), (0.3, 0.4)))
    return data, estimate(KramersMoyal(noise="full", bandwidth=1.0, degree=1), data)


def test_an_infinite_bandwidth_is_weighted_least_squares(well):
    sde = estimate(KramersMoyal(bandwidth=math.inf, degree=3, extrapolate=False), well)
    pairs = well.pairs()
    x, y = pairs.x0[:, 0].numpy(), ((pairs.x1 - pairs.x0)[:, 0] / pairs.dt).numpy()
    noise = sde.noise(0.0, pairs.x0)[:, 0, 0].numpy()
    # Constant noise: its local estimate, the weight, varies by a few per cent, which is second order in the estimate.
    coefficients, covariance = np.polyfit(x, y, 3, w=1.0 / noise, cov="unscaled")
    at = np.linspace(-1.2, 1.2, 7)
    error = np.sqrt(np.einsum("ni,ij,nj->n", np.vander(at, 4), covariance * 100.0, np.vander(at, 4)))
    found = sde.drift(0.0, column(*at))[:, 0].numpy()
    assert np.abs(found - np.polyval(coefficients, at)).max() < 0.2 * error.min()
    np.testing.assert_allclose(sde.drift_stderr(column(*at))[:, 0].numpy(), error, rtol=0.05)


def test_a_finite_bandwidth_is_local_least_squares_at_each_point(well):
    sde = estimate(KramersMoyal(bandwidth=0.4, degree=1, extrapolate=False), well)
    pairs = well.pairs()
    x, y = pairs.x0[:, 0].numpy(), ((pairs.x1 - pairs.x0)[:, 0] / pairs.dt).numpy()
    for at in (-1.1, 0.2, 0.9):
        weight = kernel(((x - at) / 0.4) ** 2)
        slow = np.polynomial.polynomial.polyfit(x - at, y, 1, w=np.sqrt(weight))[0]
        found, error = float(sde.drift(0.0, column(at))), float(sde.drift_stderr(column(at)))
        assert abs(found - slow) < 0.3 * error  # the fit also weighs by the estimated noise
        terms = np.stack([np.ones_like(x), x - at], -1)
        inverse = np.linalg.inv(terms.T @ (terms * weight[:, None]))
        sandwich = inverse @ (terms.T @ (terms * weight[:, None] ** 2)) @ inverse
        assert error == pytest.approx(math.sqrt(sandwich[0, 0] * 25.0), rel=0.05)  # increments / dt: .5^2 / .01
        squares = (y - sde.drift(0.0, pairs.x0)[:, 0].numpy()) ** 2 * 0.005
        tensor = np.polynomial.polynomial.polyfit(x - at, squares, 1, w=np.sqrt(weight))[0]
        assert float(sde.tensor(column(at))) == pytest.approx(tensor, rel=5e-3)


def test_bins_are_means_of_boxes(well):
    sde = estimate(KramersMoyal(estimator="bins", points=12, extrapolate=False), well)
    pairs = well.pairs()
    x, y = pairs.x0[:, 0].numpy(), ((pairs.x1 - pairs.x0)[:, 0] / pairs.dt).numpy()
    edges = np.linspace(x.min(), x.max(), 13)
    for k in range(2, 10):
        inside = (x >= edges[k]) & (x < edges[k + 1])
        middle = column(0.5 * (edges[k] + edges[k + 1]))
        assert float(sde.drift(0.0, middle)) == pytest.approx(y[inside].mean(), abs=1e-9)
        variance = ((y[inside] - y[inside].mean()) ** 2).mean() * 0.005
        assert float(sde.tensor(middle)) == pytest.approx(variance, rel=1e-9)
        assert float(sde.drift_stderr(middle)) == pytest.approx(math.sqrt(variance / 0.005 / inside.sum()), rel=1e-6)


def test_the_double_well_is_found_within_its_errors(fitted):
    x = column(*np.linspace(-1.3, 1.3, 27))
    truth = x - x**3
    error = fitted.drift_stderr(x)
    assert ((fitted.drift(0.0, x) - truth).abs() < 3.5 * error).all()
    assert float((fitted.drift(0.0, x) - truth).square().mean().sqrt()) < 0.25
    np.testing.assert_allclose(fitted.noise(0.0, x)[:, 0, 0], 0.5, rtol=0.03)
    assert fitted.flags == ()


def test_the_errors_of_a_linear_drift_cover():
    dt, inside, sizes = 0.05, [], []
    at = column(-0.5, 0.0, 0.5)
    data = ou_paths(2000, dt, paths=30, seed=3)
    options = KramersMoyal(degree=1, bandwidth=1.0, lags=1, points=40)
    for t, x in zip(data.times, data.values, strict=True):
        sde = estimate(options, Trajectories.from_arrays(t, x))
        inside.append((sde.drift(0.0, at) + at).abs() < 1.96 * sde.drift_stderr(at))
        sizes.append((sde.noise(0.0, at)[:, :, 0] - 0.5).abs() < 1.96 * sde.diffusion_stderr(at))
    # 90 answers that are dependent within a record: 95 % less four binomial standard errors of 45.
    assert 0.82 < float(torch.stack(inside).double().mean()) <= 1.0
    assert 0.82 < float(torch.stack(sizes).double().mean()) <= 1.0


@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_the_limit_removes_the_bias_of_the_step(dt):
    data = ou_paths(6000, dt, paths=8, seed=1)
    given = {"bandwidth": math.inf, "degree": 1}
    finite = estimate(KramersMoyal(extrapolate=False, **given), data)
    limit = estimate(KramersMoyal(extrapolate=True, **given), data)
    x = column(0.4)
    slope = math.expm1(-dt) / dt  # of the mean increment over dt
    variance = 0.25 * -math.expm1(-2.0 * dt) / 2.0 / dt
    drift_error, size_error = float(finite.drift_stderr(x)), float(finite.diffusion_stderr(x))
    assert abs(float(finite.drift(0.0, x)) - 0.4 * slope) < 3.5 * drift_error
    assert abs(float(finite.noise(0.0, x)) - math.sqrt(variance)) < 3.5 * size_error
    assert abs(float(limit.drift(0.0, x)) + 0.4) < 3.5 * float(limit.drift_stderr(x))
    assert abs(float(limit.noise(0.0, x)) - 0.5) < 3.5 * float(limit.diffusion_stderr(x))
    assert abs(float(finite.noise(0.0, x)) - 0.5) > 3.5 * size_error  # without the limit it is off


def test_multiplicative_noise():
    rng, dt, x = np.random.default_rng(0), 0.01, np.full(20, 0.3)
    out = [x]
    for _ in range(3000):
        x = np.abs(x + 3.0 * (0.3 - x) * dt + 0.2 * np.sqrt(x * dt) * rng.standard_normal(20))
        out.append(x)
    sde = estimate(KramersMoyal(), Trajectories.from_arrays(dt * np.arange(3001), np.array(out)[:, :, None]))
    at = column(0.2, 0.3, 0.4)
    assert ((sde.drift(0.0, at) - 3.0 * (0.3 - at)).abs() < 3.5 * sde.drift_stderr(at)).all()
    # The Euler steps of these data have D = .02 x exactly; taking the limit adds 3 dt = 3 %.
    np.testing.assert_allclose(sde.tensor(at)[:, :, 0], 0.02 * at * 1.03, rtol=0.03)


def test_rotation_with_correlated_noise(rotating):
    _, sde = rotating
    x = torch.tensor([[0.2, -0.3], [0.0, 0.0], [-0.4, 0.3]], dtype=torch.float64)
    truth = x @ torch.tensor([[-1.0, 2.0], [-2.0, -1.0]], dtype=torch.float64).T
    assert ((sde.drift(0.0, x) - truth).abs() < 3.5 * sde.drift_stderr(x)).all()
    tensor = torch.tensor([[0.125, 0.075], [0.075, 0.125]], dtype=torch.float64)
    torch.testing.assert_close(sde.tensor(x), tensor.expand(3, 2, 2), atol=4e-3, rtol=0)
    assert (sde.noise(0.0, x).triu(1) == 0).all()
    assert not sde.diagonal


def test_diagonal_noise_on_correlated_data_is_flagged(rotating):
    sde = estimate(KramersMoyal(bandwidth=1.0, degree=1), rotating[0])
    assert sde.diagonal
    assert "Noise is not diagonal" in [flag.title for flag in sde.flags]
    assert sde.at().diffusion(0.0, torch.zeros(5, 2, dtype=torch.float64)).shape == (5, 2)


def test_three_states_by_radial_functions():
    matrix = ((-1.0, 1.0, 0.0), (-1.0, -1.0, 0.0), (0.0, 0.5, -1.0))
    data = ou_paths(1000, 0.02, paths=8, matrix=matrix, noise=((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)))
    sde = estimate(KramersMoyal(points=40, lags=1, bandwidth=1.0, degree=1), data, seed=1)
    x = torch.tensor([[0.2, -0.3, 0.1], [0.0, 0.3, -0.3]], dtype=torch.float64)
    truth = x @ torch.tensor(matrix, dtype=torch.float64).T
    assert ((sde.drift(0.0, x) - truth).abs() < 4.0 * sde.drift_stderr(x)).all()
    np.testing.assert_allclose(sde.noise(0.0, x).diagonal(dim1=1, dim2=2), 0.5, rtol=0.05)
    again = KernelSDE.from_record(*sde.to_record())
    far = 20.0 * x
    assert torch.equal(again.drift(0.0, far), sde.drift(0.0, far))
    assert bool(far.mul(sde.drift(0.0, far)).sum(-1).lt(0.0).all())  # back toward the data


def test_the_drift_is_differentiable(fitted, rotating):
    for sde in (fitted, rotating[1]):
        x = torch.tensor([[0.1, -0.2], [0.3, 0.15]], dtype=torch.float64)[:, : sde.dim]
        for function in (sde.drift, sde.noise):
            assert torch.autograd.gradcheck(lambda y, g=function: g(0.0, y), x.clone().requires_grad_(), atol=1e-6)


def test_beyond_the_data_paths_are_led_back(fitted):
    edge = fitted.tables.drift.axes[0][1] * float(fitted.tables.scale) + float(fitted.tables.centre)
    far = column(edge, edge + 10.0, edge + 20.0)
    f, g = fitted.drift(0.0, far), fitted.noise(0.0, far)
    slopes = torch.diff(f[:, 0]) / 10.0
    assert float(slopes[0]) == pytest.approx(float(slopes[1])) == pytest.approx(-float(fitted.tables.pull))
    assert float(fitted.tables.pull) > 0.0
    assert torch.equal(g[0], g[2])


def test_irregular_steps_and_several_paths():
    rng = np.random.default_rng(2)
    parts = []
    for _ in range(3):
        dt = rng.choice([0.01, 0.02, 0.05], 6000)
        x = np.zeros(6001)
        for k, h in enumerate(dt):
            x[k + 1] = x[k] * math.exp(-h) + 0.5 * math.sqrt(-math.expm1(-2 * h) / 2) * rng.standard_normal()
        parts.append((np.concatenate([[0.0], np.cumsum(dt)]), x))
    sde = estimate(KramersMoyal(), Trajectories.from_arrays([t for t, _ in parts], [x for _, x in parts]))
    x = column(-0.4, 0.0, 0.4)
    assert ((sde.drift(0.0, x) + x).abs() < 3.5 * sde.drift_stderr(x)).all()
    np.testing.assert_allclose(sde.noise(0.0, x)[:, 0, 0], 0.5, rtol=0.03)


def test_a_record_brings_the_same_function_back(fitted, rotating):
    for sde in (fitted, rotating[1]):
        record, arrays = sde.to_record()
        again = KernelSDE.from_record(json.loads(json.dumps(record)), arrays)
        x = torch.linspace(-3.0, 3.0, 40, dtype=torch.float64).reshape(-1, sde.dim)
        for name in ("drift", "noise"):
            assert torch.equal(getattr(again, name)(0.0, x), getattr(sde, name)(0.0, x))
        for name in ("drift_stderr", "diffusion_stderr", "tensor"):
            assert torch.equal(getattr(again, name)(x), getattr(sde, name)(x))
        assert (again.details, again.flags, again.reach) == (sde.details, sde.flags, sde.reach)


def test_damaged_records_are_refused(fitted):
    record, arrays = fitted.to_record()
    for name in ("drift", "details", "states"):
        with pytest.raises(InputError, match=r"incomplete or damaged"):
            KernelSDE.from_record({k: v for k, v in record.items() if k != name}, arrays)
    with pytest.raises(InputError, match=r"incomplete or damaged"):
        KernelSDE.from_record(record, {k: v for k, v in arrays.items() if k != "noise.coefficients"})
    with pytest.raises(InputError, match=r"shape \(2,\), not \(1,\)"):
        KernelSDE.from_record(record, {**arrays, "pull": torch.zeros(2)})


def test_measurement_noise_is_flagged_with_its_size(well):
    noisy = well.values[0] + 0.05 * torch.randn(well.values[0].shape, generator=torch.Generator().manual_seed(0))
    sde = estimate(KramersMoyal(), Trajectories.from_arrays(well.times[0], noisy))
    flag = next(flag for flag in sde.flags if flag.title == "Suspicion of measurement noise")
    assert flag.value == pytest.approx(0.05, rel=0.1)
    assert flag.severity == "serious"


def test_longer_lags_suffer_less_from_measurement_noise(well):
    noisy = well.values[0] + 0.05 * torch.randn(well.values[0].shape, generator=torch.Generator().manual_seed(0))
    data = Trajectories.from_arrays(well.times[0], noisy)
    sizes = [float(estimate(KramersMoyal(lags=lag), data).noise(0.0, column(0.9))) for lag in (1, 10)]
    assert abs(sizes[1] - 0.5) < 0.3 * abs(sizes[0] - 0.5)


def test_a_coarse_step_is_flagged_or_refused():
    data = double_well(4000, 1.0, seed=4, substeps=50)
    sde = estimate(KramersMoyal(), data)
    assert any("coarse" in flag.title for flag in sde.flags)
    with pytest.raises(NumericalError, match=r"too coarse"):
        estimate(KramersMoyal(extrapolate=True), data)


def test_a_position_without_its_velocity_is_flagged():
    rng = np.random.default_rng(0)
    x, v, out = 0.0, 0.0, []
    for z in rng.standard_normal(20_000):
        v += (-x - v) * 0.02 + 0.7 * math.sqrt(0.02) * z
        x += v * 0.02
        out.append(x)
    flags = estimate(KramersMoyal(), Trajectories.from_arrays(None, out, fixed_dt=0.02)).flags
    assert any("change with the step" in flag.title for flag in flags)


def test_a_short_record_says_so():
    flags = estimate(KramersMoyal(), double_well(400)).flags
    assert "Few data for the drift" in [flag.title for flag in flags]


def test_progress_goes_from_nothing_to_all(well):
    calls = []
    estimate(KramersMoyal(lags=1), well, progress=lambda what, done: calls.append((what, done)))
    assert {what for what, _ in calls} == {"drift", "diffusion"}
    values = [done for _, done in calls]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] <= 1.0


def test_ties_and_outliers_do_no_harm(well):
    rounded = torch.round(well.values[0], decimals=1)
    rounded[100] = 9.0
    sde = estimate(KramersMoyal(), Trajectories.from_arrays(well.times[0], rounded))
    x = column(-5.0, -1.0, 0.0, 1.0, 5.0)
    assert torch.isfinite(sde.drift(0.0, x)).all()
    assert torch.isfinite(sde.drift_stderr(x)).all()
    assert (sde.noise(0.0, x)[:, 0, 0] > 0.0).all()


def test_the_scale_of_discrete_data_is_not_zero():
    mostly_zero = np.zeros((100, 1))
    mostly_zero[:5] = 1.0
    assert _spread(mostly_zero)[0] > 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "splines"}, "estimator must be one of"),
        ({"noise": "scalar"}, "noise must be one of"),
        ({"extrapolate": "yes"}, "extrapolate must be one of"),
        ({"extrapolate": 1}, "extrapolate must be one of"),
        ({"bandwidth": 0.0}, "bandwidth must be positive"),
        ({"bandwidth": ()}, "bandwidth must be positive"),
        ({"bandwidth": (1.0, math.inf)}, "finite for all states or infinite"),
        ({"bandwidth": math.nan}, "bandwidth must be positive"),
        ({"degree": 4}, "degree must be"),
        ({"degree": True}, "degree must be"),
        ({"lags": (2, 1)}, "lags must be increasing"),
        ({"lags": ()}, "lags must be increasing"),
        ({"lags": 0}, "lags must be increasing"),
        ({"points": 3}, "points must be"),
        ({"estimator": "bins", "degree": 1}, "takes neither"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        KramersMoyal(**options)


def test_data_that_cannot_be_served_are_refused():
    rng = np.random.default_rng(0)
    walk = lambda d, n=500: Trajectories.from_arrays(None, rng.standard_normal((n, d)).cumsum(0), fixed_dt=0.1)  # noqa: E731
    with pytest.raises(UnsupportedError, match=r"7 states.*up to 6"):
        estimate(KramersMoyal(), walk(7))
    with pytest.raises(UnsupportedError, match=r"4 states.*up to 3"):
        estimate(KramersMoyal(estimator="bins"), walk(4))
    with pytest.raises(DataError, match=r"29 increments"):
        estimate(KramersMoyal(), walk(1, 30))
    with pytest.raises(DataError, match=r"more than 500 steps"):
        estimate(KramersMoyal(lags=500), walk(1))
    with pytest.raises(InputError, match=r"2 states, and 3 bandwidths"):
        estimate(KramersMoyal(bandwidth=(1, 2, 3)), walk(2))
    with pytest.raises(InputError, match=r"shape \(\*batch, 2\)"):
        estimate(KramersMoyal(bandwidth=1.0, degree=0), walk(2)).drift(0.0, torch.zeros(3, 1))


def test_a_drift_that_turns_does_not_correlate_the_noise():
    """Independent noises; within a step of a tenth of a turn the drift correlates what is seen of them."""
    rng, x, h = np.random.default_rng(0), np.zeros(2), 0.005
    rows = []
    for k in range(4000 * 20):
        x = x + h * np.array([-x[0] - 2 * x[1], 2 * x[0] - x[1] - x[1] ** 3])
        x = x + np.sqrt(h) * np.array([0.3, 0.5]) * rng.standard_normal(2)
        if k % 20 == 0:
            rows.append(x)
    data = Trajectories.from_arrays(np.arange(4000) * 0.1, np.array(rows), names=["x", "y"])
    assert "Noise is not diagonal" not in [flag.title for flag in estimate(KramersMoyal(), data).flags]


def test_one_long_gap_among_short_steps_changes_nothing():
    rng = np.random.default_rng(0)
    x = np.zeros(6000)
    for k in range(1, 6000):
        x[k] = 0.95 * x[k - 1] + 0.1 * rng.standard_normal()
    kept = np.r_[0:1500, 4500:6000]
    whole, gap = (
        estimate(KramersMoyal(bandwidth=float("inf"), degree=1), Trajectories.from_arrays(0.05 * k, x[k]))
        for k in (np.r_[0:1500], kept)
    )
    at = torch.tensor([[0.3]], dtype=torch.float64)
    assert float((gap.noise(0.0, at) / whole.noise(0.0, at) - 1).abs()) < 0.05
    assert any("1 over gaps left out" in text for _, text in gap.details)
    assert not [flag for flag in gap.flags if flag.severity == "serious"]


def test_a_series_without_noise_is_refused():
    t = np.arange(3000) * 0.05
    with pytest.raises(DataError, match="no noise"):
        estimate(KramersMoyal(), Trajectories.from_arrays(t, t))
