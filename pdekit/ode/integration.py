"""`odeint`: the solution of an initial value problem, for every sample of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as fresh
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import ConvergenceError, NumericalError, UnsupportedError
from pdekit.ode.backsolve import Backsolve, with_adjoint
from pdekit.ode.checkpoints import Remade
from pdekit.ode.control import Control, StepControl
from pdekit.ode.counting import Counts
from pdekit.ode.events import Event, EventWatcher, Occurrences
from pdekit.ode.field import Field
from pdekit.ode.field_check import check_field, warn_of_rounded_times
from pdekit.ode.gradients import Discrete
from pdekit.ode.inputs import check_context, check_options, check_state, read_times, read_tolerances
from pdekit.ode.leaves import Guard
from pdekit.ode.march import March, Progress, Tolerances, plain_attempt
from pdekit.ode.methods import Implicit, Method, Tsit5
from pdekit.ode.nonlinear.closed_form import check_diagonal
from pdekit.ode.nonlinear.solvers import Functional
from pdekit.ode.outputs import DenseOutput, Outputs, moved
from pdekit.ode.scipy_adapter import SciPy, integrate
from pdekit.ode.solution import Solution
from pdekit.ode.status import Failure, Status, raise_for, statuses
from pdekit.operators.call import in_transform

_BACK_STEPS = 20_000  # more than these between two observations say that the way back is stiff or unstable


def odeint(
    f: Callable[..., Tensor],
    y0: Tensor,
    t: Any,
    *,
    method: Method | SciPy = Tsit5(),
    rtol: float | None = None,
    atol: Any = None,
    control: Control = StepControl(),
    context: Tensor | None = None,
    events: Sequence[Event] = (),
    dense: bool = False,
    gradient: Discrete | Backsolve = Discrete(),
    raise_on_failure: bool = True,
    check: bool = True,
    progress: Progress | None = None,
) -> Solution:
    """Integrate dy/dt = f(t, y) from y0 at the first time to the last.

    Every sample of the batch has steps, errors and a status of its own: its answer does not depend on the others.

    Args:
        f: The field, f(t, y) or f(t, y, context=...): (*batch, d) -> (*batch, d), row by row. Its t is a number for a
            single state (d,), else (n, 1), one time for each of the n samples that are still on their way.
        y0: The states at the start, (*batch, d), float32 or float64.
        t: Times, (k,) or with a row per sample (k, *batch), strictly monotonic, forwards or backwards; the first is the
            start. Gradients reach them.
        method: `Tsit5()` for problems that are not stiff, `Kvaerno5()` for stiff ones; `SciPy("Radau")` for SciPy's.
        rtol: The local error may be atol + rtol |y|. By default 1e-6, in float32 1e-4.
        atol: A number or one for each state, (d,). By default a thousandth of rtol. Zero stands for the least that can
            be squared: about 1e-77, in float32 3e-10.
        control: How steps are chosen; `Fixed(step)` for steps of one length.
        context: What f needs to know of each sample, (*batch, c).
        events: Functions whose zeros are looked for.
        dense: Whether the solution can be evaluated between the times as well: `Solution.at`.
        gradient: How gradients are computed: `Discrete()` or `Backsolve()`.
        raise_on_failure: Whether a sample that fails raises; otherwise its status tells, and its states are NaN.
        check: Whether it is made sure that f can be repeated, has derivatives and rows that don't see one another, at
            the start and now and then; it takes some ten evaluations. Without, such a field gives wrong numbers in
            silence: leave it out only where the same field has passed before, as in the steps of a training.
        progress: Called with (done, total) after steps: the time covered, summed over samples.

    Returns:
        The states (k, *batch, d) with status, costs and events.

    Raises:
        InputError: If arguments don't fit together.
        OperatorError: If f mixes rows.
        NumericalError: If f is not finite or the tolerance needs steps that are too small.
        ConvergenceError: If equations can't be solved or there are too many steps.
        UnsupportedError: If options exclude each other, or inside a transform of torch.func.

    Example:
        >>> y0 = torch.tensor([1.0], dtype=torch.float64)
        >>> sol = odeint(lambda t, y: -y, y0, [0.0, 1.0])
        >>> round(float(sol.y[-1]), 6)
        0.367879
    """
    _refuse(
        in_transform(),
        "odeint() can't be called inside torch.func.vmap, grad, jvp or jacrev: it takes a batch, and "
        "its gradients come by backward() or torch.autograd.",
    )
    check_state(y0)
    check_options(method, control, gradient, events, progress)
    check_context(context, y0)
    batch, dim = y0.shape[:-1], y0.shape[-1]
    times, exact = read_times(t, tuple(batch))
    tolerances = Tolerances(*read_tolerances(rtol, atol, y0))
    samples = batch.numel()
    if samples == 0:
        nothing = np.zeros(tuple(batch), dtype="<U14")
        states, never = y0.new_zeros(len(times), *y0.shape), tuple(Occurrences.none(y0, dim) for _ in events)
        return Solution(torch.as_tensor(times), states, nothing, Counts.none(0), repr(method), events=never)
    flat_times = np.broadcast_to(times.reshape(len(times), -1), (len(times), samples)).copy()
    y = y0.reshape(samples, dim)
    flat = None if context is None else context.reshape(samples, context.shape[-1])
    diagonal = None if isinstance(method, SciPy) else method.diagonal
    field = Field(f, Counts.none(samples), np.arange(samples), y0.ndim == 1, flat, diagonal)
    if check:
        wanted = torch.is_grad_enabled() and y0.requires_grad
        slope = check_field(field, flat_times[0], y, differentiated=wanted or _needs_jacobian(method))
        check_diagonal(field, flat_times[0], y)
        warn_of_rounded_times(field, flat_times, y)
    else:
        slope = field(flat_times[0], y)
    field = replace(field, has_graph=slope.requires_grad)
    problem = _Problem(field, y, flat_times, tolerances, method, control, tuple(events), dense, progress, check)
    wants_gradient = torch.is_grad_enabled() and (slope.requires_grad or y.requires_grad or exact is not None)
    if isinstance(method, SciPy):
        _refuse(wants_gradient or bool(events) or dense, "SciPy() has no gradients, events or dense output here.")
        found = _by_scipy(problem, method)
    elif isinstance(gradient, Backsolve) and wants_gradient:
        _refuse(
            exact is not None or times.ndim > 1 or bool(events) or dense,
            "Backsolve() takes times (k,) without gradients, and no events or dense output. Use Discrete().",
        )
        found = _by_backsolve(problem, gradient, slope)
    else:
        order = gradient.order if isinstance(gradient, Discrete) else 1
        again = isinstance(gradient, Discrete) and gradient.checkpoint and wants_gradient
        found = _by_steps(problem, slope, exact, order, again)
    failures = [replace(failure, sample=_index(failure.sample[0], batch)) for failure in found.failures]
    if raise_on_failure:
        raise_for(failures, samples)
    return Solution(
        t=torch.as_tensor(times) if exact is None else t,
        y=found.states.reshape(len(times), *batch, dim),
        status=statuses(found.status).reshape(tuple(batch)),
        counts=field.counts.copy(),
        method=repr(method),
        rungs=found.rungs,
        failures=tuple(failures),
        events=found.events,
        interpolant=found.interpolant,
    )


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is to be integrated: a flat batch, checked."""

    field: Field
    y: Tensor
    times: np.ndarray  # (k, samples)
    tolerances: Tolerances
    method: Any
    control: Control
    events: tuple[Event, ...]
    dense: bool
    progress: Progress | None
    check: bool = True


