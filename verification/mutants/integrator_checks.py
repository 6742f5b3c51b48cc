"""The checks of integrators: closed forms, orders from two step sizes, samples alone and together, failures, events."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pdekit import ode
from pdekit.errors import NumericalError
from pdekit.ode import tableaus
from pdekit.ode.counting import Counts
from pdekit.ode.field import Field
from pdekit.ode.inside import defect
from pdekit.ode.tableau import Tableau
from pdekit.testing import CheckFailure

_EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
_STEPS = ode.StepControl(max_steps=1500)  # a fault must not run for ever


def closely(what: str, found: Any, wanted: Any, allowed: float) -> None:
    """The largest difference is at most so much.

    Raises:
        CheckFailure: If not, or if something is no number.
    """
    got, true = (torch.as_tensor(x).detach().double() for x in (found, wanted))
    worst = float((got - true).abs().max())
    if not worst <= allowed:
        raise CheckFailure("odeint", f"{what} is off by {worst:.3g}, allowed {allowed:.3g}")


def column(*values: float) -> Tensor:
    """Numbers (n, 1) in float64."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def known(t: Tensor) -> Tensor:
    """The solution (sin 2t, exp(-t) cos t) of `coupled`."""
    return torch.cat([torch.sin(2 * t), torch.exp(-t) * torch.cos(t)], -1)


def coupled(t: Tensor, y: Tensor) -> Tensor:
    """A coupled, nonlinear field whose coefficients depend on time."""
    u = known(t)
    slope = torch.cat([2 * torch.cos(2 * t), -torch.exp(-t) * (torch.cos(t) + torch.sin(t))], -1)
    (a, b), (p, q) = (y - u).split(1, -1), (torch.sin(2 * x).split(1, -1) for x in (y, u))
    linear = torch.cat([-a + torch.cos(3 * t) * b, t * a - (2 + torch.sin(t)) * b], -1)
    return slope + linear + torch.cat([p[1] * y[:, :1] - q[1] * u[:, :1], p[0] - q[0]], -1)


_ORDERS: tuple[tuple[Any, int, int], ...] = (  # method, order, steps; twice as many beside them
    (ode.Euler(), 1, 64),
    (ode.ImplicitEuler(), 1, 32),
    (ode.TRBDF2(), 2, 16),
    (ode.Kvaerno3(), 3, 16),
    (ode.RK4(), 4, 32),
    (ode.AdamsBashforthMoulton(ode.Newton()), 4, 32),
    (ode.Tsit5(), 5, 32),
    (ode.Dopri5(), 5, 16),
    (ode.Kvaerno5(), 5, 16),
    (ode.RadauIIA5(), 5, 8),
)


def butcher_tableaus() -> None:
    """All tableaus satisfy their order conditions; one with an error in the ninth digit is refused."""
    for name in tableaus.__all__:
        getattr(tableaus, name)()
    good = tableaus.kvaerno5()
    wrong = good.a.copy()
    wrong[-1, 0] += 1e-9
    try:
        Tableau("wrong", wrong, good.embedded, good.order, good.embedded_order)
    except NumericalError:
        return
    raise CheckFailure("Tableau", "a coefficient that is off by 1e-9 passes the order conditions")


def orders() -> None:
    """Every method has its order, forwards and, in `directions`, backwards in time."""
    for method, order, steps in _ORDERS:
        errors = [_error(method, n) for n in (steps, 2 * steps)]
        found = math.log2(errors[0] / errors[1])
        if not abs(found - order) <= 0.3:
            raise CheckFailure("odeint", f"{method} has order {found:.2f}, expected {order} (errors {errors})")


def _error(method: Any, steps: int) -> float:
    times, start = column(0.1, 1.1), known(column(0.1))
    sol = ode.odeint(coupled, start, times[:, 0], method=method, control=ode.Fixed(1 / steps), **_EXACT)
    return float((sol.y[-1] - known(times[1:])).abs().max())


def directions() -> None:
    """Backwards in time every method arrives where it came from, with fixed steps and with chosen ones."""
    start, times = known(column(1.1)), [1.1, 0.6, 0.1]
    truth = torch.stack([known(column(t)) for t in times])
    for method, order, steps in _ORDERS:
        fixed = ode.odeint(coupled, start, times, method=method, control=ode.Fixed(1 / steps), **_EXACT)
        closely(f"{method} backwards", fixed.y, truth, 0.3 if order == 1 else 1e-3)
    for method in (ode.Tsit5(), ode.RadauIIA5(), ode.AdamsBashforthMoulton()):
        sol = ode.odeint(coupled, start, times, method=method, rtol=1e-6, atol=1e-6, control=_STEPS)
        closely(f"{method} backwards with chosen steps", sol.y, truth, 1e-4)


