"""One integration as an outcome: its status, its error, and what it cost.

f-equivalents are evaluations of f, of the Jacobian's diagonal, and products with the Jacobian or its transpose; a dense
Jacobian is n products. Factorisations and triangular solves are told apart.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ode.limit import TooLong, time_limit
from benchmarks.operators.measure import duration
from benchmarks.runner import Outcome
from pdekit import ode
from verification.stiff import StiffProblem
from verification.stiff.references import reference

LIMIT = 60.0  # seconds for one integration, unless the run is full
_COSTS = ("f", "diagonal", "jvp", "vjp", "factorisations", "solves", "accepted", "rejected", "unsolved")
_EQUIVALENTS = _COSTS[:4]


def method(name: str) -> Any:
    """`"Kvaerno5"`, `"Kvaerno5 Anderson"` with the solver of its equations, or `"SciPy BDF"`."""
    kind, *options = name.split()
    if kind == "SciPy":
        return ode.SciPy(*options)  # type: ignore[arg-type]
    solvers = [getattr(ode, solver)() for solver in options]
    return getattr(ode, kind)(*solvers)


def integrate(problem: StiffProblem, name: str, rtol: float, limit: float | None = None, **options: Any) -> Outcome:
    """A problem of the stiff set by one of our methods, restarted at each break.

    Args:
        problem: Which.
        name: See `method`.
        rtol: The tolerance; the absolute one goes with it.
        limit: Seconds.
        options: Of `odeint`.

    Returns:
        An outcome with `status`, `error` in units of rtol, `finite`, `seconds`, and the counts.
    """
    spent = dict.fromkeys(_COSTS, 0)
    y, status = problem.y0, "success"

    def run() -> Tensor:
        nonlocal y, status
        for start, end in pieces(problem):
            found = ode.odeint(
                problem.field,
                y,
                [start, end],
                method=method(name),
                rtol=rtol,
                atol=problem.atol(rtol),
                raise_on_failure=False,
                **options,
            )
            for cost in _COSTS:
                spent[cost] += int(getattr(found.counts, cost).sum())
            y, status = found.y[-1], str(found.status)
            if not found.success:
                break
        return y

    outcome = timed(run, lambda: spent, limit, lambda end: judged(problem, end, rtol))
    return outcome | {"rtol": rtol, "status": outcome.get("status") or status}


def timed(
    run: Callable[[], Any], spent: Callable[[], dict[str, int]], limit: float | None, judge: Callable[[Any], Outcome]
) -> Outcome:
    """An outcome: what `judge` says of the result, what was `spent`, and the seconds; `status` if it took too long."""
    begun = time.perf_counter()
    try:
        with time_limit(limit):
            result = run()
        found = judge(result)
    except TooLong as reached:
        found = {"status": str(reached), "error": float("nan"), "finite": True}
    seconds, costs = time.perf_counter() - begun, spent()
    return found | costs | {"equivalents": sum(costs.get(key, 0) for key in _EQUIVALENTS), "seconds": seconds}


def judged(problem: StiffProblem, end: Tensor, rtol: float) -> Outcome:
    """The error at the end in units of rtol, and whether the end is finite at all."""
    return {
        "error": float(problem.error(end, reference(problem.name))) / rtol,
        "finite": bool(torch.isfinite(end).all()),
    }


def pieces(problem: StiffProblem) -> list[tuple[float, float]]:
    """From start to end, one interval between two breaks; f is continuous from the left at a break."""
    times = (problem.start, *problem.breaks, problem.end)
    return [(a if a == problem.start else float(np.nextafter(a, np.inf)), b) for a, b in pairwise(times)]


def until(error: float, rtols: Sequence[float], run: Callable[[float], Outcome]) -> list[Outcome]:
    """Runs at tighter and tighter tolerances, until one is accurate enough or takes too long."""
    outcomes: list[Outcome] = []
    for rtol in rtols:
        outcomes.append(run(rtol))
        if good(outcomes[-1], error) or took_too_long(outcomes[-1]):
            break
    return outcomes


def good(outcome: Outcome, error: float) -> bool:
    """Whether a run arrived with an error of at most so much."""
    return outcome["status"] == "success" and outcome["error"] * outcome["rtol"] <= error


def took_too_long(outcome: Outcome) -> bool:
    """Whether a run was stopped by its limit."""
    return str(outcome.get("status")).startswith("over ")


def cheapest(outcomes: Iterable[Outcome], error: float) -> Outcome | None:
    """The run with the fewest f-equivalents of those that are accurate enough."""
    return min((o for o in outcomes if good(o, error)), key=lambda o: o["equivalents"], default=None)


def told(outcome: Outcome) -> str:
    """What a run cost, in words."""
    parts = [f"{outcome[key]:,} {key}" for key in _COSTS if outcome.get(key)]
    return f"{', '.join(parts)}; {duration(outcome['seconds'])}"


def at_equal_error(points: Iterable[tuple[float, float]], error: float) -> float:
    """The cost at which an error is reached, from (error, cost) at several tolerances; NaN outside their range.

    Example:
        >>> round(at_equal_error([(1e-2, 10.0), (1e-4, 1000.0)], 1e-3))
        100
    """
    ordered = sorted((e, c) for e, c in points if np.isfinite(e) and e > 0)
    # Of tolerances of which the tighter one is both dearer and worse, the better one counts.
    useful = [(e, c) for i, (e, c) in enumerate(ordered) if all(c < other for _, other in ordered[:i])]
    errors, costs = np.log([e for e, _ in useful]), np.log([c for _, c in useful])
    if not useful or not errors[0] <= np.log(error) <= errors[-1]:
        return float("nan")
    return float(np.exp(np.interp(np.log(error), errors, costs)))


__all__ = [
    "LIMIT",
    "at_equal_error",
    "cheapest",
    "good",
    "integrate",
    "judged",
    "method",
    "pieces",
    "timed",
    "told",
    "took_too_long",
    "until",
]
