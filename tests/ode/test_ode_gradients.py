"""Gradients: of starts, parameters and times, of both orders, through checkpoints and backwards in time."""

import warnings

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import InputError, UnsupportedError
from pdekit.ode import (
    RK4,
    TRBDF2,
    AdamsBashforthMoulton,
    Anderson,
    Backsolve,
    Discrete,
    Dopri5,
    Euler,
    Fixed,
    ImplicitEuler,
    Kvaerno3,
    Kvaerno5,
    Ladder,
    NewtonKrylov,
    RadauIIA5,
    StepControl,
    Tsit5,
)

F64 = torch.float64
EXPLICIT = [Tsit5(), Dopri5(), RK4(), Euler()]
# A fixed step of .1 is beyond what Jacobi-Newton iterations solve to 1e-12.
ADAMS = AdamsBashforthMoulton(nonlinear=Ladder())
IMPLICIT = [ImplicitEuler(), TRBDF2(), Kvaerno3(), Kvaerno5(), RadauIIA5(), ADAMS]
METHODS = [*EXPLICIT, *IMPLICIT]
# Equations solved to rounding: what a solver leaves would be seen by finite differences.
EXACT = {"rtol": 1e-12, "atol": 1e-13}
# Central differences with 1e-5: their own error is 1e-10 and rounding 1e-16 / 1e-5; solvers leave 2e-14 / 1e-5.
DIFFERENCE, CLOSE = 1e-5, {"rtol": 1e-6, "atol": 2e-8}


def name(x):
    return type(x).__name__


def field(p):
    def f(t, y):
        a, b = y[..., 0], y[..., 1]
        s = t.squeeze(-1) if y.ndim > 1 else t
        return torch.stack([-p[0] * a + torch.sin(b) * s, p[1] * torch.cos(a) - b**3 / 3 - p[2] * b], -1)

    return f


def loss_of(method, gradient=Discrete(), **options):  # noqa: B008
    options = {"control": Fixed(0.1), **EXACT, **options}

    def loss(y0, p, times):
        y = pk.odeint(field(p), y0, times, method=method, gradient=gradient, **options).y
        weights = torch.arange(1, 1 + y[1:].numel(), dtype=F64).reshape(y[1:].shape)
        return (weights * torch.sin(y[1:])).sum()

    return loss


def leaves(*, times=False):
    y0 = torch.tensor([[0.5, -0.4], [1.0, 0.3]], dtype=F64, requires_grad=True)
    p = torch.tensor([0.7, 0.9, 0.5], dtype=F64, requires_grad=True)
    return y0, p, torch.tensor([0.1, 0.3, 0.6], dtype=F64, requires_grad=times)


DIRECTION = (torch.tensor([[0.3, -1.0], [0.5, 0.2]], dtype=F64), torch.tensor([1.0, -0.4, 0.7], dtype=F64))


def moved(args, sign):
    return [(a + sign * DIFFERENCE * v).detach().requires_grad_() for a, v in zip(args[:2], DIRECTION, strict=True)]


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_gradients_against_finite_differences(method, checkpoint):
    args, loss = leaves(), loss_of(method, Discrete(checkpoint=checkpoint))
    grads = torch.autograd.grad(loss(*args), args[:2])
    found = sum((g * v).sum() for g, v in zip(grads, DIRECTION, strict=True))
    with torch.no_grad():
        plus, minus = (loss(*moved(args, sign), args[2]) for sign in (1, -1))
    torch.testing.assert_close(found, (plus - minus) / (2 * DIFFERENCE), **CLOSE)