def adams() -> None:
    """Adams predicts and integrates cubic slopes exactly by steps of any length; the corrected value goes on."""
    control = replace(_STEPS, first_step=0.001, most=1.5)  # each step longer than the last
    for solver in (ode.Newton(), ode.Functional()):
        method = ode.AdamsBashforthMoulton(solver)
        sol = ode.odeint(lambda t, y: t**3 - 2 * t**2 + 0 * y, column(0.0), [0.0, 3.0], method=method, control=control)
        closely(f"{method} on a cubic slope", sol.y[-1], 3.0**4 / 4 - 2 * 3.0**3 / 3, 1e-11)
    # One evaluation finds the prediction right, one is the new slope; three steps of RK4 and the checks come first.
    costs, steps = int(sol.counts.f[0]), int(sol.counts.accepted[0])
    if costs > 2 * steps + 15:
        raise CheckFailure("odeint", f"Adams takes {costs} evaluations for {steps} steps whose slopes it can predict")
    # The corrected method is stable here, the predictor alone is not: it is beyond h lambda = -.3.
    method, one = ode.AdamsBashforthMoulton(ode.Newton()), torch.ones(1, 1, dtype=torch.float64)
    sol = ode.odeint(lambda t, y: -y, one, [0.0, 60.0], method=method, control=ode.Fixed(1.0))
    closely("Adams with h lambda = -1 at its end", sol.y[-1], 0.0, 1e-3)


def tolerances() -> None:
    """Chosen steps keep the tolerance, at output times, between them and after a first step that is too long."""
    start, times = known(column(0.1)), [0.1, 0.43, 1.7, 3.1]
    truth, between = torch.stack([known(column(t)) for t in times]), np.linspace(0.1, 3.1, 24)
    for method in (ode.Tsit5(), ode.Kvaerno5(), ode.RadauIIA5(), ode.AdamsBashforthMoulton()):
        for control in (_STEPS, replace(_STEPS, first_step=1.5)):
            sol = ode.odeint(coupled, start, times, method=method, rtol=1e-7, atol=1e-7, control=control, dense=True)
            closely(f"{method} at output times", sol.y, truth, 1e-5)
        # Radau's polynomial has order 3: between its ends it is less accurate than there.
        allowed = 1e-2 if isinstance(method, ode.RadauIIA5) else 2e-5
        wanted = torch.stack([known(column(float(t))) for t in between])
        closely(f"{method} between output times", sol.at(between), wanted, allowed)
    sol = ode.odeint(coupled, start, [0.1, 1.1], rtol=1e-3, control=replace(_STEPS, max_step=0.01))
    if int(sol.counts.accepted[0]) < 100:
        raise CheckFailure("odeint", f"only {sol.counts.accepted[0]} steps of at most .01 from .1 to 1.1")


def outputs() -> None:
    """Radau's states at output times are as accurate as its steps, though its polynomial is not."""
    options = {"control": ode.Fixed(1 / 8), **_EXACT}
    sol = ode.odeint(coupled, known(column(0.1)), [0.1, 0.43, 1.1], method=ode.RadauIIA5(), **options)
    closely("Radau at an output time", sol.y[1], known(column(0.43)), 3e-7)


def stiffness() -> None:
    """A start beside the smooth solution, by less than the tolerance, costs no step, however stiff the problem is."""
    for method in (ode.TRBDF2(), ode.RadauIIA5()):
        sol = ode.odeint(
            lambda t, y: -1e7 * (y - torch.cos(t)),
            column(1 + 1e-5),
            [0.0, 0.2],
            method=method,
            rtol=1e-4,
            atol=1e-4,
            control=replace(_STEPS, first_step=0.01),
        )
        closely(f"{method}, stiff", sol.y[-1], math.cos(0.2), 1e-3)
        if sol.counts.rejected[0]:
            raise CheckFailure("odeint", f"{method} rejects {sol.counts.rejected[0]} steps where nothing happens")


def _oscillator(t: Tensor, y: Tensor, context: Tensor) -> Tensor:
    """Van der Pol's oscillator."""
    a, b = y.split(1, -1)
    return torch.cat([b, context * (1 - a**2) * b - a], -1)


def samples() -> None:
    """A sample has the same states and the same number of steps alone and beside harder ones."""
    y0 = torch.tensor([[2.0, 0.0], [0.5, 1.0], [-1.0, 0.3]], dtype=torch.float64)
    times, context = [0.0, 0.3, 0.8], column(0.5, 30.0, 5.0)
    options: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6, "control": replace(_STEPS, first_step=0.2)}
    for method in (ode.Tsit5(), ode.Kvaerno5(), ode.AdamsBashforthMoulton(ode.Newton())):
        together = ode.odeint(_oscillator, y0, times, method=method, context=context, **options)
        for i in range(3):
            row = slice(i, i + 1)
            alone = ode.odeint(_oscillator, y0[row], times, method=method, context=context[row], **options)
            closely(f"{method}, sample {i} beside others", together.y[:, row], alone.y, 1e-10)
            if together.counts.accepted[i] != alone.counts.accepted[0]:
                counts = f"{together.counts.accepted[i]} steps beside others, {alone.counts.accepted[0]} alone"
                raise CheckFailure("odeint", f"{method}, sample {i}: {counts}")


