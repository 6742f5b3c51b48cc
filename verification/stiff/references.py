"""End values of the stiff test set: `python -m verification.stiff.references [NAME ...]` computes and keeps them.

SciPy integrates each problem with the exact Jacobian, once at the tolerance of its recipe and once at ten times that.
The difference of the two, in the problem's own scale, is the estimate of the reference's error. Where there is a closed
form, or a published value better than SciPy reaches within minutes, that is the reference, and SciPy's distance from it
is the error. Either bounds the true error from above.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix
from torch import Tensor, nn

from pdekit.errors import ConvergenceError, InputError
from verification.stiff.catalogue import problem, stiff_set
from verification.stiff.problem import StiffProblem

FILE = Path(__file__).with_name("references.json")


@dataclass(frozen=True)
class Recipe:
    """How a reference is computed.

    Args:
        method: SciPy's method.
        rtol: The relative tolerance of the better run.
        lift: A matrix L with y = L z, if the problem is solved in fewer variables z.
        known: The variables that are z, as indices of y.
        trust: Whether the published value is the reference.
    """

    method: str = "Radau"
    rtol: float = 1e-11
    lift: tuple[tuple[float, ...], ...] | None = None
    known: tuple[int, ...] = ()
    trust: bool = False


RECIPES = {
    # In (y1, y3, y4) no rounding breaks y2 = y3 + y4. In all four variables the end values carry 1e-5 of it.
    "e5": Recipe(lift=((1, 0, 0), (0, 1, 1), (0, 1, 0), (0, 0, 1)), known=(0, 2, 3)),
    # Thousands of oscillations: fifth-order methods need hours for ten digits. The published value is from RADAU, of
    # order up to 13, at 1e-12. LSODA at 1e-11, 1e-12 and 1e-13 comes within 2e-7, 3e-8 and 4e-9 of it.
    "ring_modulator": Recipe("LSODA", rtol=1e-9, trust=True),
}


def reference(name: str) -> Tensor:
    """The end value of a problem, (d,), float64.

    Raises:
        InputError: If there is no problem of that name, or its reference has not been computed.
    """
    return torch.tensor(record(name)["end"], dtype=torch.float64)


def record(name: str) -> dict[str, Any]:
    """The end value with its method, tolerances, cost and error, as `references.json` has them.

    `error` is in the scale of `StiffProblem.error`; `published` is the largest relative difference between SciPy and
    the published values, or None; `seconds` and `nfev` are those of the better run.

    Raises:
        InputError: As `reference`.
    """
    kept = _read()
    if name not in kept:
        raise InputError(f"No reference for {problem(name).name}: run python -m verification.stiff.references {name}.")
    return kept[name]


def fingerprint(p: StiffProblem) -> float:
    """|f(end, y0)|: a reference belongs to the problem that it was computed for."""
    return float(torch.linalg.vector_norm(p.field(p.end, p.y0)))


def compute(p: StiffProblem) -> dict[str, Any]:
    """The record of one problem."""
    recipe = RECIPES.get(p.name, Recipe())
    began = time.perf_counter()
    found, nfev = solve(p, p.end, recipe, recipe.rtol)
    seconds = time.perf_counter() - began
    truth = known_end(p, recipe)
    end = found if truth is None else truth
    other = solve(p, p.end, recipe, 10 * recipe.rtol)[0] if truth is None else found
    return {
        "method": recipe.method,
        "rtol": recipe.rtol,
        "atol": p.atol(recipe.rtol),
        "nfev": nfev,
        "seconds": round(seconds, 2),
        "scipy": scipy.__version__,
        "error": float(p.error(other, end)),
        "published": published_error(p, recipe, found),
        "fingerprint": fingerprint(p),
        "end": end.tolist(),
    }


def known_end(p: StiffProblem, recipe: Recipe) -> Tensor | None:
    """The end value in closed form, or as published where that is trusted; otherwise None."""
    if p.solution is not None:
        return p.solution(p.end)
    if recipe.trust and p.published is not None:
        return torch.tensor(p.published.values, dtype=torch.float64)
    return None


def published_error(p: StiffProblem, recipe: Recipe, end: Tensor) -> float | None:
    """SciPy's largest relative difference from what is published, at its own time; None if nothing is."""
    if p.published is None:
        return None
    time, components, values = p.published
    y = end if time == p.end else solve(p, time, recipe, recipe.rtol)[0]
    expected = torch.tensor(values, dtype=torch.float64)
    return float(((y[list(components)] - expected) / expected).abs().max())