@pytest.mark.parametrize("solver", [Anderson(most=60), NewtonKrylov(), Ladder(dense_below=0)], ids=name)
@pytest.mark.parametrize("method", [Kvaerno5, RadauIIA5], ids=lambda m: m.__name__)
def test_gradients_do_not_depend_on_the_solver(method, solver):
    args = leaves()
    one, other = (torch.autograd.grad(loss_of(m)(*args), args[:2]) for m in (method(), method(nonlinear=solver)))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_gradients_of_times_against_the_closed_form(method):
    # y = y0 exp(-(t^2 - s^2) / 2), y' = -t y
    y0 = torch.tensor([[1.0], [2.0]], dtype=F64)
    times = torch.tensor([0.2, 0.5, 0.9, 1.3], dtype=F64, requires_grad=True)
    low = isinstance(method, Euler | ImplicitEuler | TRBDF2 | Kvaerno3)
    rtol = 1e-5 if low else 1e-8
    sol = pk.odeint(
        lambda t, y: -t * y,
        y0,
        times,
        method=method,
        rtol=rtol,
        atol=rtol,
        gradient=Discrete(checkpoint=isinstance(method, Tsit5)),
    )
    weights = torch.tensor([0.0, -2.0, 3.0, 0.5], dtype=F64)  # the first state: see below
    exact = y0 * torch.exp((times[0] ** 2 - times**2) / 2)[:, None, None]
    found, wanted = (torch.autograd.grad((weights[:, None, None] * y).sum(), times)[0] for y in (sol.y, exact))
    # As accurate as the states: thirty units, and Euler's hundreds of steps some hundred.
    torch.testing.assert_close(found, wanted, rtol=0, atol=(1e-2 if low else 1e-5))


def test_the_first_state_does_not_depend_on_its_time():
    times = torch.tensor([0.2, 0.5], dtype=F64, requires_grad=True)
    y = pk.odeint(lambda t, y: -t * y, torch.ones(1, dtype=F64), times).y[0]
    found = torch.autograd.grad(y.sum(), times)[0] if y.requires_grad else torch.zeros(2, dtype=F64)
    assert torch.equal(found, torch.zeros(2, dtype=F64))


def test_times_of_each_sample_have_gradients_of_their_own():
    y0 = torch.tensor([[1.0], [2.0]], dtype=F64)
    times = torch.tensor([[0.0, 0.5], [1.0, 2.0]], dtype=F64, requires_grad=True)
    sol = pk.odeint(lambda t, y: -t * y, y0, times, rtol=1e-10)
    found = torch.autograd.grad(sol.y[-1].sum(), times)[0]
    exact = torch.autograd.grad((y0[:, 0] * torch.exp((times[0] ** 2 - times[1] ** 2) / 2)).sum(), times)[0]
    torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", [Tsit5(), Kvaerno5(), RadauIIA5()], ids=name)
def test_gradients_against_the_closed_form_with_chosen_steps(method):
    y0 = torch.tensor([1.5], dtype=F64, requires_grad=True)
    k = torch.tensor(2.0, dtype=F64, requires_grad=True)
    y = pk.odeint(lambda t, y: k * y * (1 - y / 3), y0, [0.0, 0.8], method=method, rtol=1e-9, atol=1e-11).y[-1]
    exact = 3 / (1 + (3 / y0 - 1) * torch.exp(-0.8 * k))
    for found, wanted in zip(
        torch.autograd.grad(y.sum(), (y0, k)), torch.autograd.grad(exact.sum(), (y0, k)), strict=True
    ):
        torch.testing.assert_close(
            found, wanted, rtol=1e-7, atol=1e-8
        )  # the derivative's own error: some tens of units


def test_gradients_of_a_stiff_problem_against_the_closed_form():
    # y' = -L (y - cos t): y tends to (L^2 cos t + L sin t) / (1 + L^2) whatever y0 is.
    rate = torch.tensor(1e4, dtype=F64, requires_grad=True)
    y0 = torch.zeros(1, dtype=F64)
    for method in (Kvaerno5(), RadauIIA5()):
        y = pk.odeint(lambda t, y: -rate * (y - torch.cos(t)), y0, [0.0, 1.5], method=method, rtol=1e-6, atol=1e-8)
        found = float(torch.autograd.grad(y.y[-1].sum(), rate)[0])
        exact = -np.sin(1.5) / 1e8  # its leading term; the next is 1e-4 of it
        assert found == pytest.approx(exact, rel=2e-2)


def hessian_product(loss, args, v):
    first = torch.autograd.grad(loss(*args), args[:2], create_graph=True)
    inner = sum((g * w).sum() for g, w in zip(first, v, strict=True))
    return torch.autograd.grad(inner, args[:2])


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_second_derivatives_against_differences_of_first_ones(method):
    args, loss = leaves(), loss_of(method, Discrete(order=2))
    found, ends = hessian_product(loss, args, DIRECTION), []
    for sign in (1, -1):
        at = moved(args, sign)
        ends.append(torch.autograd.grad(loss(*at, args[2]), at))
    for hv, plus, minus in zip(found, *ends, strict=True):
        torch.testing.assert_close(hv, (plus - minus) / (2 * DIFFERENCE), **CLOSE)


