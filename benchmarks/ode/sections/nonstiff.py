"""Explicit methods on problems that are not stiff: time at equal error, beside torchdiffeq, torchode and diffrax."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.ode import peers, runs
from benchmarks.ode.fields import Pendulum, Perceptron
from benchmarks.operators.measure import Measured, Way, measure
from benchmarks.operators.rows import faster, peer
from benchmarks.results import Row, skipped
from benchmarks.runner import Context
from pdekit import ode

TITLE = "Explicit methods, max |err| / (1 + |y|) = 1e-6 at the end, float64, without gradients"
ERROR, RATIO = 1e-6, 1.0
RTOLS = tuple(10.0**-k for k in range(3, 11))
OURS = ("Tsit5", "Dopri5")
_OFF = 2.0  # by which factor the error may be off

Solve = Callable[[Tensor, float, float], Tensor]


def run(context: Context) -> list[Row]:
    """A pendulum and a perceptron of 16 states, one sample and 1,024."""
    end = 2.0 if context.quick else 10.0
    rows = []
    fields = (("pendulum", Pendulum(), 2), ("perceptron, d 16", Perceptron(16), 16))
    for label, field, dim in fields[:1] if context.quick else fields:
        for samples in (1,) if context.quick else (1, 1024):
            y0 = torch.randn(samples, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            rows += _beside(f"{label}, batch {samples}", field, y0, end, context)
    return rows


def _beside(label: str, field: Any, y0: Tensor, end: float, context: Context) -> list[Row]:
    with torch.no_grad():
        right = _ours(field, "Dopri5", 1e-13)(y0, 0.0, end)
        ways, notes = {}, {}
        for name, solver in _solvers(field, y0).items():
            tuned = _tuned(solver, y0, end, right)
            if tuned is None:
                notes[name] = "no tolerance reaches this error"
                continue
            rtol, error = tuned
            ways[name], notes[name] = _way(solver(rtol), y0, end), f"rtol {rtol:.1e}, error {error:.1e}"
        found = measure(f"nonstiff {label}", ways, context)
    base = found.get("torchdiffeq dopri5")
    rows = [_row(f"{label}: {name}", found.get(name), base, notes[name]) for name in OURS]
    for name in ("torchdiffeq dopri5", "torchode Tsit5", "torchode Dopri5", "diffrax Tsit5, jitted"):
        if name in found:
            rows.append(peer(f"{label}: {name}", found[name], base or found[name], "x torchdiffeq", notes[name]))
        else:
            rows.append(skipped(f"{label}: {name}", notes.get(name) or peers.missing(name.split()[0])))
    return rows


def _row(metric: str, one: Measured | None, base: Measured | None, note: str) -> Row:
    if one is None:
        return Row(metric, "failed", "", f">= {RATIO:g}", False, note)
    if base is None:
        return Row(metric, one.median, "s", detail=note)
    return faster(f"{metric}, against torchdiffeq dopri5", one, base, "times faster", RATIO, note)


def _way(solve: Solve, y0: Tensor, end: float) -> Way:
    return Way(lambda: solve(y0, 0.0, end))


def _solvers(field: Any, y0: Tensor) -> dict[str, Callable[[float], Solve]]:
    """By name, from a tolerance (relative and absolute alike) to a solver."""
    found: dict[str, Callable[[float], Solve]] = {
        name: lambda rtol, name=name: _ours(field, name, rtol) for name in OURS
    }
    if peers.package("torchdiffeq"):
        found["torchdiffeq dopri5"] = lambda rtol: peers.torchdiffeq_solver(field, "dopri5", rtol, rtol)
    if peers.package("torchode"):
        for name in OURS:
            found[f"torchode {name}"] = lambda rtol, name=name: peers.torchode_solver(field, name, rtol, rtol)
    if peers.package("diffrax"):
        found["diffrax Tsit5, jitted"] = peers.diffrax_solver(field)
    return found


def _ours(field: Any, name: str, rtol: float) -> Solve:
    method = runs.method(name)
    return lambda y, start, end: ode.odeint(field, y, [start, end], method=method, rtol=rtol, atol=rtol).y[-1]


def _tuned(solver: Callable[[float], Solve], y0: Tensor, end: float, right: Tensor) -> tuple[float, float] | None:
    """The tolerance at which the error is `ERROR` within a factor, and that error."""

    def error(rtol: float) -> float:
        found = solver(rtol)(y0, 0.0, end)
        return float(((found - right).abs() / (1 + right.abs())).max())

    best: tuple[float, float] | None = None
    above: tuple[float, float] | None = None  # the last tolerance that is too loose, with its error
    for rtol in RTOLS:
        reached = error(rtol)
        if reached <= ERROR:
            below = (rtol, reached)
            break
        above = (rtol, reached)
    else:
        return None
    for _ in range(6):  # false position on logarithms, kept inside the bracket
        best = below
        if above is None or below[1] >= ERROR / _OFF:
            break
        share = math.log(above[1] / (ERROR / 1.2)) / math.log(above[1] / max(below[1], 1e-300))
        rtol = above[0] * (below[0] / above[0]) ** min(max(share, 0.1), 0.9)
        reached = error(rtol)
        if reached <= ERROR:
            below = best = (rtol, reached)
        else:
            above = (rtol, reached)
    return best
