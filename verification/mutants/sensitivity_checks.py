"""The checks of gradients through integrations: differences and closed forms."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit import ode
from pdekit.errors import InputError, UnsupportedError
from pdekit.testing import CheckFailure
from verification.mutants.integrator_checks import closely, column

_METHODS = (
    ode.Tsit5(),
    ode.TRBDF2(),
    ode.Kvaerno5(),
    ode.RadauIIA5(),
    ode.AdamsBashforthMoulton(ode.Newton()),
)
_DIFFERENCE = 1e-5
# Central differences are off by 1e-10, and by 2e-14 / 1e-5 for what solvers leave; values are of size 1 to 10.
_ALLOWED = 1e-7
# Equations solved to rounding, steps of one length: differences see neither.
_EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13, "control": ode.Fixed(0.1)}
_TIMES = (0.1, 0.3, 0.6)
_STEPS = ode.StepControl(max_steps=1500)

Loss = Callable[[Tensor, Tensor], Tensor]


def _field(p: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A field whose Jacobian is not symmetric and depends on state, time and parameters."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        a, b = y.unbind(-1)
        return torch.stack([-p[0] * a + torch.sin(b) * (1 + t[:, 0]), p[1] * torch.cos(2 * a) - b**3 - p[2] * b], -1)

    return f


def _loss(method: Any, gradient: Any = None, **options: Any) -> Loss:
    """A nonlinear function of the states at two times."""
    options = {**_EXACT, **options}

    def loss(y0: Tensor, p: Tensor) -> Tensor:
        more = {} if gradient is None else {"gradient": gradient(p) if callable(gradient) else gradient}
        y = ode.odeint(_field(p), y0, list(_TIMES), method=method, **more, **options).y[1:]
        return (torch.arange(1.0, 1 + y.numel(), dtype=y.dtype).reshape(y.shape) * torch.sin(y)).sum()

    return loss


def _arguments() -> tuple[Tensor, Tensor]:
    y0 = torch.tensor([[0.5, -0.4], [1.0, 0.3]], dtype=torch.float64, requires_grad=True)
    return y0, torch.tensor([0.7, 0.9, 0.5], dtype=torch.float64, requires_grad=True)


def _differences(f: Callable[[Tensor, Tensor], Tensor], args: tuple[Tensor, Tensor]) -> list[Tensor]:
    """df / dx for every number x in the arguments, by central differences: one tensor (numbers, *f) for each."""
    found = []
    for which, x in enumerate(args):
        columns = []
        for e in torch.eye(x.numel(), dtype=x.dtype):
            step = _DIFFERENCE * e.reshape(x.shape)
            plus, minus = (
                f(*[(z + sign * step if i == which else z).detach().requires_grad_() for i, z in enumerate(args)])
                for sign in (1, -1)
            )
            columns.append((plus - minus).detach() / (2 * _DIFFERENCE))
        found.append(torch.stack(columns))
    return found


def first_order() -> None:
    """Gradients of start and parameters are those of differences, with checkpoints and without."""
    args = _arguments()
    for method in _METHODS:
        with torch.no_grad():
            true = _differences(_loss(method), args)
        for checkpoint in (False, True):
            found = torch.autograd.grad(_loss(method, ode.Discrete(checkpoint=checkpoint))(*args), args)
            for what, g, d in zip(("start", "parameters"), found, true, strict=True):
                tail = ", with checkpoints" if checkpoint else ""
                closely(f"{method}: the gradient of the {what}{tail}", g.flatten(), d, _ALLOWED)


def second_order() -> None:
    """Second derivatives are differences of first ones, or refused."""
    args, control = _arguments(), ode.Fixed(0.3)
    for method in (ode.TRBDF2(), ode.RadauIIA5()):
        plain, loss = _loss(method, control=control), _loss(method, ode.Discrete(order=2), control=control)

        def in_parameters(y0: Tensor, p: Tensor, loss: Loss = plain) -> Tensor:
            return torch.autograd.grad(loss(y0, p), p)[0]

        first = torch.autograd.grad(loss(*args), args[1], create_graph=True)[0]
        rows = [torch.autograd.grad(g, args, retain_graph=True) for g in first]
        true = _differences(in_parameters, args)
        for i, d in enumerate(true):
            found = torch.stack([row[i].flatten() for row in rows], -1)
            closely(f"{method}: second derivatives", found, d, 10 * _ALLOWED)
        first = torch.autograd.grad(plain(*args), args[1], create_graph=True)[0]
        _refused(f"those of {method} by Discrete()", first, *args)


def _refused(what: str, first: Tensor, *args: Tensor) -> None:
    try:
        torch.autograd.grad(first.sum(), args)
    except UnsupportedError:
        return
    raise CheckFailure("odeint", f"second derivatives are not refused: {what}")


def large_systems() -> None:
    """Gradients of steps with too many unknowns for a dense matrix, against rational functions of the matrix."""
    for method, d in ((ode.ImplicitEuler(), 620), (ode.RadauIIA5(), 210)):
        i = torch.arange(d, dtype=torch.float64)
        a = torch.diag(-1 - torch.sin(i)) + torch.diag(0.9 + 0 * i[1:], 1) - torch.diag(0.2 + 0 * i[1:], -1)
        y0 = torch.cos(i).unsqueeze(0).requires_grad_()
        options: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10, "control": ode.Fixed(0.8)}
        y = ode.odeint(lambda t, y, a=a: y @ a.T, y0, [0.0, 0.8], method=method, **options).y[-1]
        weights = torch.cos(3 * i)
        found = torch.autograd.grad((weights * y).sum(), y0)[0][0]
        z, one = 0.8 * a, torch.eye(d, dtype=torch.float64)
        if d == 620:
            top, bottom = one, one - z
        else:  # the Pade approximation (2, 3) of the exponential function
            z2 = z @ z
            top, bottom = one + 0.4 * z + z2 / 20, one - 0.6 * z + 0.15 * z2 - z2 @ z / 60
        closely(f"{method}: the gradient in {d} dimensions", found, torch.linalg.solve(bottom.T, top.T @ weights), 1e-8)


def times() -> None:
    """Gradients of the times are those of y0 exp(-(t^2 - s^2) / 2), which solves y' = -t y from s."""
    y0, at = column(1.0, 2.0), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.0, -2.0, 3.0], dtype=torch.float64).reshape(-1, 1, 1)
    exact = y0 * torch.exp((at[0] ** 2 - at**2) / 2).reshape(-1, 1, 1)
    true = torch.autograd.grad((weights * exact).sum(), at, create_graph=True)[0]
    for method in (ode.Tsit5(), ode.RadauIIA5()):
        y = ode.odeint(lambda t, y: -t * y, y0, at, method=method, rtol=1e-7, atol=1e-7, control=_STEPS).y
        found = torch.autograd.grad((weights * y).sum(), at, create_graph=isinstance(method, ode.Tsit5))[0]
        closely(f"{method}: gradients of the times", found, true, 1e-4)
        if found.requires_grad:
            for i in range(3):
                one, other = (torch.autograd.grad(g[i], at, retain_graph=True)[0] for g in (found, true))
                closely(f"{method}: second derivatives of the times", one, other, 1e-3)


