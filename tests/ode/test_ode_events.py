"""Events: when, where, for which sample, and their gradients."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import InputError
from pdekit.ode import Euler, Event, Fixed, Kvaerno5, RadauIIA5, StepControl, Tsit5

F64 = torch.float64
METHODS = [Tsit5(), Kvaerno5(), RadauIIA5()]
TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def name(x):
    return type(x).__name__


def fall(t, y):
    return torch.stack([y[..., 1], torch.full_like(y[..., 0], -9.81)], -1)


def height(t, y):
    return y[..., 0]


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_ball_hits_the_ground_in_time_and_the_time_has_gradients(method):
    y0 = torch.tensor([[1.0, 0.0], [2.0, 1.0], [100.0, 0.0]], dtype=F64, requires_grad=True)
    sol = pk.odeint(fall, y0, [0.0, 1.0], method=method, events=[Event(height)], **TIGHT)
    assert list(sol.status) == ["event", "event", "success"]
    assert sol.success
    hit = sol.events[0]
    order = np.argsort(hit.sample)
    assert list(hit.sample[order]) == [0, 1]
    h, v = y0[:2, 0], y0[:2, 1]
    exact = (v + torch.sqrt(v**2 + 2 * 9.81 * h)) / 9.81
    t, y = hit.t[order], hit.y[order]
    # The path is a parabola: every method is exact here but for rounding; sixty halvings leave none.
    torch.testing.assert_close(t, exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(y[:, 1], v - 9.81 * exact, rtol=1e-9, atol=0)
    torch.testing.assert_close(y[:, 0], torch.zeros(2, dtype=F64), rtol=0, atol=1e-9)
    for found, wanted in ((t, exact), (y[:, 1], v - 9.81 * exact)):
        one, other = (torch.autograd.grad(x.sum(), y0, retain_graph=True)[0] for x in (found, wanted))
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    assert bool(sol.y[-1, :2].isnan().all())
    assert bool(sol.y[-1, 2].isfinite().all())


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_time_of_decay_and_its_gradient_in_the_rate(method):
    rate = torch.tensor(1.5, dtype=F64, requires_grad=True)
    level = torch.tensor(0.25, dtype=F64, requires_grad=True)
    event = Event(lambda t, y: y[..., 0] - level)
    sol = pk.odeint(
        lambda t, y: -rate * y, torch.ones(1, dtype=F64), [0.0, 2.0], method=method, events=[event], **TIGHT
    )
    t = sol.events[0].t[0]
    # Radau's polynomial has order 3: its zeros between ends of steps are as accurate as that.
    loose = 1e-4 if isinstance(method, RadauIIA5) else 1e-7
    assert float(t.detach()) == pytest.approx(np.log(4) / 1.5, rel=loose)
    in_rate, in_level = torch.autograd.grad(t, (rate, level))
    assert float(in_rate) == pytest.approx(-np.log(4) / 1.5**2, rel=100 * loose)
    assert float(in_level) == pytest.approx(-1 / (1.5 * 0.25), rel=100 * loose)


@pytest.mark.parametrize(("direction", "zeros"), [(0, [1, 2, 3]), (1, [2]), (-1, [1, 3])])
def test_events_that_do_not_stop_and_their_direction(direction, zeros):
    def turn(t, y):
        return torch.stack([-y[..., 1], y[..., 0]], -1) * np.pi

    y0 = torch.tensor([0.0, -1.0], dtype=F64)  # (sin pi t, -cos pi t): up at first
    event = Event(lambda t, y: y[..., 0], terminal=False, direction=direction)
    sol = pk.odeint(turn, y0, [0.0, 3.5], events=[event], control=StepControl(max_step=0.3), **TIGHT)
    assert sol.status == "success"
    assert sol.events[0].t.numpy() == pytest.approx(zeros, abs=1e-8)
    assert (sol.events[0].sample == 0).all()


def test_backwards_in_time_up_is_along_the_way():
    event = Event(lambda t, y: y[..., 0] - 2, direction=1)
    sol = pk.odeint(lambda t, y: -y, torch.ones(1, dtype=F64), [0.0, -1.0], events=[event], **TIGHT)
    assert float(sol.events[0].t) == pytest.approx(-np.log(2), rel=1e-8)
    assert sol.status == "event"


def test_outputs_before_an_event_stay_and_the_dense_solution_ends_there():
    event = Event(lambda t, y: y[..., 0] - 0.5)
    y0 = torch.tensor([[1.0], [0.1]], dtype=F64)
    sol = pk.odeint(lambda t, y: -y, y0, [0.0, 0.5, 1.0], events=[event], dense=True, **TIGHT)
    assert sol.y[1].flatten().numpy() == pytest.approx(np.exp(-0.5) * np.array([1, 0.1]), rel=1e-8)
    assert bool(sol.y[2, 0].isnan())
    assert float(sol.y[2, 1]) == pytest.approx(0.1 * np.exp(-1), rel=1e-8)
    with pytest.raises(InputError, match=r"Sample 0 was integrated from 0 to 0\.69"):
        sol.at(0.9)


def test_an_event_in_time_alone():
    event = Event(lambda t, y: t.squeeze(-1) - 0.3 if y.ndim > 1 else t - 0.3)
    for y0 in (torch.ones(1, dtype=F64), torch.ones(2, 1, dtype=F64)):
        sol = pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], events=[event])
        assert (sol.status == "event").all()
        assert sol.events[0].t.numpy() == pytest.approx([0.3] * max(1, y0.ndim * (y0.ndim - 1)), abs=1e-12)


def test_no_event_is_an_empty_list():
    sol = pk.odeint(lambda t, y: -y, torch.ones(1, dtype=F64), [0.0, 1.0], events=[Event(lambda t, y: y[..., 0] + 1)])
    assert sol.status == "success"
    assert len(sol.events[0].t) == 0
    assert sol.events[0].y.shape == (0, 1)


def test_what_is_no_event():
    with pytest.raises(InputError, match="direction"):
        Event(lambda t, y: y, direction=2)
    with pytest.raises(InputError, match="one number per sample"):
        pk.odeint(lambda t, y: -y, torch.ones(1, dtype=F64), [0.0, 1.0], events=[Event(lambda t, y: y)])
    for direction in ([1, -1], np.array([1, -1]), torch.ones(2), True):
        with pytest.raises(InputError, match="for all samples"):
            Event(lambda t, y: y, direction=direction)
    with pytest.raises(InputError, match="terminal"):
        Event(lambda t, y: y, terminal=3)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda t, y: y[..., 0] > 0.5, "changes its sign"),
        (lambda t, y: float(y.sum()) - 0.5, "a tensor.*got float"),
        (lambda t, y: None, "a tensor.*got NoneType"),
        (lambda t, y: y[..., 0].detach().numpy(), "a tensor.*got ndarray"),
        (lambda t, y: y[..., 0] + 1j, "complex"),
    ],
)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_an_event_must_be_a_number_that_changes_its_sign(function, match, batch):
    with pytest.raises(InputError, match=match):
        pk.odeint(lambda t, y: -y, torch.ones(*batch, 1, dtype=F64), [0.0, 1.0], events=[Event(function)])


def test_occurrences_of_one_sample_are_in_the_order_of_integration():
    y0 = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64).expand(2, 2, 2)
    event = Event(lambda t, y: y[..., 0], terminal=False)
    sol = pk.odeint(
        lambda t, y: torch.stack([-y[..., 1], y[..., 0]], -1), y0, [0.0, -9.0], events=[event],
        control=StepControl(max_step=0.5),
    )  # fmt: skip
    found = sol.events[0]
    for i in range(4):
        assert (np.diff(found.t[found.sample == i]) < 0).all()
    where = np.unravel_index(found.sample, sol.status.shape)
    assert {tuple(map(int, pair)) for pair in zip(*where, strict=True)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def ramp(**options):
    zero = torch.zeros(1, dtype=F64)
    return pk.odeint(lambda t, y: 0 * y + 1, zero, [0.0, 2.0], method=Euler(), control=Fixed(0.25), **options)


def test_an_event_at_the_very_end_of_a_step_stops():
    sol = ramp(events=[Event(lambda t, y: y[..., 0] - 1)])  # Euler's y is exactly 1 after four steps
    assert float(sol.events[0].t) == 1.0
    assert sol.status == "event"


def test_nothing_happens_after_a_terminal_event():
    after, stop = Event(lambda t, y: y[..., 0] - 0.2, terminal=False), Event(lambda t, y: y[..., 0] - 0.1)
    sol = ramp(events=[after, stop])
    assert float(sol.events[1].t) == pytest.approx(0.1)
    assert len(sol.events[0].t) == 0


def test_the_parameter_of_an_event_gets_its_gradient():
    level = torch.tensor(0.5, dtype=F64, requires_grad=True)
    sol = pk.odeint(
        lambda t, y: -y, torch.ones(1, dtype=F64), [0.0, 2.0], events=[Event(lambda t, y: y[..., 0] - level)], **TIGHT
    )
    assert sol.events[0].t.requires_grad
    assert float(torch.autograd.grad(sol.events[0].t.sum(), level)[0]) == pytest.approx(-2, rel=1e-6)


def test_an_event_function_that_is_nan_is_refused():
    event = Event(lambda t, y: torch.log(y[..., 0] - 0.5))
    with pytest.raises(pk.errors.NumericalError, match="NaN"):
        pk.odeint(lambda t, y: -y, torch.ones(2, 1, dtype=torch.float64), [0.0, 3.0], events=[event])