@pytest.mark.parametrize("method", IMPLICIT, ids=name)
def test_second_derivatives_that_were_not_asked_for_are_refused(method):
    args = leaves()
    with pytest.raises(UnsupportedError, match=r"Discrete\(order=2\)"):
        hessian_product(loss_of(method), args, args[:2])


def test_backsolve_agrees_with_discrete_where_nothing_is_stiff():
    args = leaves()
    options = {"control": StepControl(), "rtol": 1e-9, "atol": 1e-11}
    by_steps = torch.autograd.grad(loss_of(Tsit5(), **options)(*args), args[:2])
    back = loss_of(Tsit5(), Backsolve(parameters=[args[1]]), **options)
    for one, other in zip(by_steps, torch.autograd.grad(back(*args), args[:2]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)  # a hundred units: two integrations


def test_backsolve_finds_the_parameters_of_a_module():
    net = torch.nn.Linear(2, 2, dtype=F64)
    f = pk.ode.autonomous(lambda y: torch.tanh(net(y)))
    module = torch.nn.Module()
    module.net = net
    module.forward = lambda t, y: torch.tanh(net(y))
    y0 = torch.ones(3, 2, dtype=F64)
    found = []
    for field_, gradient in ((f, Discrete()), (module, Backsolve())):
        y = pk.odeint(field_, y0, [0.0, 0.5, 1.0], rtol=1e-9, atol=1e-11, gradient=gradient).y
        found.append(torch.autograd.grad((y**2).sum(), list(net.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_backsolve_asks_for_parameters_it_cannot_see():
    y0, p, times = leaves()
    with pytest.raises(InputError, match=r"Backsolve\(parameters="):
        pk.odeint(field(p), y0.detach(), times, gradient=Backsolve())
    with pytest.raises(UnsupportedError, match="times"):
        pk.odeint(field(p), y0, leaves(times=True)[2], gradient=Backsolve())


def test_backsolve_with_gradients_of_the_start_only():
    y0 = torch.ones(1, dtype=F64, requires_grad=True)
    y = pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], gradient=Backsolve()).y[-1]
    assert float(torch.autograd.grad(y.sum(), y0)[0]) == pytest.approx(np.exp(-1), rel=1e-5)


def stiff_back(**options):
    y0 = torch.zeros(1, dtype=F64, requires_grad=True)
    rate = torch.tensor(1000.0, dtype=F64, requires_grad=True)
    # Backwards errors grow by exp(30).
    return pk.odeint(
        lambda t, y: -rate * (y - torch.cos(t)), y0, [0.0, 0.03], gradient=Backsolve(parameters=[rate], **options)
    )


def test_backsolve_warns_where_the_way_back_is_unstable():
    sol = stiff_back()
    with pytest.warns(UserWarning, match=r"can't be trusted. Use gradient=Discrete\(checkpoint=True\)"):
        sol.y[-1].sum().backward()


def test_backsolve_refuses_to_go_back_by_an_implicit_method():
    y0 = torch.ones(1, dtype=F64, requires_grad=True)
    gradient = Backsolve(parameters=[y0], method=Kvaerno5())
    with pytest.raises(UnsupportedError, match="explicit method"):
        pk.odeint(lambda t, y: -y, y0, [0.0, 1.0], gradient=gradient)


def packed_bytes(checkpoint, steps):
    total = 0

    def pack(x):
        nonlocal total
        total += x.numel() * x.element_size()
        return x

    net = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)).double()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        pk.odeint(
            lambda t, y: net(y),
            torch.ones(16, 4, dtype=F64),
            [0.0, 1.0],
            control=Fixed(1 / steps),
            gradient=Discrete(checkpoint=checkpoint),
        )
    return total


def test_checkpoints_save_memory():
    # A step of Tsit5 keeps six stages with 64 hidden numbers a sample; a checkpoint keeps the states alone.
    assert packed_bytes(True, 40) < packed_bytes(False, 40) / 4


@pytest.mark.parametrize("gradient", [Discrete(), Discrete(checkpoint=True), Discrete(order=2)], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_without_gradients_nothing_is_kept(method, gradient):
    kept = []
    y0, p, _ = leaves()
    times = torch.tensor([0.0, 0.2], dtype=F64, requires_grad=True)
    keep = torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x)
    with torch.no_grad(), keep:
        sol = pk.odeint(field(p), y0, times, method=method, gradient=gradient, rtol=1e-3, dense=True)
    assert not kept
    assert not sol.y.requires_grad
    assert not sol.at(0.1).requires_grad