def rejections() -> None:
    """A step that meets NaN and is rejected leaves no trace in gradients.

    y' = 2 k (sqrt(y) - y) has the solution y = (1 + (sqrt(y0) - 1) exp(-k t))^2. The first step of the first sample
    leaves the domain of the root, that of the second is accepted.
    """
    y0, rates = column(100.0, 4.0).requires_grad_(), column(50.0, 1.0)
    p = torch.ones(1, dtype=torch.float64, requires_grad=True)
    true = torch.autograd.grad((1 + (torch.sqrt(y0) - 1) * torch.exp(-p * rates)).square().sum(), (y0, p))
    for method in (ode.Tsit5(), ode.Kvaerno5()):
        sol = ode.odeint(
            lambda t, y, context: 2 * p * context * (torch.sqrt(y) - y),
            y0,
            [0.0, 1.0],
            method=method,
            context=rates,
            rtol=1e-5,
            control=replace(_STEPS, first_step=0.1),
        )
        if not sol.counts.unsolved[0] or sol.counts.unsolved[1]:
            raise CheckFailure("odeint", f"{method}: the first sample alone should meet NaN, {sol.counts.unsolved} do")
        for found, wanted in zip(torch.autograd.grad(sol.y[-1].sum(), (y0, p)), true, strict=True):
            closely(f"{method}: gradients past a rejected step", found, wanted, 1e-3)


