"""Integrators: the stiff set against SciPy's references and published values, and observed orders."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit import ode
from pdekit.testing.matrix import Progress
from verification.evidence import Finding
from verification.level import Level
from verification.stiff import StiffProblem, stiff_set
from verification.stiff.references import reference

TITLE = "Integrators: stiff problems against SciPy, observed orders"
UNITS = 10.0  # of atol + rtol |y|
SLACK = 0.2
SLOW = {"ring_modulator", "medical_akzo"}  # minutes each: in a full run only
TOLERANCES = {"quick": (1e-4,), "default": (1e-4, 1e-6), "full": (1e-4, 1e-6, 1e-8)}
ORDERS: dict[str, tuple[Any, int]] = {
    "Euler": (ode.Euler(), 1),
    "ImplicitEuler": (ode.ImplicitEuler(accuracy=1e-6), 1),
    "TRBDF2": (ode.TRBDF2(accuracy=1e-6), 2),
    "Kvaerno3": (ode.Kvaerno3(accuracy=1e-6), 3),
    "RK4": (ode.RK4(), 4),
    "AdamsBashforthMoulton": (ode.AdamsBashforthMoulton(ode.Newton(), accuracy=1e-6), 4),
    "Tsit5": (ode.Tsit5(), 5),
    "Dopri5": (ode.Dopri5(), 5),
    "Kvaerno5": (ode.Kvaerno5(accuracy=1e-6), 5),
    "RadauIIA5": (ode.RadauIIA5(accuracy=1e-6), 5),
}


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """Orders, then the stiff set by two methods."""
    jobs: list[Callable[[], Finding]] = [lambda n=name: _order(n) for name in ORDERS]
    problems = [p for p in stiff_set() if p.name not in SLOW or level.name == "full"]
    methods = (ode.Kvaerno5(), ode.RadauIIA5())
    jobs += [lambda p=p, m=m, r=r: _stiff(p, m, r) for p in problems for m in methods for r in TOLERANCES[level.name]]
    found = []
    for number, job in enumerate(jobs):
        progress("integrators", number, len(jobs))
        found.append(job())
    return found


def solved(problem: StiffProblem, method: Any, rtol: float) -> ode.Solution:
    """A problem, started again where f jumps."""
    times = (problem.start, *problem.breaks, problem.end)
    y, solution = problem.y0, None
    for start, end in pairwise(times):
        # f is continuous from the left at a jump: the next piece starts just behind it.
        after = start if start == problem.start else math.nextafter(start, math.inf)
        with torch.no_grad():
            solution = ode.odeint(
                problem.field,
                y,
                [after, end],
                method=method,
                rtol=rtol,
                atol=problem.atol(rtol),
                raise_on_failure=False,
            )
        y = solution.y[-1]
    if solution is None:
        raise RuntimeError(f"{problem.name} has no time span.")
    return solution


def _stiff(problem: StiffProblem, method: Any, rtol: float) -> Finding:
    solution = solved(problem, method, rtol)
    units = float(problem.error(solution.y[-1], reference(problem.name))) / rtol
    name = type(method).__name__
    good = solution.success and units <= UNITS
    found = f"{units:.3g} x tolerance, {int(solution.counts.accepted.sum())} steps, {solution.status}"
    return Finding(f"{problem.name}, n = {len(problem.y0)}", f"{name}, rtol {rtol:g}", 1, found, f"<= {UNITS:g}", good)


def coupled(t: Any, y: Tensor) -> Tensor:
    """y1' = y1 y2 + cos t, y2' = -y1^2 + sin(2 t) y2: coupled, nonlinear, with coefficients that depend on time."""
    a, b = y.unbind(-1)
    time = torch.as_tensor(t)
    s, c = torch.sin(2 * time), torch.cos(time)
    return torch.stack(
        [a * b + (c if time.ndim == 0 else c[..., 0]), -(a**2) + (s if time.ndim == 0 else s[..., 0]) * b], -1
    )


def _order(name: str) -> Finding:
    method, order = ORDERS[name]
    # The root mean square over many starts: a single one may have accidental cancellations.
    y0 = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = ode.odeint(coupled, y0, [0.0, 2.0], method=ode.SciPy("DOP853"), rtol=1e-13, atol=1e-14).y[-1]
    counts = [64, 128, 256] if order > 3 else [320, 640, 1280]
    errors = []
    for steps in counts:
        control = ode.Fixed(2.0 / steps)
        solution = ode.odeint(coupled, y0, [0.0, 2.0], method=method, control=control, rtol=1e-8, atol=1e-8)
        errors.append(float((solution.y[-1] - truth).square().mean().sqrt()))
    slope = float(-np.polyfit(np.log(counts), np.log(errors), 1)[0])
    return Finding(
        name,
        "observed order, coupled, non-autonomous",
        len(counts),
        f"{slope:.2f}",
        f"{order} +- {SLACK}",
        abs(slope - order) <= SLACK,
    )