@dataclass(frozen=True, eq=False)
class _Found:
    """What came of it, over the flat batch."""

    states: Tensor
    status: np.ndarray
    failures: list[Failure]
    rungs: dict[str, int] = fresh(default_factory=dict)
    events: tuple[Occurrences, ...] = ()
    interpolant: DenseOutput | None = None


def _by_steps(problem: _Problem, slope: Tensor, exact: Tensor | None, order: int, again: bool) -> _Found:
    y, times, field = problem.y, problem.times, problem.field
    if exact is not None:
        exact = exact.reshape(len(times), -1).expand(times.shape)
        # To start later is to start from where the field would have come from.
        y = moved(y, field, exact[0], exact[0].detach())
        slope = field(times[0], y)
        exact = exact.reshape(-1)
    outputs = Outputs(times, exact)
    outputs.begin(problem.y)
    watchers = [EventWatcher(event, y.shape[1], y) for event in problem.events]
    interpolant = DenseOutput() if problem.dense else None
    stepper = problem.method.stepper(order, inside=bool(problem.events) or problem.dense)
    march = March(
        field=field,
        stepper=stepper,
        control=problem.control,
        tolerances=problem.tolerances,
        t=times[0].copy(),
        y=y,
        stops=times[-1:] if stepper.interpolates else times[1:],
        watchers=[*watchers, outputs, *([interpolant] if interpolant else [])],
        try_step=Remade() if again else plain_attempt,
        progress=problem.progress,
        check=problem.check,
    )
    march.run(slope)
    found, states = tuple(w.occurrences() for w in watchers), outputs.states()
    if again:
        guard = Guard.over(slope, states, *(o.t for o in found))
        states, found = guard(states), tuple(replace(o, t=guard(o.t), y=guard(o.y)) for o in found)
        if interpolant is not None:
            interpolant.guard = guard
    return _Found(states, march.status, _failures(march), dict(march.memory.tally), found, interpolant)


