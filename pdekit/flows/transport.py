"""States carried along a velocity field, and what the way does to volumes: the integrals that a flow needs."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from dataclasses import field as fresh
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode import odeint
from pdekit.ode.backsolve import Backsolve
from pdekit.ode.control import StepControl
from pdekit.ode.counting import Counts
from pdekit.ode.gradients import Discrete
from pdekit.ode.inputs import read_tolerances
from pdekit.ode.methods import Tsit5
from pdekit.operators import divergence
from pdekit.operators.methods import Exact, Hutchinson
from pdekit.operators.stochastic import bottleneck_width

_LOOSE = 1e6  # times the tolerance: what is integrated for a penalty alone must not steer the steps


@dataclass(frozen=True, eq=False)
class Transport:
    """dX/dt = v(t, X) between two times, and the integral of div v along it.

    Args:
        field: v(t, x) or v(t, x, context=c), (*batch, d) -> (*batch, d), row by row.
        trace: How div v is computed: a method of `divergence`, or a function (t, x) -> (v, div v).
        times: (t0, t1), numbers or tensors of shape ().
        method, rtol, atol, control, gradient: Of `odeint`.
    """

    field: Callable[..., Tensor]
    trace: Any = Exact()
    times: tuple[Any, Any] = (0.0, 1.0)
    method: Any = Tsit5()
    rtol: float | None = None
    atol: float | None = None
    control: Any = StepControl()
    gradient: Any = fresh(default_factory=Discrete)

    def options(self) -> dict[str, Any]:
        """All but the field, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "field"}

    def carried(self, x: Tensor, context: Tensor | None, *, back: bool = False) -> tuple[Tensor, Counts]:
        """States (n, d) at t0 carried to t1, or the way back, and what it cost."""
        found = self._solve(self.field, x, self.times[::-1] if back else self.times, context, self.atol)
        return found.y[-1], found.counts

    def passage(
        self,
        x: Tensor,
        context: Tensor | None,
        *,
        back: bool = True,
        kinetic: bool = False,
        jacobian: Hutchinson | None = None,
    ) -> "Passage":
        """States (n, d) at t1 carried back to t0, or at t0 carried to t1, with the integrals on the way."""
        dim = x.shape[-1]
        noise = self._noise(x, context, self.times[1] if back else self.times[0])
        parts = [
            context,
            None if noise is None else noise.movedim(0, 1).flatten(1),
            None if jacobian is None else jacobian.draw(x)[0].movedim(0, 1).flatten(1),
        ]
        sizes = [0 if part is None else part.shape[-1] for part in parts]
        extras = 1 + kinetic + (jacobian is not None)

        def rates(t: Any, state: Tensor, context: Tensor | None = None) -> Tensor:
            given, fixed, probes = (None,) * 3 if context is None else context.split(sizes, -1)
            velocity, spread = self._differentiated(t, state[..., :dim], given, fixed)
            out = [velocity, spread.unsqueeze(-1)]
            if kinetic:
                out.append(velocity.square().sum(-1, True))
            if jacobian is not None:
                out.append(self._frobenius(t, state[..., :dim], given, probes).unsqueeze(-1))
            return torch.cat(out, -1)

        state = torch.cat([x, x.new_zeros(len(x), extras)], -1)
        known = [part for part in parts if part is not None]
        atol = read_tolerances(self.rtol, self.atol, x)[1].reshape(-1)
        own = atol.min().reshape(1)
        tolerances = torch.cat([atol.expand(dim), own, _LOOSE * own.expand(extras - 1)]).tolist()
        times = self.times[::-1] if back else self.times
        found = self._solve(rates, state, times, torch.cat(known, -1) if known else None, tolerances)
        arrived, *integrals = found.y[-1].split([dim, *[1] * extras], -1)
        # Backwards in time each integral comes with a minus; costs are counted along the way, whichever it goes.
        spread = -integrals[0][:, 0] if back else integrals[0][:, 0]
        along = 1.0 if _number(times[1]) > _number(times[0]) else -1.0
        values = [along * value[:, 0] for value in integrals[1:]]
        return Passage(
            transport=self,
            start=arrived if back else x,
            end=x if back else arrived,
            back=back,
            context=context,
            log_volume=-spread,
            kinetic=values[0] if kinetic else None,
            jacobian=values[-1] if jacobian is not None else None,
            counts=found.counts,
        )

    def _noise(self, x: Tensor, context: Tensor | None, t: Any) -> Tensor | None:
        """The random directions of a whole solve, (samples, n, d) or as wide as the bottleneck."""
        method = self.trace
        if not isinstance(method, Hutchinson):
            return None
        if not method.bottleneck:
            return method.draw(x)[0]
        given = {} if context is None else {"context": context}
        with torch.no_grad():
            return method.draw(x, bottleneck_width(self.field, t, x, **given))[0]

    def _solve(self, f: Any, y: Tensor, times: tuple[Any, Any], context: Tensor | None, atol: Any) -> Any:
        return odeint(
            f,
            y,
            list(times),
            method=self.method,
            rtol=self.rtol,
            atol=atol,
            control=self.control,
            gradient=self._gradient(),
            context=context,
            check=_due(self.field),
        )

    def _gradient(self) -> Any:
        """A backsolve must be told of parameters: those of the field, where it is a module."""
        told = not isinstance(self.gradient, Backsolve) or self.gradient.parameters is not None
        if told or not isinstance(self.field, torch.nn.Module):
            return self.gradient
        return replace(self.gradient, parameters=list(self.field.parameters()))

    def _differentiated(self, t: Any, x: Tensor, context: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """v and div v."""
        given = {} if context is None or not context.shape[-1] else {"context": context}
        method: Any = self.trace
        if callable(self.trace):
            return method(t, x, **given)
        if noise is not None and isinstance(method, Hutchinson):
            method = replace(method, noise=noise.unflatten(-1, (method.samples, -1)).movedim(-2, 0))
        found: Any = divergence(self.field, method, full_output=True)(t, x, **given)
        return found.output, found.value

    def _frobenius(self, t: Any, x: Tensor, context: Tensor | None, probes: Any) -> Tensor:
        """An estimate of |dv/dx|_F^2: the mean of |e^T dv/dx|^2 over probes e."""
        given = {} if context is None or not context.shape[-1] else {"context": context}
        grad = torch.is_grad_enabled()
        with torch.enable_grad():
            z = x if x.requires_grad and grad else x.detach().requires_grad_()
            velocity = self.field(t, z, **given)
            parts = [
                torch.autograd.grad(velocity, z, e, create_graph=grad, retain_graph=True)[0].square().sum(-1)
                for e in probes.unflatten(-1, (-1, x.shape[-1])).unbind(-2)
            ]
        return torch.stack(parts).mean(0)


def _due(field: Any) -> bool:
    """Whether to check the field of this solve: a module at its first, second, fourth, eighth ..., a function always.

    A training solves the same field thousands of times, and the checks would take as long as the solves.
    """
    if not isinstance(field, torch.nn.Module):
        return True
    solves = _SOLVES[field] = _SOLVES.get(field, 0) + 1
    return solves & (solves - 1) == 0


_SOLVES: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, repr=False)
class Passage:
    """Where states came from, and what happened on the way.

    Attributes:
        transport: What carried them.
        start: The states at t0, (n, d).
        end: Those at t1, (n, d).
        back: Whether the ends were given and the starts found, or the other way round.
        context: Of each state, (n, c), or None.
        log_volume: Minus the integral of div v from t0 to t1, (n,): log p(t1, end) = log p(t0, start) + log_volume.
        kinetic: The integral of |v|^2 along the way, (n,), where it was asked for; never negative.
        jacobian: That of an estimate of |dv/dx|_F^2, (n,), where it was asked for.
        counts: What the way cost each state.
    """

    transport: Transport
    start: Tensor
    end: Tensor
    back: bool
    context: Tensor | None
    log_volume: Tensor
    kinetic: Tensor | None
    jacobian: Tensor | None
    counts: Counts

    @property
    def evaluations(self) -> float:
        """How often the field was evaluated for a state, on average."""
        return float(np.mean(self.counts.f)) if len(self.counts.f) else 0.0

    @cached_property
    def reconstruction_error(self) -> float:
        """The greatest distance between a given state and what it is after the way found and the way back from there.

        An evaluation count says nothing without it: loose tolerances are cheap, and may not integrate the field at all.
        """
        if not len(self.end):
            return 0.0
        with torch.no_grad():
            given, found = (self.end, self.start) if self.back else (self.start, self.end)
            again, _ = self.transport.carried(found.detach(), self.context, back=not self.back)
            return float((again - given).abs().max())

    def __repr__(self) -> str:
        return (
            f"Passage({len(self.end)} states, {self.evaluations:.1f} evaluations each, forth and back off by "
            f"{self.reconstruction_error:.1g})"
        )


def check_times(times: Any) -> tuple[Any, Any]:
    """Two different, finite times, numbers or tensors of shape ().

    Raises:
        InputError: If they are anything else.
    """
    try:
        t0, t1 = times
        values = tuple(_number(t) for t in (t0, t1))
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InputError(f"times must be two different numbers, got {times!r}.") from cause
    if not (values[0] != values[1] and np.isfinite(values).all()):
        raise InputError(f"times must be two different numbers, got {times!r}.")
    return t0, t1


def _number(t: Any) -> float:
    return float(t.detach() if isinstance(t, Tensor) else t)


__all__ = ["Passage", "Transport", "check_times"]