def failures() -> None:
    """A sample that is not finite says so and leaves the others alone; equations that are not solved are not used."""

    def beyond_two(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(y > 2, torch.nan, torch.ones_like(y))

    for method in (ode.Tsit5(), ode.Kvaerno5()):
        for control in (_STEPS, ode.Fixed(0.25)):
            sol = ode.odeint(
                beyond_two, column(-10.0, 0.5), [0.0, 3.0], method=method, control=control, raise_on_failure=False
            )
            if list(sol.status) != ["success", "not_finite"] or not bool(sol.y[-1, 1].isnan().all()):
                raise CheckFailure("odeint", f"{method}, {control}: one sample meets NaN, the status is {sol.status}")
            closely(f"{method}, a sample beside one that meets NaN", sol.y[-1, 0], -7.0, 1e-9)
    turn = torch.tensor([[-1.0, 40.0], [-40.0, -1.0]], dtype=torch.float64)
    method = ode.Kvaerno5(nonlinear=ode.JacobiNewton())  # whose iteration has the rate .13 * 40 / 1.13 here
    start, control = torch.tensor([[1.0, 0.0]], dtype=torch.float64), ode.Fixed(0.5)
    sol = ode.odeint(lambda t, y: y @ turn.T, start, [0.0, 1.0], method=method, control=control, raise_on_failure=False)
    if sol.status[0] != "not_solved":
        raise CheckFailure("odeint", f"an iteration that diverges ends with the status {sol.status[0]}")


def events() -> None:
    """Events happen at their times and in their directions, and stop what they should."""
    start = torch.tensor([[0.0, -1.0]], dtype=torch.float64)  # (sin pi t, -cos pi t)
    cases: tuple[tuple[Literal[-1, 0, 1], list[float]], ...] = ((0, [1.0, 2.0, 3.0]), (1, [2.0]), (-1, [1.0, 3.0]))
    for direction, zeros in cases:
        event = ode.Event(lambda t, y: y[..., 0], terminal=False, direction=direction)
        sol = ode.odeint(
            lambda t, y: math.pi * torch.stack([-y[:, 1], y[:, 0]], -1),
            start,
            [0.0, 3.5],
            events=[event],
            control=replace(_STEPS, max_step=0.3),
            rtol=1e-10,
            atol=1e-12,
        )
        found = sol.events[0].t
        if len(found) != len(zeros):
            raise CheckFailure("Event", f"direction {direction}: {found.tolist()}, expected {zeros}")
        closely(f"events in direction {direction}", found, zeros, 1e-7)
    event = ode.Event(lambda t, y: y[..., 0] - 0.25)
    sol = ode.odeint(lambda t, y: -y, column(1.0), [0.0, 2.0], events=[event], control=_STEPS)
    closely("the time of decay to 1/4", sol.events[0].t, math.log(4.0), 1e-5)
    if sol.status[0] != "event" or not bool(sol.y[-1].isnan().all()):
        raise CheckFailure("Event", f"a terminal event ends with the status {sol.status[0]}")


def _attracted(t: Tensor, y: Tensor) -> Tensor:
    """Very soon cos t: steps are as long as what happens within them allows."""
    return -1e6 * (y - torch.cos(t)) * (1 + y**2) - torch.sin(t)


def between() -> None:
    """A polynomial has the defect of its slope; events and dense output are as accurate as the ends of long steps."""
    t, h, theta = np.array([0.5, -1.0]), np.array([0.4, -0.7]), 0.3
    a, b = column(*t), column(*h)
    polynomial = torch.stack([3 * a**2 * b, 3 * a * b**2, b**3], 1)  # (t + theta h)^3 - t^3
    field = Field(lambda t, y: 3 * t**2 + 7 * (y - t**3) + 2, Counts.none(2), np.arange(2))
    closely(
        "the defect of t^3 where its slope is 2 too small", defect(field, t, a**3, h, polynomial, theta), 2 * b, 1e-12
    )
    falling, times = ode.Event(lambda t, y: y[..., 0], terminal=False, direction=-1), torch.linspace(0.1, 3.9, 80)
    options: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5, "control": _STEPS}
    for method in (ode.Kvaerno5(), ode.RadauIIA5()):
        one, end = column(1.0), [0.0, 4.0]
        sol = ode.odeint(_attracted, one, end, method=method, events=[falling], **options)
        closely(f"{method}: events of a stiff problem", sol.events[0].t, [0.5 * math.pi], 1e-4)
        sol = ode.odeint(_attracted, one, end, method=method, dense=True, **options)
        closely(f"{method}: a stiff problem between steps", sol.at(times)[:, 0, 0], times.cos(), 1e-4)


CHECKS = {
    "tableaus": butcher_tableaus,
    "events": events,
    "failures": failures,
    "Adams": adams,
    "outputs": outputs,
    "stiffness": stiffness,
    "between steps": between,
    "tolerances": tolerances,
    "samples": samples,
    "directions": directions,
    "orders of integrators": orders,
}

__all__ = ["CHECKS", "closely", "column", "coupled", "known"]
