"""SciPy's integrators behind the same door: one sample after another, without gradients."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.field import Field
from pdekit.ode.status import Failure, Status

Name = Literal["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"]
_WITH_JACOBIAN = ("Radau", "BDF", "LSODA")


@dataclass(frozen=True)
class SciPy:
    """One of SciPy's methods, with the exact Jacobian where it takes one.

    Args:
        name: `"RK23"`, `"RK45"`, `"DOP853"`, `"Radau"`, `"BDF"` or `"LSODA"`.
    """

    name: Name = "Radau"

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise InputError(f"SciPy has the methods {', '.join(get_args(Name))}, got {self.name!r}.")


def integrate(
    method: SciPy, field: Field, times: np.ndarray, y: Tensor, rtol: float, atol: Tensor
) -> tuple[Tensor, np.ndarray, list[Failure]]:
    """Every sample from its first time to its last.

    Returns:
        States (k, samples, d), NaN where a sample failed; status codes; failures, their samples by flat index.
    """
    columns, status, failures = [], np.zeros(len(y), dtype=np.int64), []
    for i in range(len(y)):
        states, failure = _one(method, field.take(np.array([i])), times[:, i], y[i], rtol, atol)
        columns.append(states)
        if failure is not None:
            status[i] = failure.status
            failures.append(failure)
    return torch.stack(columns, 1), status, failures


def _one(
    method: SciPy, field: Field, times: np.ndarray, y: Tensor, rtol: float, atol: Tensor
) -> tuple[Tensor, Failure | None]:
    def tensor(x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=y.dtype, device=y.device).unsqueeze(0)

    last = [float(times[0])]

    def slope(t: float, x: np.ndarray) -> np.ndarray:
        last[0] = float(t)
        return field(np.array([t]), tensor(x))[0].double().cpu().numpy()

    def jacobian(t: float, x: np.ndarray) -> np.ndarray:
        return field.jacobian(np.array([t]), tensor(x))[0].double().cpu().numpy()

    more: dict[str, Any] = {"jac": jacobian} if method.name in _WITH_JACOBIAN else {}
    with torch.no_grad():
        start, ends = y.detach().double().cpu().numpy(), (times[0], times[-1])
        allowed = atol.double().cpu().numpy()
        try:
            found = solve_ivp(slope, ends, start, method=method.name, t_eval=times, rtol=rtol, atol=allowed, **more)
        except ValueError:  # what SciPy's linear algebra says to a matrix that is not finite
            nothing = y.new_full((len(times), len(y)), torch.nan)
            return nothing, Failure((int(field.rows[0]),), Status.NOT_FINITE, last[0], float("nan"), 0)
    field.counts.factorisations[field.rows] += found.nlu
    states = y.new_full((len(times), len(y)), torch.nan)
    states[: found.y.shape[1]] = torch.as_tensor(found.y.T, dtype=y.dtype, device=y.device)
    finite = bool(np.isfinite(found.y).all())
    if found.status == 0 and finite:
        return states, None
    code = Status.STEP_TOO_SMALL if finite else Status.NOT_FINITE
    return states, Failure((int(field.rows[0]),), code, last[0], float("nan"), 0)


__all__ = ["SciPy", "integrate"]
