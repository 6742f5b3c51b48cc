"""`odeint`: the solution of an initial value problem, for every sample of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as fresh
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError, UnsupportedError
from pdekit.ode.backsolve import Backsolve, with_adjoint
from pdekit.ode.checkpoints import Remade
from pdekit.ode.control import Control, StepControl
from pdekit.ode.counting import Counts
from pdekit.ode.events import Event, EventWatcher, Occurrences
from pdekit.ode.field import Field, check_field
from pdekit.ode.gradients import Discrete
from pdekit.ode.leaves import unchanged
from pdekit.ode.march import March, Tolerances, plain_attempt
from pdekit.ode.methods import Implicit, Method, Tsit5
from pdekit.ode.outputs import DenseOutput, Outputs, moved
from pdekit.ode.scipy_adapter import SciPy, integrate
from pdekit.ode.solution import Solution
from pdekit.ode.status import Failure, Status, raise_for, statuses

_LEAST_RTOL = {torch.float32: 1e-5, torch.float64: 1e-13}
_RTOL = {torch.float32: 1e-4, torch.float64: 1e-6}
_ATOL = 1e-3  # of rtol


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
        atol: A number or one for each state, (d,). By default a thousandth of rtol.
        control: How steps are chosen; `Fixed(step)` for steps of one length.
        context: What f needs to know of each sample, (*batch, c).
        events: Functions whose zeros are looked for.
        dense: Whether the solution can be evaluated between the times as well: `Solution.at`.
        gradient: How gradients are computed: `Discrete()` or `Backsolve()`.
        raise_on_failure: Whether a sample that fails raises; otherwise its status tells, and its states are NaN.

    Returns:
        The states (k, *batch, d) with status, costs and events.

    Raises:
        InputError: If arguments don't fit together.
        OperatorError: If f mixes rows.
        NumericalError: If f is not finite or the tolerance needs steps that are too small.
        ConvergenceError: If equations can't be solved or there are too many steps.

    Example:
        >>> y0 = torch.tensor([1.0], dtype=torch.float64)
        >>> sol = odeint(lambda t, y: -y, y0, [0.0, 1.0])
        >>> round(float(sol.y[-1]), 6)
        0.367879
    """
    times, exact = _times(t, y0)
    rtol = _RTOL[y0.dtype] if rtol is None else rtol
    _check_inputs(y0, times, rtol, atol, context, method)
    _check_options(control, gradient, events)
    batch, dim = y0.shape[:-1], y0.shape[-1]
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
    tolerances = Tolerances(float(rtol), _absolute(_ATOL * rtol if atol is None else atol, y))
    problem = _Problem(field, y, flat_times, tolerances, method, control, tuple(events), dense)
    slope = check_field(field, flat_times[0], y)
    problem = replace(problem, field=replace(field, has_graph=slope.requires_grad))
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
    )
    march.run(slope)
    found, states = tuple(w.occurrences() for w in watchers), outputs.states()
    if again or isinstance(problem.method, Implicit):
        states = unchanged(states, slope)
        found = tuple(replace(o, t=unchanged(o.t, slope), y=unchanged(o.y, slope)) for o in found)
    return _Found(states, march.status, _failures(march), dict(march.memory.tally), found, interpolant)


def _by_scipy(problem: _Problem, method: SciPy) -> _Found:
    tolerances = problem.tolerances
    return _Found(*integrate(method, problem.field, problem.times, problem.y, tolerances.rtol, tolerances.atol))


def _by_backsolve(problem: _Problem, gradient: Backsolve, slope: Tensor) -> _Found:
    with torch.no_grad():
        found = _by_steps(replace(problem, y=problem.y.detach()), slope.detach(), None, 1, again=False)
    tolerances = problem.tolerances
    rtol = tolerances.rtol if gradient.rtol is None else gradient.rtol
    atol = float(tolerances.atol.min()) if gradient.atol is None else gradient.atol
    method = Tsit5() if gradient.method is None else gradient.method

    def back(f: Callable[..., Tensor], z: Tensor, times: list[float]) -> Tensor:
        with torch.no_grad():
            return odeint(f, z, times, method=method, rtol=rtol, atol=atol).y[-1]

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


