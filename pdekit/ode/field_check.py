"""What is made sure of before a field is integrated: its values, its derivatives, and that rows don't see others."""

import warnings
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.field import Field, unseen
from pdekit.operators.call import make_call
from pdekit.operators.contract import check_rows

_NEARBY = 1e-3  # relative: states that f can be expected to have values at
_FINER = 1e-3  # of the shortest interval: what rounding may move a time by


@dataclass(frozen=True)
class Caller:
    """How errors speak of a field.

    Args:
        name: Who asks for it.
        call: How it is called.
        hint: What to try if it can't be.
    """

    name: str
    call: str
    hint: str


ODEINT = Caller(
    "odeint",
    "f(t, y)",
    "A field without a time is passed as pdekit.ode.autonomous(f); one that takes a single time reads it as t[..., 0] "
    "in its columns.",
)
SOLVE_ROOT = Caller("solve_root", "F(z)", "It is called with a row for each sample, and with some of them alone.")


def check_field(field: Field, t: np.ndarray, y: Tensor, *, differentiated: bool, caller: Caller = ODEINT) -> Tensor:
    """f at the start, after making sure that it is a field whose rows don't see one another.

    Args:
        field: f.
        t: Times, (n,).
        y: States, (n, d).
        differentiated: Whether derivatives with respect to the state are going to be asked for.
        caller: How errors speak of it.

    Raises:
        InputError: If it raises, returns another shape or dtype, changes what it is given or what it returned, is
            random, or hides its derivatives.
        OperatorError: If it mixes rows.
    """
    expected = tuple(y.shape[1:]) if field.single else tuple(y.shape)
    given = y.clone()  # the caller's own stays as it is, whatever f does
    before = None if given.is_inference() else given._version
    try:
        value = field(t, given)
    except Exception as cause:
        times = "" if caller is SOLVE_ROOT else " and a scalar time" if field.single else f" and times {(len(y), 1)}"
        raise InputError(
            f"{caller.call} raises {type(cause).__name__} for a state of shape {expected}{times}: {cause}. "
            + caller.hint
        ) from cause
    if not isinstance(value, Tensor) or value.shape != y.shape or value.dtype != y.dtype:
        came = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(
            f"{caller.call} must return a tensor of the state's shape {expected} and dtype {y.dtype}, got {came}. "
            + caller.hint
        )
    if before is not None and given._version != before:
        raise InputError(
            f"{caller.call} changes the state that it is given in place. Write y = -y instead of y *= -1, say."
        )
    _check_fresh(field, t, y, value, caller)
    if len(y) > 1:
        keywords = {} if field.context is None else {"context": field.context}
        with unseen():  # what the check records is its own
            check_rows(make_call(caller.name, field.function, (field._time(t, y), y.detach()), keywords), value)
        check_alone(field, t, y, value, caller)
    if differentiated:
        _check_derivatives(field, t, y, caller)
    return value


@torch.no_grad()
def _check_fresh(field: Field, t: np.ndarray, y: Tensor, value: Tensor, caller: Caller) -> None:
    """What f returned must stay when it is called again, and come again."""
    kept, again = value.detach().clone(), None
    with suppress(Exception), unseen():  # elsewhere f may have no value
        field._uncounted(t)(_near(y))
    if not torch.equal(kept.nan_to_num(), value.nan_to_num()):
        raise InputError(
            f"{caller.call} returns the same tensor at every call and writes into it: earlier values change. Return a "
            "new one, or its clone()."
        )
    with suppress(Exception), unseen():
        again = field._uncounted(t)(y.clone())
    if again is not None and not _same(kept, again):
        raise InputError(
            f"{caller.call} gives two values for the same state: it is random, or remembers something. Look for "
            "dropout (call .eval()), fresh noise, or a state kept between calls."
        )


