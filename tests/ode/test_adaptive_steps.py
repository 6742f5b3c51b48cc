"""Adaptive steps: accuracy, independence of samples, times, shapes and dtypes."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import pdekit as pk
from pdekit.errors import InputError
from pdekit.ode import (
    RK4,
    TRBDF2,
    AdamsBashforthMoulton,
    Discrete,
    Dopri5,
    Euler,
    Fixed,
    ImplicitEuler,
    Kvaerno3,
    Kvaerno5,
    RadauIIA5,
    StepControl,
    Tsit5,
)

F64 = torch.float64
HIGH = [Tsit5(), Dopri5(), RK4(), Kvaerno3(), Kvaerno5(), RadauIIA5(), TRBDF2(), AdamsBashforthMoulton()]
ALL = [*HIGH, Euler(), ImplicitEuler()]


def name(x):
    return type(x).__name__


def pendulum(t, y):
    return torch.stack([y[..., 1], -torch.sin(y[..., 0]) + 0.1 * torch.cos(t[..., 0] if y.ndim > 1 else t)], -1)


def by_scipy(y0, times):
    def f(t, y):
        return [y[1], -np.sin(y[0]) + 0.1 * np.cos(t)]

    return solve_ivp(f, (times[0], times[-1]), y0, "DOP853", t_eval=times, rtol=1e-13, atol=1e-14).y.T


def van_der_pol(t, y, context):
    mu = context[..., 0]
    return torch.stack([y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [Tsit5(), RK4(), Kvaerno5(), RadauIIA5(), TRBDF2(), AdamsBashforthMoulton()], ids=name
)
def test_errors_are_proportional_to_the_tolerance(method):
    times = [0.0, 2.0, 5.0]
    truth = torch.as_tensor(by_scipy([1.0, 0.5], times))
    y0 = torch.tensor([1.0, 0.5], dtype=F64)
    errors = []
    for rtol in (1e-3, 1e-5):
        sol = pk.odeint(pendulum, y0, times, method=method, rtol=rtol, atol=rtol)
        errors.append(float((sol.y - truth).abs().max()))
    # Errors of some ten steps add up and the pendulum stretches them a few times: 30 units at most. The local error per
    # step goes with rtol, the global one with rtol^(p / (p + 1)) at worst: 2.0 - .7 of two decades for p = 2.
    assert errors[0] < 30e-3
    assert errors[1] < 30e-5 * (20 if isinstance(method, TRBDF2) else 1)
    assert 1.0 < np.log10(errors[0] / errors[1]) < 3.5


@pytest.mark.parametrize("method", HIGH, ids=name)
def test_a_sample_does_not_depend_on_its_mates(method):
    y0 = torch.tensor([[2.0, 0.0], [0.5, 1.0], [-1.0, 0.3]], dtype=F64)
    mu = torch.tensor([[0.5], [30.0], [5.0]], dtype=F64)  # the second is far harder
    times = [0.0, 0.3, 0.8]
    options = {"method": method, "rtol": 1e-4, "atol": 1e-6}
    together = pk.odeint(van_der_pol, y0, times, context=mu, **options)
    for i in range(3):
        alone = pk.odeint(van_der_pol, y0[i : i + 1], times, context=mu[i : i + 1], **options)
        # The same operations but for the order of sums in batched linear algebra.
        torch.testing.assert_close(together.y[:, i], alone.y[:, 0], rtol=1e-12, atol=1e-12)
        assert together.counts.accepted[i] == alone.counts.accepted[0]
        assert together.counts.f[i] == pytest.approx(alone.counts.f[0], abs=2)  # two more check rows


def test_samples_that_have_arrived_cost_nothing_more():
    y0 = torch.tensor([[1.0], [1.0]], dtype=F64)
    sizes = []

    def f(t, y):
        sizes.append(len(y))
        return -y * torch.cos(t)

    times = torch.tensor([[0.0, 0.0], [0.1, 20.0]], dtype=F64)
    sol = pk.odeint(f, y0, times)
    assert sol.counts.f[0] < sol.counts.f[1] / 5
    assert sizes[-1] == 1
    torch.testing.assert_close(sol.y[-1, :, 0], torch.exp(-torch.sin(times[-1])), rtol=1e-5, atol=0)


@pytest.mark.parametrize("method", ALL, ids=name)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)], ids=str)
def test_every_shape_of_batch_with_times_of_its_own_backwards(method, shape):
    rtol = 1e-3 if isinstance(method, Euler | ImplicitEuler) else 1e-6
    torch.manual_seed(1)
    y0 = 1 + torch.rand(*shape, 2, dtype=F64)
    start = 2 + torch.rand(shape, dtype=F64)
    for sign in (1, -1):
        times = torch.stack([start, start + 0.13 * sign, start + 0.5 * sign])
        sol = pk.odeint(lambda t, y: -y * t, y0, times, method=method, rtol=rtol, atol=1e-3 * rtol)
        exact = y0 * torch.exp((start**2 - times**2) / 2).unsqueeze(-1)
        assert sol.y.shape == (3, *shape, 2)
        assert sol.status.shape == tuple(shape)
        assert sol.success
        # Errors of steps add up: Euler takes a few hundred, others a few dozen; exp(1.6) stretches them backwards.
        torch.testing.assert_close(sol.y, exact, rtol=300 * rtol, atol=0)
        torch.testing.assert_close(sol.y[0], y0, rtol=0, atol=0)


@pytest.mark.parametrize("method", HIGH, ids=name)
def test_single_precision_stays_single_and_reaches_its_tolerance(method):
    y0 = torch.tensor([[1.0, 0.5]])
    sol = pk.odeint(pendulum, y0, [0.0, 2.0], method=method, rtol=1e-4, atol=1e-5)
    assert sol.y.dtype == torch.float32
    truth = by_scipy([1.0, 0.5], [0.0, 2.0])[-1]
    # 30 units of the tolerance, as above; rounding, 6e-8 in each step, is far below.
    assert np.abs(sol.y[-1, 0].double().numpy() - truth).max() < 30e-4


@pytest.mark.parametrize("method", ALL, ids=name)
def test_outputs_do_not_move_the_solution_and_lie_on_it(method):
    y0 = torch.tensor([1.0, 0.5], dtype=F64)
    many = np.sort(np.r_[0.0, np.random.default_rng(0).random(40) * 3, 3.0])
    rtol = 1e-3 if isinstance(method, Euler | ImplicitEuler) else 1e-6
    sol = pk.odeint(pendulum, y0, many, method=method, rtol=rtol, atol=rtol)
    truth = torch.as_tensor(by_scipy([1.0, 0.5], many))
    assert float((sol.y - truth).abs().max()) < 100 * rtol
    assert np.array_equal(sol.t.numpy(), many)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_the_dense_solution_agrees_at_output_times_and_between(method):
    y0 = torch.tensor([[1.0, 0.5], [0.2, 0.1]], dtype=F64)
    rtol = 1e-3 if isinstance(method, Euler | ImplicitEuler) else 1e-6
    sol = pk.odeint(pendulum, y0, [0.0, 1.0, 3.0], method=method, rtol=rtol, atol=rtol, dense=True)
    # The same polynomial at the same place, or its end value: rounding only.
    torch.testing.assert_close(sol.at([0.0, 1.0, 3.0]), sol.y, rtol=1e-13, atol=1e-14)
    between = np.linspace(0, 3, 23)
    truth = np.stack([by_scipy(list(y.numpy()), between) for y in y0], 1)
    # Radau's polynomial has order 3 only: it may be off by far more than the tolerance between its ends.
    assert np.abs(sol.at(between).numpy() - truth).max() < (1e-3 if isinstance(method, RadauIIA5) else 300 * rtol)
    single = pk.odeint(pendulum, y0[0], [0.0, 1.0], method=method, rtol=rtol, atol=rtol, dense=True)
    assert single.at(0.5).shape == (1, 2)


@pytest.mark.parametrize("method", ALL, ids=name)
def test_a_solution_that_stands_still_stands_still(method):
    y0 = torch.tensor([[1.0, -2.0], [0.0, 0.0]], dtype=F64)
    sol = pk.odeint(lambda t, y: torch.zeros_like(y), y0, [0.0, 1e6], method=method)
    assert torch.equal(sol.y[-1], y0)
    assert (sol.counts.accepted < 30).all()


def test_times_reach_the_field_unrounded():
    seen = []

    def f(t, y):
        seen.append((t.dtype, tuple(t.shape), t.detach().flatten()[0].item()))
        return -y

    start = 1e6 + 1 / 3
    pk.odeint(f, torch.ones(2, 1, dtype=F64), [start, start + 1e-3], control=Fixed(1e-3), method=Euler())
    assert {s[:2] for s in seen} <= {(F64, (2, 1)), (F64, (1, 1))}
    assert start in {s[2] for s in seen}
    assert start + 1e-3 == pytest.approx(max(s[2] for s in seen), abs=0, rel=1e-16)


def test_a_single_state_gets_a_scalar_time():
    def f(t, y):
        assert t.ndim == 0
        return y * (1.0 if float(t) < 0 else torch.cos(t))

    sol = pk.odeint(f, torch.ones(1, dtype=F64), [-1.0, 0.0, 1.0], rtol=1e-8)
    # Outputs need not be steps: the jump's derivative at 0 is 0 here, cos(0) = 1.
    assert float(sol.y[-1]) == pytest.approx(np.exp(1 + np.sin(1)), rel=1e-6)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    shift=st.floats(-50, 50),
    scale=st.floats(0.1, 10),
    method=st.sampled_from([Tsit5(), Kvaerno5(), RadauIIA5()]),
)
def test_shifting_and_scaling_time_changes_nothing_but_rounding(shift, scale, method):
    y0 = torch.tensor([1.2, -0.3], dtype=F64)

    def f(t, y):
        return torch.stack([y[1], -torch.sin(y[0]) - 0.2 * y[1]])

    one = pk.odeint(f, y0, [0.0, 2.0], method=method, rtol=1e-6)
    other = pk.odeint(lambda t, y: f(t, y) / scale, y0, [shift, shift + 2 * scale], method=method, rtol=1e-6)
    # Both meet the tolerance; the first steps may differ by its floors.
    torch.testing.assert_close(one.y[-1], other.y[-1], rtol=3e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(a=st.floats(-3, 1), b=st.floats(-2, 2), span=st.floats(0.01, 3), k=st.integers(2, 6))
def test_linear_equations_against_the_closed_form(a, b, span, k):
    times = np.linspace(0.5, 0.5 + span, k)
    y0 = torch.tensor([[1.0], [-2.0]], dtype=F64)
    sol = pk.odeint(lambda t, y: a * y + b, y0, times, rtol=1e-8, atol=1e-10)
    s = torch.as_tensor(times - 0.5).reshape(-1, 1, 1)
    exact = y0 * torch.exp(a * s) + b * (torch.expm1(a * s) / a if abs(a) > 1e-8 else s)
    # e^3 at most stretches the sum of some twenty local errors of 1e-8 relative to states of at most e^3 3.
    torch.testing.assert_close(sol.y, exact, rtol=1e-6, atol=1e-6)


def lengths(sol):
    return np.array([float(s.h[0]) for s in sol.interpolant._segments])


def test_no_step_is_longer_than_max_step():
    control = StepControl(max_step=0.1)
    sol = pk.odeint(lambda t, y: 0 * y, torch.ones(1, dtype=F64), [0.0, 1.0], control=control, dense=True)
    assert lengths(sol).max() <= 0.1 + 1e-15


def test_the_first_step_is_no_longer_than_max_step_either():
    control = StepControl(first_step=0.6, max_step=0.1)
    sol = pk.odeint(lambda t, y: 0 * y, torch.ones(1, dtype=F64), [0.0, 1.0], control=control, dense=True)
    assert lengths(sol).max() <= 0.1 + 1e-15


def test_no_step_is_shorter_than_min_step():
    control = StepControl(min_step=0.021)
    sol = pk.odeint(
        lambda t, y: torch.cos(40 * t) * y * 5,
        torch.ones(1, dtype=F64),
        [0.0, 1.0],
        rtol=1e-5,
        control=control,
        dense=True,
    )
    assert lengths(sol)[:-2].min() >= 0.021 * (1 - 1e-9)  # rounding; the last two may be halves of the rest


def test_a_batch_of_no_samples():
    sol = pk.odeint(lambda t, y: -y, torch.zeros(0, 2, dtype=F64), [0.0, 1.0])
    assert sol.y.shape == (2, 0, 2)


@pytest.mark.parametrize("name", ["first_step", "min_step", "max_step", "safety", "integral", "least", "most"])
@pytest.mark.parametrize("value", ["a", np.nan, [0.1], True, -1.0], ids=str)
def test_lengths_of_steps_that_are_none(name, value):
    with pytest.raises(InputError, match=name):
        StepControl(**{name: value})


@pytest.mark.parametrize("value", ["a", np.nan, 2.5, np.inf, True, 0, None], ids=str)
def test_numbers_of_steps_that_are_none(value):
    for option in (StepControl, lambda **o: Fixed(0.1, **o)):
        with pytest.raises(InputError, match="max_steps"):
            option(max_steps=value)


def test_options_that_are_no_numbers():
    for step in ("a", None, np.inf, torch.ones(2), True):
        with pytest.raises(InputError, match="step"):
            Fixed(step)
    for accuracy in ("a", None, np.nan, np.array([0.1, 0.2])):
        with pytest.raises(InputError, match="accuracy"):
            Kvaerno5(accuracy=accuracy)
    for order in ("1", True, np.array([1, 2]), 1.5):
        with pytest.raises(InputError, match="order"):
            Discrete(order=order)
    with pytest.raises(InputError, match="checkpoint"):
        Discrete(checkpoint="yes")


def test_numbers_of_other_libraries_are_numbers():
    quarter, hundred = np.float32(0.25), np.int64(100)
    y0 = torch.ones(2, 1, dtype=F64)
    method = ImplicitEuler(accuracy=np.float32(0.01))
    one = pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], method=method, control=Fixed(quarter, max_steps=hundred))
    assert one.y[-1].numpy() == pytest.approx(0.8**4, abs=1e-7)
    steps = StepControl(first_step=Fraction(1, 4), max_step=quarter, min_step=np.float32(0), max_steps=hundred)
    assert pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], control=steps, gradient=Discrete(order=np.int64(2))).success
    assert repr(Fixed(quarter)) == "Fixed(step=0.25, max_steps=10000000)"
