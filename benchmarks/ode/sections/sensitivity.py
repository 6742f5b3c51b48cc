"""Gradients through a stiff integration against a closed form that cancels nothing, beside the backsolve adjoint."""

import math
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import mpmath
import torch
from torch import Tensor, nn

from benchmarks.ode import peers, runs
from benchmarks.ode.limit import TooLong, time_limit
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context
from pdekit import ode

TITLE = "Gradients of y' = -lambda (y - a cos(w t)) at t = 1, rtol 1e-10"
RTOL, ATOL, A, W = 1e-10, 1e-12, 1.3, 2.0
METHODS = ("Kvaerno5", "RadauIIA5")
RATES = tuple(10.0**k for k in range(2, 9))
NAMES = ("lambda", "a", "w")
_PEER_LIMIT = 20.0  # seconds for a peer's gradient


class Relaxing(nn.Module):
    """The field; lambda, a and w are its parameters."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.a, self.w = (nn.Parameter(torch.tensor(z, dtype=torch.float64)) for z in (rate, A, W))

    def forward(self, t: Any, y: Tensor) -> Tensor:
        """The rate of change, (1,)."""
        return -self.rate * (y - self.a * torch.cos(self.w * t))

    def gradient(self, end: Tensor) -> list[float]:
        """The end's derivatives by lambda, a and w."""
        return [float(g) for g in torch.autograd.grad(end.sum(), (self.rate, self.a, self.w))]


def run(context: Context) -> list[Row]:
    """Relative errors of each derivative, y(0) being constant and on the slow solution."""
    rates = RATES[-1:] if context.quick else RATES
    rows = []
    for rate in rates:
        start, right = truth(rate)
        for name in METHODS[:1] if context.quick else METHODS:
            rows += _ours(name, rate, start, right)
        if rate <= 1e3 or context.quick:
            rows += _theirs(rate, start, right, 0.3 if context.quick else _PEER_LIMIT)
    return rows


def truth(rate: float) -> tuple[float, list[float]]:
    """y(0), and dy(1) by lambda, a and w, from the closed form in 60 digits."""
    with mpmath.workdps(60):

        def slow(t: float, lam: Any, a: Any, w: Any) -> Any:
            return a * lam * (lam * mpmath.cos(w * t) + w * mpmath.sin(w * t)) / (lam**2 + w**2)

        at = tuple(mpmath.mpf(z) for z in (rate, A, W))
        start = float(slow(0, *at))

        def end(lam: Any, a: Any, w: Any) -> Any:
            return slow(1, lam, a, w) + (mpmath.mpf(start) - slow(0, lam, a, w)) * mpmath.exp(-lam)

        return start, [float(mpmath.diff(end, at, tuple(int(i == k) for i in range(3)))) for k in range(3)]


def _ours(name: str, rate: float, start: float, right: list[float]) -> list[Row]:
    field = Relaxing(rate)
    y0 = torch.tensor([start], dtype=torch.float64)
    found = ode.odeint(field, y0, [0.0, 1.0], method=runs.method(name), rtol=RTOL, atol=ATOL)
    errors = _errors(field.gradient(found.y[-1]), right)
    detail = f"{int(found.counts.accepted.sum())} steps; d/dlambda is {right[0]:.1e}"
    limits = (max(1e-6, rate * RTOL), 1e-8, 1e-8)
    return [
        at_most(f"lambda {rate:.0e}: {name}, d/d{p}", error, limit, "relative error", detail)
        for p, error, limit in zip(NAMES, errors, limits, strict=True)
    ]


def _theirs(rate: float, start: float, right: list[float], limit: float) -> list[Row]:
    label = f"lambda {rate:.0e}: torchdiffeq odeint_adjoint, dopri5"
    if peers.package("torchdiffeq") is None:
        return [skipped(label, peers.missing("torchdiffeq"))]
    odeint_adjoint: Callable[..., Tensor] = import_module("torchdiffeq").odeint_adjoint
    field = Relaxing(rate)
    y0, times = torch.tensor([start], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    try:
        with time_limit(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers may warn; a test run takes warnings for errors
            end = odeint_adjoint(field, y0, times, method="dopri5", rtol=RTOL, atol=ATOL)[-1]
            errors = _errors(field.gradient(end), right)
    except TooLong as reached:
        return [Row(label, "no gradient", detail=str(reached))]
    except Exception as problem:  # a peer's failure is a result
        return [Row(label, "no gradient", detail=f"{type(problem).__name__}: {problem}".splitlines()[0][:200])]
    return [
        Row(f"{label}, d/d{p}", error, "relative error", detail="backwards in time the problem is unstable")
        for p, error in zip(NAMES, errors, strict=True)
    ]


def _errors(found: list[float], right: list[float]) -> list[float]:
    return [abs(f - r) / abs(r) if math.isfinite(f) else float("nan") for f, r in zip(found, right, strict=True)]