def _refuse(unsupported: bool, why: str) -> None:
    if unsupported:
        raise UnsupportedError(why)


def _times(t: Any, y0: Tensor) -> tuple[np.ndarray, Tensor | None]:
    if not isinstance(y0, Tensor) or y0.ndim == 0 or y0.dtype not in _LEAST_RTOL:
        came = f"{tuple(y0.shape)} {y0.dtype}" if isinstance(y0, Tensor) else type(y0).__name__
        raise InputError(f"y0 must be a float32 or float64 tensor of shape (*batch, d), got {came}.")
    exact = t if isinstance(t, Tensor) and t.requires_grad else None
    try:
        times = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError(f"t must be times, (k,) or (k, *batch), got {t!r}.") from cause
    batch = tuple(y0.shape[:-1])
    if times.ndim == 0 or len(times) < 2 or times.shape[1:] not in ((), batch):
        raise InputError(
            f"t must hold two times at least, as (k,) or (k, *batch) = (k, {', '.join(map(str, batch))}), got shape "
            f"{times.shape}."
        )
    steps = np.diff(times, axis=0)
    if not np.isfinite(times).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"Times must be finite and strictly increasing or strictly decreasing, got {_short(times)}.")
    return times, exact


def _check_options(control: Any, gradient: Any, events: Any) -> None:
    if not isinstance(control, Control):
        raise InputError(f"control must be StepControl(...) or Fixed(step), got {control!r}.")
    if not isinstance(gradient, Discrete | Backsolve):
        raise InputError(f"gradient must be Discrete(...) or Backsolve(...), an object, got {gradient!r}.")
    if isinstance(events, Event) or not all(isinstance(event, Event) for event in events):
        raise InputError(f"events must be a list of Event(...), got {events!r}.")


def _short(times: np.ndarray) -> str:
    return np.array2string(times, threshold=10, edgeitems=3).replace("\n", "")


def _check_inputs(y0: Tensor, times: np.ndarray, rtol: Any, atol: Any, context: Any, method: Any) -> None:
    if not isinstance(method, Method | SciPy):
        raise InputError(f"method must be an object such as Tsit5() or Kvaerno5(), got {method!r}.")
    least = _LEAST_RTOL[y0.dtype]
    if not (isinstance(rtol, int | float) and least <= rtol < 1):
        raise InputError(f"rtol must be at least {least:g} in {y0.dtype} and below 1, got {rtol!r}.")
    if y0.shape[-1] == 0:
        raise InputError(f"y0 must have one state at least, got shape {tuple(y0.shape)}.")
    if not bool(torch.isfinite(y0).all()):
        raise InputError("y0 is not finite.")
    if context is not None and (not isinstance(context, Tensor) or context.shape[:-1] != y0.shape[:-1]):
        came = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
        raise InputError(f"context must be a tensor ({', '.join(map(str, y0.shape[:-1]))}, c), got {came}.")


def _absolute(atol: Any, y: Tensor) -> Any:
    found = torch.as_tensor(atol, dtype=y.dtype, device=y.device)
    if found.ndim > 1 or (found.ndim == 1 and len(found) != y.shape[1]):
        raise InputError(f"atol must be a number or {y.shape[1]} of them, one for each state, got {atol!r}.")
    if not bool((torch.isfinite(found) & (found >= 0)).all()):
        raise InputError(f"atol must be positive, got {atol!r}.")
    # Where a state and its tolerance are both zero, something must be allowed; squares of its inverse must be finite.
    return found.clamp_min(torch.finfo(y.dtype).tiny ** 0.25)


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
