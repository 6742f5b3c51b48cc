"""The arguments of `odeint`, checked and in their usual forms."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.backsolve import Backsolve
from pdekit.ode.control import Control
from pdekit.ode.events import Event
from pdekit.ode.gradients import Discrete
from pdekit.ode.methods import Method
from pdekit.ode.scipy_adapter import SciPy

_LEAST_RTOL = {torch.float32: 1e-5, torch.float64: 1e-13}
_RTOL = {torch.float32: 1e-4, torch.float64: 1e-6}
_ATOL = 1e-3  # of rtol


def check_state(y0: Any) -> None:
    """Refuses what is no batch of states.

    Raises:
        InputError: If it is none.
    """
    if not isinstance(y0, Tensor) or y0.ndim == 0 or y0.dtype not in _LEAST_RTOL:
        came = f"{tuple(y0.shape)} {y0.dtype}" if isinstance(y0, Tensor) else type(y0).__name__
        raise InputError(f"y0 must be a float32 or float64 tensor of shape (*batch, d), got {came}.")
    if y0.shape[-1] == 0:
        raise InputError(f"y0 must have one state at least, got shape {tuple(y0.shape)}.")
    finite = torch.isfinite(y0)
    if not bool(finite.all()):
        where = tuple(torch.nonzero(~finite)[0].tolist())
        raise InputError(f"y0 is not finite: {float(y0[where])} at {where}.")


def read_times(t: Any, batch: tuple[int, ...]) -> tuple[np.ndarray, Tensor | None]:
    """Times (k,) or (k, *batch) as float64, and as a tensor with their graph where they have one.

    Raises:
        InputError: If they are no times, or not in order.
    """
    if isinstance(t, list | tuple) and any(isinstance(x, Tensor) and x.requires_grad for x in t):
        t = torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in t])
    exact = t if isinstance(t, Tensor) and t.requires_grad else None
    try:
        times = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError(f"t must be times, (k,) or (k, *batch), got {t!r}.") from cause
    if times.ndim == 0 or len(times) < 2 or times.shape[1:] not in ((), batch):
        raise InputError(
            f"t must hold two times at least, as (k,) or (k, *batch) = (k, {', '.join(map(str, batch))}), got shape "
            f"{times.shape}."
        )
    steps = np.diff(times, axis=0)
    if not np.isfinite(times).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"Times must be finite and strictly increasing or strictly decreasing, got {_short(times)}.")
    return times, exact


def check_options(method: Any, control: Any, gradient: Any, events: Any, progress: Any) -> None:
    """Refuses what is no option object.

    Raises:
        InputError: If one is none.
    """
    if not isinstance(method, Method | SciPy):
        raise InputError(f"method must be an object such as Tsit5() or Kvaerno5(), got {method!r}.")
    if not isinstance(control, Control):
        raise InputError(f"control must be StepControl(...) or Fixed(step), got {control!r}.")
    if not isinstance(gradient, Discrete | Backsolve):
        raise InputError(f"gradient must be Discrete(...) or Backsolve(...), an object, got {gradient!r}.")
    if not isinstance(events, list | tuple) or not all(isinstance(event, Event) for event in events):
        raise InputError(f"events must be a list of Event(...), got {events!r}.")
    if progress is not None and not callable(progress):
        raise InputError(f"progress must be a function of (done, total), got {progress!r}.")


def read_tolerances(rtol: Any, atol: Any, y: Tensor) -> tuple[float, Tensor]:
    """rtol and atol, (1,) or (d,), with what they are by default.

    Raises:
        InputError: If they are no tolerances, or too small for the dtype.
    """
    rtol = _RTOL[y.dtype] if rtol is None else rtol
    least = _LEAST_RTOL[y.dtype]
    if not (isinstance(rtol, int | float | np.floating) and least <= rtol < 1):
        raise InputError(f"rtol must be at least {least:g} in {y.dtype} and below 1, got {rtol!r}.")
    try:
        found = torch.as_tensor(_ATOL * rtol if atol is None else atol, dtype=y.dtype, device=y.device)
    except (TypeError, ValueError, RuntimeError) as cause:
        raise InputError(f"atol must be a number or {y.shape[-1]} of them, got {atol!r}.") from cause
    if found.ndim > 1 or (found.ndim == 1 and len(found) != y.shape[-1]):
        raise InputError(f"atol must be a number or {y.shape[-1]} of them, one for each state, got {atol!r}.")
    if not bool((torch.isfinite(found) & (found >= 0)).all()):
        raise InputError(f"atol must be positive, got {atol!r}.")
    # Where a state and its tolerance are both zero, something must be allowed; squares of its inverse must be finite.
    return float(rtol), found.detach().clamp_min(torch.finfo(y.dtype).tiny ** 0.25)


def check_context(context: Any, y0: Tensor) -> None:
    """Refuses a context without a row for each sample.

    Raises:
        InputError: If it is one.
    """
    batch = y0.shape[:-1]
    if context is not None and (not isinstance(context, Tensor) or context.ndim == 0 or context.shape[:-1] != batch):
        came = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
        raise InputError(f"context must be a tensor with a row for each sample, {(*batch, 'c')}, got {came}.")


def _short(times: np.ndarray) -> str:
    return np.array2string(times, threshold=10, edgeitems=3).replace("\n", "")


__all__ = ["check_context", "check_options", "check_state", "read_times", "read_tolerances"]