@pytest.mark.parametrize("method", [Tsit5(), Kvaerno5(), RadauIIA5(), AdamsBashforthMoulton()], ids=name)
def test_a_parameter_that_matters_only_later_gets_its_gradient(method):
    k = torch.tensor(0.5, dtype=F64, requires_grad=True)

    def f(t, y):
        return -y if float(t) < 1 else -k * y

    options = {"method": method, "rtol": 1e-8, "atol": 1e-10, "control": StepControl(max_step=0.05)}
    y = pk.odeint(f, torch.ones(1, dtype=F64), [0.0, 1.0, 2.0], **options).y[-1]
    # The step over the jump may be wrong by the tolerance only: y(2) = exp(-1 - k).
    assert float(torch.autograd.grad(y.sum(), k)[0]) == pytest.approx(-np.exp(-1.5), rel=1e-3)


def bounded(p):
    """y' = p sqrt(4 - y): NaN beyond y = 4, which a step that is too long meets."""

    def f(t, y):
        return p * torch.sqrt(4 - y)

    return f


def closed(y0, p, t):
    return 4 - (torch.sqrt(4 - y0) - p * t / 2) ** 2


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(
    "method", [Tsit5(), Dopri5(), RK4(), Kvaerno3(), Kvaerno5(), RadauIIA5(), AdamsBashforthMoulton()], ids=name
)
def test_rejected_steps_that_are_not_finite_do_not_spoil_gradients(method, checkpoint):
    y0 = torch.tensor([[3.0], [-90.0]], dtype=F64, requires_grad=True)
    p = torch.tensor(1.0, dtype=F64, requires_grad=True)
    sol = pk.odeint(
        bounded(p),
        y0,
        [0.0, 1.0],
        method=method,
        rtol=1e-6,
        control=StepControl(first_step=20.0 if checkpoint and not isinstance(method, AdamsBashforthMoulton) else 0.8),
        gradient=Discrete(checkpoint=checkpoint),
    )
    exact = closed(y0, p, 1.0)
    for found, wanted in zip(
        torch.autograd.grad(sol.y[-1].sum(), (y0, p)), torch.autograd.grad(exact.sum(), (y0, p)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_last_slope_that_is_not_finite_does_not_spoil_gradients():
    p = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.0], [-96.0]], dtype=F64)
    control = StepControl(first_step=3.0)  # y = 6 after it
    sol = pk.odeint(bounded(p), y0, [0.0, 3.0], method=Euler(), rtol=1e-1, atol=1e-1, control=control)
    assert bool(torch.autograd.grad(sol.y[-1, 1].sum(), p)[0].isfinite())


def test_a_sample_that_is_not_finite_at_the_start_does_not_spoil_gradients():
    p = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[5.0], [0.0]], dtype=F64)
    sol = pk.odeint(bounded(p), y0, [0.0, 1.0], raise_on_failure=False)
    assert list(sol.status) == ["not_finite", "success"]
    # y = 4 - (2 - p / 2)^2 has the derivative 2 - p / 2.
    assert float(torch.autograd.grad(sol.y[-1, 1].sum(), p)[0]) == pytest.approx(1.5, rel=1e-4)


def test_a_stage_outside_the_domain_does_not_spoil_gradients():
    p = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.0], [-9.0]], dtype=F64)
    control = StepControl(first_step=2.0)  # a stage of the first sample ends at 3.003
    sol = pk.odeint(
        lambda t, y: p * torch.sqrt(3 - y), y0, [0.0, 3.0], method=Kvaerno5(), rtol=1e-1, atol=1e-1, control=control
    )
    assert bool(torch.autograd.grad(sol.y[-1, 1].sum(), p)[0].isfinite())


def test_against_torchdiffeq():
    torchdiffeq = pytest.importorskip("torchdiffeq")
    y0, p, times = leaves()
    found = pk.odeint(field(p), y0[0], times, rtol=1e-9, atol=1e-11).y
    other = torchdiffeq.odeint(field(p), y0[0], times, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found, other, rtol=1e-7, atol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = (torch.autograd.grad((y**2).sum(), (y0, p)) for y in (found, other))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