def solve(p: StiffProblem, end: float, recipe: Recipe, rtol: float) -> tuple[Tensor, int]:
    """y(end) by the recipe at a tolerance, and the number of evaluations of f."""
    if recipe.lift is None:
        return integrate(p, end, recipe.method, rtol)
    lift, known = torch.tensor(recipe.lift, dtype=torch.float64), list(recipe.known)
    smaller = replace(p, field=_Lifted(p.field, lift, known), y0=p.y0[known])
    z, nfev = integrate(smaller, end, recipe.method, rtol)
    return lift @ z, nfev


class _Lifted(nn.Module):
    """z' = the known components of f(t, L z)."""

    def __init__(self, field: nn.Module, lift: Tensor, known: list[int]) -> None:
        super().__init__()
        self.field, self.lift, self.known = field, lift, known

    def forward(self, t: float, z: Tensor) -> Tensor:
        return self.field(t, z @ self.lift.T)[..., self.known]


def integrate(p: StiffProblem, end: float, method: str, rtol: float) -> tuple[Tensor, int]:
    """y(end) by SciPy, restarted at each break, and the number of evaluations of f.

    Raises:
        ConvergenceError: If SciPy gives up.
    """
    y, nfev = p.y0.numpy(), 0
    times = [p.start, *(b for b in p.breaks if b < end), end]
    options: dict[str, Any] = {"method": method, "rtol": rtol, "atol": p.atol(rtol)}
    if method in ("Radau", "BDF"):
        options["jac"] = _jacobian(p)
    for begin, stop in pairwise(times):
        # f is continuous from the left at a break: the next piece begins just after it.
        begin = begin if begin == p.start else float(np.nextafter(begin, np.inf))
        solution = solve_ivp(_field(p), (begin, stop), y, **options)
        if not solution.success:
            raise ConvergenceError(f"{p.name}: SciPy's {method} stopped at t = {solution.t[-1]:g}: {solution.message}")
        y, nfev = solution.y[:, -1], nfev + int(solution.nfev)
    return torch.from_numpy(y.copy()), nfev


def _field(p: StiffProblem) -> Callable[[float, np.ndarray], np.ndarray]:
    def f(t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return p.field(float(t), torch.from_numpy(y)).numpy()

    return f


def _jacobian(p: StiffProblem) -> Callable[[float, np.ndarray], Any]:
    """The exact Jacobian, stored sparsely for grids."""

    def dense(t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.func.jacfwd(lambda x: p.field(float(t), x))(torch.from_numpy(y)).numpy()

    sparse = p.dim >= 100 and np.count_nonzero(dense(p.start, p.y0.numpy())) < 0.1 * p.dim**2
    return (lambda t, y: csc_matrix(dense(t, y))) if sparse else dense


def _read() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def main() -> None:
    """Compute the references named, or all, and keep each as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m verification.stiff.references", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names or [p.name for p in stiff_set()]
    torch.set_num_threads(1)
    for p in map(problem, names):
        found = compute(p)
        kept = {**_read(), p.name: found}
        ordered = {q.name: kept[q.name] for q in stiff_set() if q.name in kept}
        FILE.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        print(f"{p.name:20} d = {p.dim:<4} {found['seconds']:8.2f} s, {found['nfev']:8} f, error {found['error']:.1e}")


if __name__ == "__main__":
    main()
