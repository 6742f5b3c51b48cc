"""What can go wrong, and what is said about it."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import ConvergenceError, InputError, NumericalError, OperatorError, UnsupportedError
from pdekit.ode import (
    AdamsBashforthMoulton,
    Dopri5,
    Euler,
    Event,
    Fixed,
    ImplicitEuler,
    JacobiNewton,
    Kvaerno5,
    RadauIIA5,
    SciPy,
    StepControl,
    Tsit5,
)

F64 = torch.float64
ONE = torch.ones(1, dtype=F64)
METHODS = [Tsit5(), Dopri5(), Kvaerno5(), RadauIIA5(), AdamsBashforthMoulton(), ImplicitEuler()]


def name(x):
    return type(x).__name__


def decay(t, y):
    return -y


def beyond_two(t, y):
    return torch.where(y > 2, torch.nan, torch.ones_like(y))


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_right_hand_side_that_is_not_finite(method):
    y0 = torch.tensor([[-10.0, -10.0], [-10.0, 0.5]], dtype=F64)
    sol = pk.odeint(beyond_two, y0, [0.0, 1.0, 3.0], method=method, raise_on_failure=False)
    assert list(sol.status) == ["success", "not_finite"]
    assert not sol.success
    torch.testing.assert_close(sol.y[-1, 0], y0[0] + 3, rtol=1e-9, atol=0)
    torch.testing.assert_close(sol.y[1, 1], y0[1] + 1, rtol=1e-6, atol=0)
    assert bool(sol.y[-1, 1].isnan().all())
    (failure,) = sol.failures
    assert failure.sample == (1,)
    assert failure.t == pytest.approx(1.5)
    assert str(failure).startswith("Sample 1 met a right-hand side that is not finite, at t = 1.5 with a step of ")


def test_the_first_failure_is_raised_and_the_others_are_counted():
    y0 = torch.tensor([[-10.0, -10.0], [-10.0, 0.5]], dtype=F64)
    with pytest.raises(NumericalError, match=r"Sample 1 met .* at t = 1\.5 .*1 of 2 samples failed"):
        pk.odeint(beyond_two, y0, [0.0, 3.0])


@pytest.mark.parametrize(
    "method",
    [
        Tsit5(),
        pytest.param(Kvaerno5()),
    ],
    ids=name,
)
def test_the_component_that_is_not_finite_is_named(method):
    y0 = torch.tensor([-10.0, 0.5], dtype=F64)
    with pytest.raises(NumericalError, match="component 1"):
        pk.odeint(beyond_two, y0, [0.0, 3.0], method=method)


def test_at_the_start_already():
    with pytest.raises(NumericalError, match=r"The solution met .* at t = 0 .* component 0"):
        pk.odeint(lambda t, y: torch.sqrt(y), -ONE, [0.0, 1.0])


@pytest.mark.parametrize("control", [StepControl(), Fixed(0.3)], ids=name)
def test_euler_met_a_right_hand_side_that_is_not_finite(control):
    with pytest.raises(NumericalError, match="not finite"):
        pk.odeint(beyond_two, 0 * ONE, [0.0, 3.0], method=Euler(), control=control)


@pytest.mark.parametrize("method", [Tsit5(), RadauIIA5(), AdamsBashforthMoulton()], ids=name)
def test_blow_up_in_finite_time(method):
    y0 = torch.tensor([[1.0], [0.1]], dtype=F64)
    options = {"method": method, "rtol": 1e-3, "atol": 1e-5}
    sol = pk.odeint(lambda t, y: y**2, y0, [0.0, 0.5, 2.0], raise_on_failure=False, **options)
    assert sol.status[1] == "success"
    assert sol.status[0] in ("step_too_small", "not_finite", "not_solved")
    assert sol.failures[0].t == pytest.approx(1, abs=0.02)
    assert "Sample 0 " in str(sol.failures[0])
    # The exact 1 / (1 / y0 - t); twenty units of 1e-3.
    assert sol.y[1].flatten().numpy() == pytest.approx([2, 1 / 9.5], rel=2e-2)
    assert float(sol.y[2, 1]) == pytest.approx(1 / 8, rel=2e-2)
    assert bool(sol.y[2, 0].isnan())


def test_too_many_steps():
    with pytest.raises(ConvergenceError, match=r"more steps than max_steps.*Kvaerno5"):
        pk.odeint(lambda t, y: -1e5 * (y - torch.cos(t)), ONE, [0.0, 1.0], control=StepControl(max_steps=50))
    y0 = torch.tensor([[1.0, 1e5], [1.0, 1.0]], dtype=F64)
    sol = pk.odeint(
        lambda t, y: torch.stack([-y[..., 0] * y[..., 1], 0 * y[..., 1]], -1),
        y0,
        [0.0, 1.0],
        control=StepControl(max_steps=100),
        raise_on_failure=False,
    )
    assert list(sol.status) == ["too_many_steps", "success"]
    assert sol.counts.accepted[0] + sol.counts.rejected[0] == 100
    assert float(sol.y[-1, 1, 0]) == pytest.approx(np.exp(-1), rel=1e-5)
    with pytest.raises(ConvergenceError, match="max_steps"):
        pk.odeint(decay, ONE, [0.0, 1.0], control=Fixed(1e-3, max_steps=100))


def test_a_step_that_is_too_small():
    def jump(t, y):
        return 1e8 * torch.sign(torch.sin(100 * t)) * torch.ones_like(y)

    with pytest.raises(NumericalError, match=r"needs steps below the smallest one.* at t = 0\.03.*jump"):
        pk.odeint(jump, ONE, [0.01, 1.0], control=StepControl(min_step=1e-5))


def test_equations_that_are_not_solved():
    a = torch.tensor([[-1.0, 100.0], [-100.0, -1.0]], dtype=F64)
    with pytest.raises(ConvergenceError, match=r"nonlinear solver could not solve.*at t = 0 with a step of 0\.5"):
        pk.odeint(
            lambda t, y: y @ a.T,
            torch.ones(2, dtype=F64),
            [0.0, 1.0],
            method=Kvaerno5(nonlinear=JacobiNewton()),
            control=Fixed(0.5),
        )


@pytest.mark.parametrize(
    ("times", "match"),
    [
        ([0.0, 1.0, 1.0], "strictly increasing or strictly decreasing"),
        ([0.0, 1.0, 0.5], "strictly"),
        ([0.0, np.nan], "finite"),
        ([0.0, np.inf], "finite"),
        ([0.0], "two times at least"),
        (0.0, "two times at least"),
        (np.zeros((2, 3)), "got shape"),
        ("now", "t must be times"),
    ],
    ids=str,
)
def test_times_that_are_none(times, match):
    with pytest.raises(InputError, match=match):
        pk.odeint(decay, torch.ones(2, 1, dtype=F64), times)


def test_times_of_some_samples_in_the_other_direction_are_refused():
    with pytest.raises(InputError, match="strictly"):
        pk.odeint(decay, torch.ones(2, 1, dtype=F64), torch.tensor([[0.0, 0.0], [1.0, -1.0]]))


@pytest.mark.parametrize(
    ("y0", "match"),
    [
        (torch.ones(1, dtype=torch.int64), "float32 or float64"),
        (torch.tensor(1.0), "float32 or float64"),
        ([1.0], "got list"),
        (torch.ones(1, dtype=torch.complex128), "float32 or float64"),
        (torch.ones(2, 0, dtype=F64), "one state at least"),
        (torch.tensor([torch.nan], dtype=F64), "not finite"),
    ],
    ids=str,
)
def test_states_that_are_none(y0, match):
    with pytest.raises(InputError, match=match):
        pk.odeint(decay, y0, [0.0, 1.0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rtol": 1e-14}, r"at least 1e-13 in torch\.float64"),
        ({"rtol": 1.0}, "below 1"),
        ({"rtol": "small"}, "rtol must be"),
        ({"atol": -1.0}, "atol must be positive"),
        ({"atol": [1.0, 2.0]}, "1 of them"),
        ({"method": Tsit5}, r"an object such as Tsit5\(\)"),
        ({"method": "tsit5"}, "an object such as"),
        ({"context": torch.ones(3, 1)}, r"context must be a tensor"),
        ({"context": 3}, "got int"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(options, match):
    with pytest.raises(InputError, match=match):
        pk.odeint(decay, ONE.expand(2, 1), [0.0, 1.0], **options)


def test_a_tolerance_below_what_single_precision_has():
    with pytest.raises(InputError, match=r"at least 1e-05 in torch\.float32"):
        pk.odeint(decay, torch.ones(1), [0.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"control": 0.1},
        {"control": Fixed},
        {"gradient": "adjoint"},
        {"gradient": pk.ode.Backsolve},
        {"events": Event(lambda t, y: y[..., 0])},
        {"events": [lambda t, y: y[..., 0]]},
    ],
    ids=lambda options: "-".join(options),
)
def test_options_of_another_type(options):
    with pytest.raises(InputError):
        pk.odeint(decay, ONE, [0.0, 1.0], **options)


def test_options_are_checked_where_they_are_made():
    for make in (
        lambda: Fixed(0.0),
        lambda: Fixed(np.nan),
        lambda: StepControl(first_step=-1.0),
        lambda: StepControl(min_step=1.0, max_step=0.5),
        lambda: StepControl(max_steps=0),
        lambda: StepControl(safety=1.5),
        lambda: pk.ode.Discrete(order=3),
        lambda: SciPy("Euler"),
    ):
        with pytest.raises(InputError):
            make()


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (lambda y: -y, r"raises TypeError.*autonomous\(f\)"),
        (lambda t, y: -y.float(), r"got \(3, 2\) torch.float32"),
        (lambda t, y: -y[..., :1], r"got \(3, 1\) torch.float64"),
        (lambda t, y: y.numpy(), "got ndarray"),
        (lambda t, y: torch.stack([t, y[..., 0]], -1), "t\\[..., 0\\]"),
    ],
    ids=["no time", "dtype", "shape", "array", "time as a column"],
)
def test_fields_that_are_none(f, match):
    with pytest.raises(InputError, match=match):
        pk.odeint(f, torch.ones(3, 2, dtype=F64), [0.0, 1.0])


def test_a_field_that_mixes_rows():
    torch.manual_seed(0)
    with pytest.raises(OperatorError):
        pk.odeint(lambda t, y: -y + y.mean(0), torch.randn(3, 2, dtype=F64), [0.0, 1.0])


def test_a_field_that_holds_a_row_for_each_sample_must_use_context():
    rates = torch.tensor([[1.0], [2.0], [3.0]], dtype=F64)
    y0 = torch.ones(3, 2, dtype=F64)
    with pytest.raises(InputError, match="goes in by context="):
        pk.odeint(lambda t, y: -rates * y, y0, [0.0, 1.0])
    sol = pk.odeint(lambda t, y, context: -context * y, y0, [0.0, 1.0], context=rates, rtol=1e-8)
    torch.testing.assert_close(sol.y[-1], torch.exp(-rates).expand(3, 2), rtol=1e-6, atol=0)


def test_a_failure_in_a_batch_of_two_axes_names_both():
    y0 = torch.zeros(2, 3, 1, dtype=F64)
    y0[1, 2] = 1.5
    with pytest.raises(NumericalError, match=r"Sample 1, 2 met .*1 of 6 samples failed; raise_on_failure=False"):
        pk.odeint(beyond_two, y0, [0.0, 1.0])


def test_what_scipy_does_not_do_here_is_refused():
    with pytest.raises(UnsupportedError, match="no gradients, events or dense output"):
        pk.odeint(decay, ONE.clone().requires_grad_(), [0.0, 1.0], method=SciPy())
    with pytest.raises(UnsupportedError):
        pk.odeint(decay, ONE, [0.0, 1.0], method=SciPy(), dense=True)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-3), (torch.float64, 1e-5)])
def test_tolerances_left_out_fit_the_dtype(dtype, error):
    end = pk.odeint(lambda t, y: -y, torch.ones(1, dtype=dtype), [0.0, 1.0]).y[-1]
    assert end.dtype == dtype
    assert abs(float(end) - 0.36787944117144233) < error


def test_the_absolute_tolerance_follows_the_relative_one():
    y0 = torch.full((1,), 1e-8, dtype=torch.float64)  # under an absolute tolerance of 1e-9 this would be rough
    end = pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=1e-11).y[-1]
    assert abs(float(end) / 3.6787944117144233e-09 - 1) < 1e-4
