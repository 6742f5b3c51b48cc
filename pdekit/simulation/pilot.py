"""Choosing the step: a small pilot run, halved until halving no longer matters."""

import warnings

import torch
from torch import Tensor

from pdekit.sde import SDE
from pdekit.simulation.domain import Boundary, Guard
from pdekit.simulation.equation import Equation, Scheme
from pdekit.simulation.noise import BrownianStream, Increments
from pdekit.simulation.stepping import Grid, march

PATHS = 256
INTERVALS = 16
TOLERANCE = 0.01
MOST_SUBSTEPS = 4096


def choose_step(sde: SDE, scheme: Scheme, x0: Tensor, times: Tensor, boundary: Boundary, seed: int) -> float:
    """A step whose strong error over one output interval is below 1 % of how far the state moves in it.

    256 paths run over up to 16 intervals as long as the longest one asked for. At each of their starts the scheme runs
    twice on the same Brownian paths, once with n and once with 2n substeps; n doubles until the root mean square
    difference is below 1 % of the root mean square displacement, in every state. The order of the scheme makes the
    error of the finer run, whose states are carried on, smaller still.

    Args:
        sde: The equation, in the convention of the scheme.
        scheme: The scheme to choose for.
        x0: Start (paths, d); its first 256 paths are used, repeated if there are fewer.
        times: Output times (T,).
        boundary: The boundary rule.
        seed: Seed of the pilot's own noise.

    Returns:
        The longest step that passes, in units of time. Warns and returns the finest one tried (1/4096 of the longest
        interval) if none passes.
    """
    longest = float(times.diff().max())
    intervals = min(INTERVALS, max(1, int((times[-1] - times[0]) / longest)))
    start = x0.detach().repeat(-(-PATHS // len(x0)), 1)[:PATHS]
    outputs = times[0] + longest * torch.arange(intervals + 1, dtype=torch.float64)
    n, error = 1, float("inf")
    while n <= MOST_SUBSTEPS:
        error = _relative_error(sde, scheme, start, outputs, n, boundary, seed)
        if error <= TOLERANCE:
            return longest / n
        n *= 2
    found = f"{error:.1%}" if error < 1 else "more than 100%"
    warnings.warn(
        f"No step down to {longest / MOST_SUBSTEPS:.3g} brought the error over one output interval below "
        f"{TOLERANCE:.0%} (it is {found}). Ask for closer output times, or give dt to choose the step yourself.",
        stacklevel=3,
    )
    return longest / MOST_SUBSTEPS


def _relative_error(
    sde: SDE, scheme: Scheme, start: Tensor, outputs: Tensor, n: int, boundary: Boundary, seed: int
) -> float:
    """The largest rms difference over the states between n and 2n substeps, relative to the rms displacement."""
    eq = Equation.of(sde, start)
    span = float(outputs[1] - outputs[0])
    stream = BrownianStream(seed, len(start), sde.noise_dim or sde.dim, integrals=scheme.integrals, like=start)
    error, moved = torch.zeros_like(start[0]), torch.zeros_like(start[0])
    for pair in outputs.unfold(0, 2, 1):
        fine_grid, coarse_grid = Grid.build(pair, span / (2 * n)), Grid.build(pair, span / n)
        noise = stream.draw(fine_grid.lengths)
        fine = _end(eq, scheme, fine_grid, start, noise, boundary, sde.names)
        coarse = _end(eq, scheme, coarse_grid, start, noise.coarsened(span / (2 * n)), boundary, sde.names)
        error += (fine - coarse).square().mean(0)
        moved += (fine - start).square().mean(0)
        if not bool(torch.isfinite(error).all()) or bool((error > moved).any()):
            return float("inf")  # unstable: go on with half the step
        start = fine
    return float((error / moved.clamp(min=torch.finfo(moved.dtype).tiny)).sqrt().max())


def _end(
    eq: Equation, scheme: Scheme, grid: Grid, x: Tensor, noise: Increments, boundary: Boundary, names: tuple[str, ...]
) -> Tensor:
    # A step that leaves the domain is no reason to stop a pilot: reflection compares it like any other.
    guard = Guard("reflect" if boundary == "raise" else boundary, eq, names, x)
    return march(eq, scheme, grid, slice(0, len(grid.lengths)), x, noise, guard)[-1]
