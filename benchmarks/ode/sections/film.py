"""A film of three species on 256 x 256 cells: the memory that its solution and its gradient take."""

import importlib.util
import resource
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdekit as pk
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context

TITLE = "Oregonator film, periodic: solution and gradient"
CELLS, SMALL, END, GIBIBYTES = 256, 12, 10.0, 8.0
SHORT = 0.3  # the end of what a run takes that is not full: the whole film takes most of an hour
FACTOR = 2.6
_EXAMPLE = Path(__file__).parents[3] / "examples" / "04_reaction_diffusion_film.py"


def run(context: Context) -> list[Row]:
    """Peak memory of the process, and the gradient of a small film against difference quotients."""
    torch.set_num_threads(context.threads)
    example = _example()
    small, end = (8, 0.5) if context.quick else (SMALL, 1.0)
    cells, whole = (8, 0.5) if context.quick else (CELLS, END if context.full else SHORT)
    begun = time.perf_counter()
    mean, slope, solution = _gradient(example, cells, whole)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    unknowns = 3 * cells**2
    dense = 8 * unknowns**2 / 2**30
    detail = (
        f"{unknowns:,} unknowns, of which a dense Jacobian would take {dense:,.0f} GiB; {seconds:.0f} s for both; "
        f"{solution.counts}; {solution.rungs}; mean of w {mean:.6f}, derivative {slope:.6f}"
    )
    metric = f"{cells} x {cells}, t in [0, {whole:g}], solution and gradient, peak memory"
    rows = [at_most(metric, peak, GIBIBYTES, "GiB", detail)]
    if not context.full:
        rows.append(skipped(f"{CELLS} x {CELLS}, t in [0, {END:g}]", "takes most of an hour: --full"))
    _, slope, _ = _gradient(example, small, end, rtol=1e-7)
    step = 1e-3
    ahead, behind = (_mean(example, small, end, FACTOR + s, rtol=1e-9) for s in (step, -step))
    error = abs(slope / ((ahead - behind) / (2 * step)) - 1)
    rows.append(at_most(f"{small} x {small}: gradient against difference quotients", error, 1e-5, detail="relative"))
    return rows


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("film", _EXAMPLE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{_EXAMPLE} can't be imported.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Slower waves than in the example's picture: the film at hand is about memory, and takes minutes as it is.
    module.Oregonator.EPSILON, module.Oregonator.EPSILON2, module.Oregonator.SIDE = 0.025, 2.5e-4, 40.0
    return module


def _solve(example: Any, cells: int, end: float, factor: Tensor, rtol: float) -> pk.ode.Solution:
    method, gradient = pk.ode.Kvaerno3(), pk.ode.Discrete(checkpoint=True)
    if rtol < 1e-6:
        method = pk.ode.Kvaerno5(nonlinear=pk.ode.NewtonKrylov())
    start = example.start(cells, FACTOR)
    field = example.Oregonator(cells, factor)
    return pk.odeint(field, start, [0.0, end], method=method, rtol=rtol, atol=0.1 * rtol, gradient=gradient)


def _gradient(example: Any, cells: int, end: float, rtol: float = 1e-3) -> tuple[float, float, pk.ode.Solution]:
    factor = torch.tensor(FACTOR, dtype=torch.float64, requires_grad=True)
    solution = _solve(example, cells, end, factor, rtol)
    mean = solution.y[-1].reshape(3, -1)[2].mean()
    (slope,) = torch.autograd.grad(mean, factor)
    return mean.item(), slope.item(), solution


def _mean(example: Any, cells: int, end: float, factor: float, rtol: float) -> float:
    with torch.no_grad():
        solution = _solve(example, cells, end, torch.tensor(factor, dtype=torch.float64), rtol)
    return solution.y[-1].reshape(3, -1)[2].mean().item()
