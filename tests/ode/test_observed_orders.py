"""The order of every method, observed with fixed steps on a coupled, nonlinear problem that depends on time."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.ode import (
    RK4,
    TRBDF2,
    AdamsBashforthMoulton,
    Anderson,
    Dopri5,
    Euler,
    Fixed,
    ImplicitEuler,
    JacobiNewton,
    Kvaerno3,
    Kvaerno5,
    Newton,
    NewtonKrylov,
    RadauIIA5,
    Tsit5,
)

F64 = torch.float64
B = torch.tensor([[0.5, 1.0], [-0.8, 0.3]], dtype=F64)
# Steps at which the error is well above rounding (1e-13) and its next term below .2 of the first.
COARSE, FINE = (1 / 32, 1 / 64), (1 / 16, 1 / 32)
CASES = [
    (Euler(), 1, (1 / 64, 1 / 128)),
    (ImplicitEuler(), 1, (1 / 64, 1 / 128)),
    (TRBDF2(), 2, COARSE),
    (Kvaerno3(), 3, COARSE),
    (RK4(), 4, COARSE),
    (Tsit5(), 5, (1 / 64, 1 / 128)),  # its first term is small: the next one is seen longer
    (Dopri5(), 5, FINE),
    (Kvaerno5(), 5, FINE),
    (RadauIIA5(), 5, (1 / 8, 1 / 16)),
]


def solution(t):
    t = torch.as_tensor(t, dtype=F64)
    return torch.stack([torch.sin(2 * t), torch.exp(-t) * torch.cos(t)], -1)


def slope(t):
    t = torch.as_tensor(t, dtype=F64)
    return torch.stack([2 * torch.cos(2 * t), -torch.exp(-t) * (torch.cos(t) + torch.sin(t))], -1)


def coupling(t):
    return torch.stack([torch.stack([-1 + 0 * t, torch.cos(3 * t)], -1), torch.stack([t, -2 - torch.sin(t)], -1)], -2)


def field(t, y):
    t = t.squeeze(-1) if y.ndim > 1 else t
    u = solution(t)
    linear = (coupling(t) @ (y - u).unsqueeze(-1)).squeeze(-1)
    return slope(t) + linear + torch.sin(2 * y @ B.T) * y - torch.sin(2 * u @ B.T) * u


def error(method, step, start=0.1, end=1.1, offset=0.0):
    sol = pk.odeint(field, solution(start), [start, end], method=method, rtol=1e-12, atol=1e-13, control=Fixed(step))
    assert int(sol.counts.accepted[0]) == pytest.approx(abs(end - start) / step, abs=1)
    return float((sol.y[-1] - solution(end)).abs().max())


@pytest.mark.parametrize(("method", "order", "steps"), CASES, ids=lambda x: type(x).__name__)
def test_the_order_is_the_stated_one(method, order, steps):
    wide, narrow = (error(method, h) for h in steps)
    assert np.log2(wide / narrow) == pytest.approx(order, abs=0.2)


def test_adams_has_order_four_where_its_first_steps_do_no_harm():
    # y = t^6: the steps of order 1 to 3 that gather slopes are wrong by h^6 or so.
    def f(t, y):
        return 6 * t**5 + torch.sin(3 * t + y) - torch.sin(3 * t + t**6)

    errors = []
    for h in (1 / 64, 1 / 128):
        sol = pk.odeint(
            f,
            torch.zeros(1, dtype=F64),
            [0.0, 1.0],
            method=AdamsBashforthMoulton(),
            rtol=1e-12,
            atol=1e-13,
            control=Fixed(h),
        )
        errors.append(abs(float(sol.y[-1]) - 1))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)


def test_adams_has_order_four_from_any_start():
    wide, narrow = (error(AdamsBashforthMoulton(), h) for h in (1 / 64, 1 / 128))
    assert np.log2(wide / narrow) == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize("method", [Tsit5(), Kvaerno3(), RadauIIA5()], ids=lambda m: type(m).__name__)
def test_the_error_backwards_in_time_is_as_small(method):
    assert error(method, 1 / 32, start=1.1, end=0.1) < 1e-4


@pytest.mark.parametrize(
    "solver", [JacobiNewton(most=60), Anderson(), NewtonKrylov(), Newton()], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("method", [Kvaerno5, RadauIIA5], ids=lambda m: m.__name__)
def test_how_equations_are_solved_does_not_change_the_answer(method, solver):
    # Each stage may be wrong by .02 of the tolerance 1e-12; some hundred stages and rounding: 1e-11.
    one, other = (
        pk.odeint(
            field, solution(0.0), [0, 0.25], method=method(nonlinear=s), rtol=1e-12, atol=1e-13, control=Fixed(1 / 32)
        ).y[-1]
        for s in (solver, Newton())
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