def backsolve() -> None:
    """The adjoint integrated backwards has the gradients that differences have."""
    args, options = _arguments(), {"control": _STEPS, "rtol": 1e-9, "atol": 1e-11}
    with torch.no_grad():
        true = _differences(_loss(ode.Tsit5(), **{**options, "rtol": 1e-12, "atol": 1e-13}), args)
    loss = _loss(ode.Tsit5(), lambda p: ode.Backsolve(parameters=[p]), **options)
    for what, g, d in zip(("start", "parameters"), torch.autograd.grad(loss(*args), args), true, strict=True):
        closely(f"Backsolve: the gradient of the {what}", g.flatten(), d, 1e-5)


def events() -> None:
    """Times and states of events have the gradients of closed forms."""
    # A ball: h + v t - g t^2 / 2 = 0.
    y0 = torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    sol = ode.odeint(
        lambda t, y: torch.stack([y[:, 1], -9.81 + 0 * y[:, 0]], -1),
        y0,
        [0.0, 2.0],
        events=[ode.Event(lambda t, y: y[..., 0])],
        rtol=1e-10,
        atol=1e-12,
        control=_STEPS,
    )
    order = np.argsort(sol.events[0].sample)
    h, v = y0.unbind(-1)
    hit = (v + torch.sqrt(v**2 + 2 * 9.81 * h)) / 9.81
    _same("the time of the ball", sol.events[0].t[order], hit, y0)
    first = torch.autograd.grad(sol.events[0].t.sum(), y0, create_graph=True)[0]
    _refused("those of an event", first, y0)
    _same("the speed of the ball", sol.events[0].y[order, 1], v - 9.81 * hit, y0)
    # y = y0 exp(k t) meets the level 2 exp(-t).
    k, y0 = torch.ones(1, dtype=torch.float64, requires_grad=True), column(1.0)
    sol = ode.odeint(
        lambda t, y: k * y,
        y0,
        [0.0, 1.0],
        events=[ode.Event(lambda t, y: y[..., 0] - 2 * torch.exp(-t[..., 0]))],
        rtol=1e-10,
        atol=1e-12,
        control=_STEPS,
    )
    met = math.log(2.0) / (1 + k)
    _same("the time at a level that moves", sol.events[0].t, met, k)
    _same("the state at a level that moves", sol.events[0].y[:, 0], torch.exp(k * met), k)


def _same(what: str, found: Tensor, true: Tensor, x: Tensor) -> None:
    if not found.requires_grad:
        raise CheckFailure("Event", f"{what} has no gradient")
    closely(what, found, true, 1e-7)
    one, other = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (found, true))
    closely(f"the gradient of {what}", one, other, 1e-6)


def changes() -> None:
    """Gradients of y' = -p y at 1 are -p exp(-p), and are refused once p has changed."""
    for method, gradient in ((ode.Kvaerno5(), ode.Discrete()), (ode.Tsit5(), ode.Discrete(checkpoint=True))):
        p = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
        event = ode.Event(lambda t, y: y[..., 0] - 0.5, terminal=False)
        options: dict[str, Any] = {"gradient": gradient, "events": [event], "rtol": 1e-7, "control": _STEPS}
        sol = ode.odeint(lambda t, y, p=p: -p * y, column(1.0), [0.0, 1.0], method=method, **options)
        values = {"the end": (sol.y[-1, 0], -math.exp(-1)), "an event": (sol.events[0].t, -math.log(2.0))}
        for what, (value, true) in values.items():
            closely(
                f"{method}: the gradient of {what}", torch.autograd.grad(value, p, retain_graph=True)[0], true, 1e-4
            )
        with torch.no_grad():
            p.mul_(5)
        for what, (value, _) in values.items():
            try:
                torch.autograd.grad(value, p, retain_graph=True)
            except InputError:
                continue
            raise CheckFailure("odeint", f"{method}: the gradient of {what} is not refused after its parameter changed")


CHECKS = {
    "gradients of events": events,
    "changed parameters": changes,
    "gradients past rejected steps": rejections,
    "backsolve": backsolve,
    "first derivatives": first_order,
    "gradients of large systems": large_systems,
    "gradients of times": times,
    "second derivatives": second_order,
}

__all__ = ["CHECKS"]
