"""SciPy's integrators behind the same door: one sample after another, without gradients."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import scipy.integrate
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.control import StepControl
from pdekit.ode.field import Field
from pdekit.ode.march import Progress
from pdekit.ode.status import Failure, Status

Name = Literal["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"]
_WITH_JACOBIAN = ("Radau", "BDF", "LSODA")


@dataclass(frozen=True)
class SciPy:
    """One of SciPy's methods, with the exact Jacobian where it takes one.

    Of `StepControl` the first, the smallest (LSODA), the largest and the number of steps are heeded.

    Args:
        name: `"RK23"`, `"RK45"`, `"DOP853"`, `"Radau"`, `"BDF"` or `"LSODA"`.
    """

    name: Name = "Radau"

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise InputError(f"SciPy has the methods {', '.join(get_args(Name))}, got {self.name!r}.")

    @property
    def uses_jacobian(self) -> bool:
        """Whether it asks for the Jacobian."""
        return self.name in _WITH_JACOBIAN


def integrate(
    method: SciPy,
    field: Field,
    times: np.ndarray,
    y: Tensor,
    rtol: float,
    atol: Tensor,
    control: StepControl,
    progress: Progress | None = None,
) -> tuple[Tensor, np.ndarray, list[Failure]]:
    """Every sample from its first time to its last.

    Returns:
        States (k, samples, d), NaN where a sample failed; status codes; failures, their samples by flat index.
    """
    columns, status, failures = [], np.zeros(len(y), dtype=np.int64), []
    for i in range(len(y)):
        some = _Sample(field.take(np.array([i])), y[i], times[:, i])
        with torch.no_grad():
            states, failure = some.integrate(method, rtol, atol.double().cpu().numpy(), control)
        columns.append(torch.as_tensor(states, dtype=y.dtype, device=y.device))
        if failure is not None:
            status[i] = failure.status
            failures.append(failure)
        if progress is not None:
            spans = np.abs(times[-1] - times[0])
            progress(float(spans[: i + 1].sum()), float(spans.sum()))
    return torch.stack(columns, 1), status, failures


@dataclass(frozen=True, eq=False)
class _Sample:
    field: Field
    y: Tensor
    times: np.ndarray

    def slope(self, t: float, x: np.ndarray) -> np.ndarray:
        return self.field(np.array([t]), self._tensor(x))[0].double().cpu().numpy()

    def jacobian(self, t: float, x: np.ndarray) -> np.ndarray:
        return self.field.jacobian(np.array([t]), self._tensor(x))[0].double().cpu().numpy()

    def _tensor(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, dtype=self.y.dtype, device=self.y.device).unsqueeze(0)

    def integrate(
        self, method: SciPy, rtol: float, atol: np.ndarray, control: StepControl
    ) -> tuple[np.ndarray, Failure | None]:
        """States (k, d), and what went wrong."""
        states = np.full((len(self.times), len(self.y)), np.nan)
        states[0] = self.y.double().cpu().numpy()
        try:
            solver = self._solver(method, states[0], rtol, atol, control)
        except ValueError:  # what SciPy's linear algebra says to a matrix that is not finite
            return states, self._failure(Status.NOT_FINITE, float(self.times[0]), float("nan"))
        try:
            code = self._steps(solver, states, control.max_steps)
        except ValueError:
            code = Status.NOT_FINITE
        self.field.counts.factorisations[self.field.rows] += solver.nlu
        step = float("nan") if solver.step_size is None else float(solver.step_size)
        return states, None if code is Status.SUCCESS else self._failure(code, float(solver.t), step)

    def _solver(self, method: SciPy, start: np.ndarray, rtol: float, atol: np.ndarray, control: StepControl) -> Any:
        more: dict[str, Any] = {"jac": self.jacobian} if method.uses_jacobian else {}
        if method.name == "LSODA":
            more["min_step"] = control.min_step
        if control.first_step is not None:
            more["first_step"] = min(control.first_step, abs(self.times[-1] - self.times[0]))
        kind = getattr(scipy.integrate, method.name)
        ends = (self.times[0], start, self.times[-1])
        return kind(self.slope, *ends, rtol=rtol, atol=atol, max_step=control.max_step, **more)

    def _steps(self, solver: Any, states: np.ndarray, most: int) -> Status:
        """Steps to the end or to a failure; fills in the states on the way."""
        done, sign = 1, np.sign(self.times[-1] - self.times[0])
        for _ in range(most):
            before = solver.t
            solver.step()
            if not np.isfinite(solver.y).all():
                return Status.NOT_FINITE
            if solver.status == "failed" or solver.t == before:  # LSODA goes on where time stands still
                return Status.STEP_TOO_SMALL
            reached = int(np.searchsorted(sign * self.times, sign * solver.t, side="right"))
            if reached > done:
                states[done:reached] = solver.dense_output()(self.times[done:reached]).T
                done = reached
            if solver.status == "finished":
                return Status.SUCCESS
        return Status.TOO_MANY_STEPS

    def _failure(self, code: Status, t: float, step: float) -> Failure:
        return Failure((int(self.field.rows[0]),), code, t, step, 0)


__all__ = ["SciPy", "integrate"]