def _by_scipy(problem: _Problem, method: SciPy) -> _Found:
    control, tolerances = problem.control, problem.tolerances
    if not isinstance(control, StepControl):
        raise UnsupportedError("SciPy() chooses its steps by itself: control=StepControl(...) has its limits.")
    given = (problem.field, problem.times, problem.y, tolerances.rtol, tolerances.atol, control, problem.progress)
    return _Found(*integrate(method, *given))


def _by_backsolve(problem: _Problem, gradient: Backsolve, slope: Tensor) -> _Found:
    with torch.no_grad():
        found = _by_steps(replace(problem, y=problem.y.detach()), slope.detach(), None, 1, again=False)
    tolerances = problem.tolerances
    rtol = tolerances.rtol if gradient.rtol is None else gradient.rtol
    atol = float(tolerances.atol.min()) if gradient.atol is None else gradient.atol
    method = Tsit5() if gradient.method is None else gradient.method

    def back(f: Callable[..., Tensor], z: Tensor, times: list[float]) -> Tensor:
        try:
            with torch.no_grad():
                control = StepControl(max_steps=_BACK_STEPS)
                options = {"method": method, "rtol": rtol, "atol": atol, "check": problem.check}
                return odeint(f, z, times, control=control, **options).y[-1]
        except (ConvergenceError, NumericalError) as cause:
            raise type(cause)(
                f"The way back from t = {times[0]:.6g} to {times[1]:.6g}, of the state along with its adjoint, fails: "
                "backwards the problem is stiff or unstable. Use gradient=Discrete(checkpoint=True), or more "
                f"observation times. In the system of state, adjoint and parameters: {cause}"
            ) from cause

    if isinstance(method, Implicit):
        raise UnsupportedError(
            "Backsolve() goes back by an explicit method such as Tsit5(). For stiff problems: Discrete()."
        )
    alone = problem.field(problem.times[0], problem.y.detach())  # what has a graph here has it from parameters
    parameters = gradient.wanted(problem.field.function, alone)
    context = problem.field.context
    if context is not None and context.requires_grad:
        raise UnsupportedError("Backsolve() has no gradients of context=. Use Discrete().")
    times, unit = problem.times[:, 0], lambda y: 1 / tolerances.weights(y)
    return replace(found, states=with_adjoint(found.states, problem.y, times, problem.field, parameters, back, unit))


def _needs_jacobian(method: Method | SciPy) -> bool:
    if isinstance(method, SciPy):
        return method.uses_jacobian
    return isinstance(method, Implicit) and not isinstance(method.nonlinear, Functional) and method.diagonal is None


def _refuse(unsupported: bool, why: str) -> None:
    if unsupported:
        raise UnsupportedError(why)


def _failures(march: March) -> list[Failure]:
    return [
        Failure(
            (int(i),),
            Status(int(march.status[i])),
            float(march.reached[i]),
            float(march.last_step[i]),
            int(march.component[i]),
        )
        for i in np.flatnonzero(march.status > Status.EVENT)
    ]


def _index(sample: int, batch: torch.Size) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(sample, tuple(batch))) if len(batch) else ()


__all__ = ["odeint"]