def check_alone(field: Field, t: np.ndarray, y: Tensor, value: Tensor, caller: Caller = ODEINT) -> None:
    """One sample must be able to go on when the others have arrived: with the same value.

    Raises:
        InputError: If it can't.
    """
    for row in {len(y) // 2, len(y) - 1}:
        i = np.array([row])
        try:
            with torch.no_grad():
                found = field.take(i)._uncounted(t[i])(y[i])
            came = f"shape {tuple(found.shape)}"
        except Exception as cause:
            found, came = None, f"{type(cause).__name__}: {cause}"
        if found is not None and found.shape == (1, *y.shape[1:]):
            there = value.detach()[row]
            if _same(there, found[0]):
                continue
            worst = int((found[0] - there).abs().nan_to_num(torch.inf).argmax())
            came = (
                f"another value than in the batch, {found[0].flatten()[worst]:.6g} instead of "
                f"{there.flatten()[worst]:.6g} in component {worst}"
            )
        where = "" if caller is SOLVE_ROOT else f" at t = {float(t[row]):.6g}"
        raise InputError(
            f"{caller.call} can't be evaluated for one of the {len(y)} samples alone{where}, but gives {came}. Samples "
            f"leave the batch when they are done: each row must depend on its own state only, and what f holds with a "
            "row for each sample goes in by context=, of which it gets the rows that it needs."
        )


def _check_derivatives(field: Field, t: np.ndarray, y: Tensor, caller: Caller) -> None:
    """Where f changes with the state, autograd must see it: Jacobians and gradients would be wrong."""
    field = replace(field, counts=field.counts.copy())  # not what the integration costs
    f, at = field._uncounted(t), _near(y)
    direction = torch.where(y >= 0, 1.0, -1.0) * (1 + y.detach().abs())
    step = torch.finfo(y.dtype).eps ** (1 / 3)
    with unseen():
        try:
            with torch.enable_grad():
                state = at.requires_grad_()
                f(state)
        except Exception as cause:
            raise InputError(
                f"{caller.call} raises {type(cause).__name__} where derivatives are recorded: {cause}. Derivatives "
                "with respect to the state are needed here: build it of torch operations, without .numpy() or .item()."
            ) from cause
        try:
            along = field.product(t, at.detach())(direction)
            with torch.no_grad():
                ahead, behind = (f(at.detach() + s * step * direction) for s in (1, -1))
        except Exception:  # no second derivative, or no value there: nothing can be said
            return
    change = (ahead - behind) / (2 * step)
    seen = (ahead - behind).abs() > 100 * step * step * (1 + ahead.abs() + behind.abs())
    hidden = (along.detach() == 0) & seen & (change.abs() > 1e-3 * (1 + along.detach().abs().amax(-1, keepdim=True)))
    if bool(hidden.any()):
        component = int(torch.nonzero(hidden)[0, -1])
        raise InputError(
            f"Component {component} of {caller.call} changes with the state, but its derivative is zero: look for "
            ".detach(), torch.no_grad(), .item(), .data or rounding. Gradients and implicit methods would be wrong."
        )


def _near(y: Tensor) -> Tensor:
    return y.detach() + _NEARBY * (1 + y.detach().abs())


def _same(there: Tensor, found: Tensor) -> bool:
    allowed = torch.finfo(there.dtype).eps ** 0.5 * (there.abs().amax(-1, keepdim=True) + torch.finfo(there.dtype).tiny)
    return not bool(((found - there).abs() > allowed).any())


def warn_of_rounded_times(field: Field, times: np.ndarray, y: Tensor) -> None:
    """In single precision a late time may be rounded by more than steps are long: f then sees another time."""
    spacing = torch.finfo(y.dtype).eps * float(np.abs(times).max())
    shortest = float(np.abs(np.diff(times, axis=0)).min())
    if spacing <= _FINER * shortest:
        return
    t = times[0]
    with torch.no_grad():
        here, later = field._uncounted(t)(y), field._uncounted(t + np.sign(times[-1] - t) * 2 * spacing)(y)
    if not torch.equal(here.nan_to_num(), later.nan_to_num()):
        warnings.warn(
            f"f sees times of {y.dtype} rounded by {spacing:.2g}, the shortest interval is {shortest:.2g}: its values "
            "belong to other times than the steps'. Count time from the start of the data, or use float64.",
            stacklevel=4,
        )


__all__ = ["ODEINT", "SOLVE_ROOT", "Caller", "check_alone", "check_field", "warn_of_rounded_times"]
