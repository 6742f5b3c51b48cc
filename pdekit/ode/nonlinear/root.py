"""`solve_root`: roots of a batch of systems by any of the nonlinear solvers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import ConvergenceError, InputError
from pdekit.ode.counting import Counts
from pdekit.ode.field import Field, autonomous
from pdekit.ode.field_check import SOLVE_ROOT, check_field
from pdekit.ode.implicit_function import with_gradient
from pdekit.ode.nonlinear.closed_form import check_diagonal
from pdekit.ode.nonlinear.equation import column, indices, where_rows
from pdekit.ode.nonlinear.gmres import gmres
from pdekit.ode.nonlinear.ladder import Ladder
from pdekit.ode.nonlinear.memory import Kind, Memory
from pdekit.ode.nonlinear.outcome import Outcome
from pdekit.ode.nonlinear.root_equation import RootEquation, RootSystem
from pdekit.ode.nonlinear.solvers import Newton, Solver
from pdekit.ode.numbers_given import one_of, real, whole
from pdekit.ode.storage import complete, counts_as_tensors, counts_from, read, write

_RTOL = {torch.float32: 1e-4, torch.float64: 1e-8}
_ATOL = 1e-2  # of rtol
_HALVINGS = 12
_DENSE = 32
_FACTORISED, _DIRECTIONS, _LINEAR = 600, 200, 0.01


@dataclass(frozen=True, eq=False)
class Root:
    """Roots of a batch of systems.

    Args:
        z: The roots, (*batch, m), differentiable in all that F uses; NaN where none was found.
        converged: Which were found, (*batch).
        residual: The largest |F| of each, (*batch).
        counts: What each cost.
    """

    z: Tensor
    converged: np.ndarray
    residual: np.ndarray
    counts: Counts

    def __repr__(self) -> str:
        largest = f", largest residual {np.max(self.residual):.3g}" if self.residual.size else ""
        return f"Root({int(self.converged.sum())} of {self.converged.size} found{largest}, {self.counts})"

    def save(self, path: str | Path) -> None:
        """Write everything to a safetensors file; `load` reads it again, without gradients.

        Raises:
            InputError: If it can't be written.
        """
        tensors = {
            "z": self.z,
            "converged": torch.as_tensor(self.converged),
            "residual": torch.as_tensor(self.residual),
        }
        write(path, "root", {}, tensors | counts_as_tensors(self.counts))

    @classmethod
    def load(cls, path: str | Path) -> "Root":
        """Read what `save` wrote.

        Raises:
            InputError: If there is no such file.
            DataError: If the file is no such file, or was written by a later major version.
        """
        _, tensors = read(path, "root")
        with complete(path):
            return cls(tensors["z"], tensors["converged"].numpy(), tensors["residual"].numpy(), counts_from(tensors))


def solve_root(
    function: Callable[..., Tensor],
    z0: Tensor,
    *,
    method: Solver = Ladder(),
    rtol: float | None = None,
    atol: float | None = None,
    context: Tensor | None = None,
    restarts: int = 50,
    order: int = 1,
    raise_on_failure: bool = True,
) -> Root:
    """Solve F(z) = 0 for every sample of a batch.

    The solver is started again from where it came to, with a new Jacobian, and by shorter ways where |F| grows.

    Args:
        function: F(z) or F(z, context=...), (*batch, m) -> (*batch, m), row by row; a hollow function has a cheap
            diagonal. It is called for the samples that are not solved yet.
        z0: Where to begin, (*batch, m), float32 or float64.
        method: How.
        rtol: The error may be atol + rtol |z|. By default 1e-8, in float32 1e-4.
        atol: See there. By default a hundredth of rtol.
        context: What F needs to know of each sample, (*batch, c).
        restarts: How often at most.
        order: Up to which order gradients are wanted, 1 or 2.
        raise_on_failure: Whether a sample without a root raises.

    Returns:
        The roots; gradients by the implicit function theorem.

    Raises:
        InputError: If F or z0 have the wrong form.
        ConvergenceError: If a root is not found.

    Example:
        >>> root = solve_root(lambda z: z**2 - 2, torch.tensor([[1.0]], dtype=torch.float64))
        >>> round(float(root.z), 7)
        1.4142136
    """
    _check_inputs(method, z0, context)
    rtol, atol = _tolerances(rtol, atol, z0.dtype)
    restarts, order = whole(restarts, "restarts"), one_of(order, "order must be 1 or 2", (1, 2))
    batch = z0.shape[:-1]
    z = z0.detach().reshape(batch.numel(), z0.shape[-1])
    n = len(z)
    counts = Counts.none(n)
    flat = None if context is None else context.reshape(n, -1)
    field = Field(autonomous(function), counts, np.arange(n), z0.ndim == 1, flat, _with_time(method.diagonal))
    value = check_field(field, np.zeros(n), z, differentiated=True, caller=SOLVE_ROOT)
    check_diagonal(field, np.zeros(n), z)
    equation = RootEquation(RootSystem(replace(field, has_graph=value.requires_grad)), torch.ones_like(z))
    with torch.no_grad():
        start, (z, converged) = z, _search(equation, z, method, rtol, atol, restarts)
        residual = equation.residual(z).abs().amax(-1).cpu().numpy()
    if raise_on_failure and not converged.all():
        worst = int(np.flatnonzero(~converged)[0])
        raise ConvergenceError(
            f"{(~converged).sum()} of {n} roots were not found; the first is sample {worst}, where |F| is still "
            f"{residual[worst]:.3g}. {_advice(equation, worst, start, z)}"
        )
    if torch.is_grad_enabled():
        z = with_gradient(z, equation.residual, equation.system, order)
    bad = torch.as_tensor(~converged, device=z.device).unsqueeze(-1)
    z = torch.where(bad, torch.nan, z) if (~converged).any() else z
    shape = tuple(batch)
    return Root(z.reshape(z0.shape), converged.reshape(shape), residual.reshape(shape), counts.copy())


def _check_inputs(method: Any, z0: Any, context: Any) -> None:
    if not isinstance(method, Solver):
        raise InputError(f"method must be a solver such as Ladder() or Newton(), an object, got {method!r}.")
    if not isinstance(z0, Tensor) or z0.ndim == 0 or z0.dtype not in _RTOL:
        came = f"{tuple(z0.shape)} {z0.dtype}" if isinstance(z0, Tensor) else type(z0).__name__
        raise InputError(f"z0 must be a tensor of floating-point numbers, (*batch, m), float32 or float64, got {came}.")
    if z0.shape[-1] == 0 or not bool(torch.isfinite(z0).all()):
        raise InputError(f"z0 must have one unknown at least and be finite, got {_short(z0)}.")
    batch = z0.shape[:-1]
    if context is not None and (not isinstance(context, Tensor) or context.ndim == 0 or context.shape[:-1] != batch):
        came = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
        raise InputError(f"context must be a tensor with a row for each sample, {(*batch, 'c')}, got {came}.")


def _short(z0: Tensor) -> str:
    bad = torch.nonzero(~torch.isfinite(z0)).tolist()
    return f"{float(z0[tuple(bad[0])])} at {tuple(bad[0])}" if bad else f"shape {tuple(z0.shape)}"


def _tolerances(rtol: Any, atol: Any, dtype: torch.dtype) -> tuple[float, float]:
    def given(value: Any, name: str) -> float:
        return real(value, f"{name} must be a number that is not negative", lambda x: 0 <= x < np.inf)

    rtol = _RTOL[dtype] if rtol is None else given(rtol, "rtol")
    atol = _ATOL * rtol if atol is None else given(atol, "atol")
    # At a root that is zero something must be allowed; squares of its inverse must be finite.
    return rtol, max(atol, torch.finfo(dtype).tiny ** 0.25)


def _advice(equation: RootEquation, sample: int, start: Tensor, z: Tensor) -> str:
    """What to say about a root that was not found."""
    some = equation.take(np.array([sample]))
    if some.states <= _FACTORISED:
        before, there = (some.matrix(x[sample : sample + 1])[0].detach() for x in (start, z))
        if bool(torch.isfinite(before).all() & torch.isfinite(there).all()):
            sizes = torch.linalg.svdvals(there)
            largest = torch.maximum(sizes[0], torch.linalg.svdvals(before)[0])
            if bool(sizes[-1] <= torch.finfo(z.dtype).eps ** 0.5 * largest):
                return (
                    "F's Jacobian is singular there. A root may be a multiple one, or one of many: look for equations "
                    "that say the same, or fix an unknown. Or there is none, and |F| is flat there: try another z0."
                )
    return "Try another z0, method=Newton(), or look whether there is a root."


def _with_time(diagonal: Callable[..., Tensor] | None) -> Callable[..., Tensor] | None:
    return None if diagonal is None else lambda t, z, **context: diagonal(z, **context)


def _search(
    equation: RootEquation, z: Tensor, method: Solver, rtol: float, atol: float, restarts: int
) -> tuple[Tensor, np.ndarray]:
    n = len(z)
    found, memory = np.zeros(n, dtype=bool), Memory(n)
    size = _sizes(equation, z)
    for _ in range(restarts):
        at = np.flatnonzero(~found)
        some, start, part = equation.take(at), z[indices(at, z)], memory.take(at)
        some = replace(some, weights=1 / (atol + rtol * start.abs()))
        part.begin_step()
        outcome = method.solve(some, start, part, 1.0)
        _confirm(some, outcome)
        for kind in ("diagonal", "matrix"):
            part.expire(kind, ~outcome.converged)
        memory.put(at, part)
        moved, reached = _shortened(some, start, outcome.z, size[at])
        better = outcome.converged | (reached < size[at])
        if not better.all():
            # Iterates with one slope may go round in circles: one step with a new slope, shortened, does not.
            kind: Kind = "matrix" if some.states <= _DENSE or isinstance(method, Newton) else "diagonal"
            increment = part.refresh(kind, some, start)(some.residual(start))
            step, short = _shortened(some, start, start - increment, size[at])
            use = ~better & (short < size[at])
            moved, reached = where_rows(~use, moved, step), np.where(use, short, reached)
            better = better | use
        z = z.index_copy(0, indices(at, z), torch.where(column(better, z) > 0, moved, start))
        size[at], found[at] = np.where(better, reached, size[at]), outcome.converged
        if found.all() or not better.any():
            break
    return z, found


def _confirm(equation: RootEquation, outcome: Outcome) -> None:
    """A root is one if a true Newton step from it, which is made, stays within the tolerance.

    What an iteration knows of its error is what its own steps have shown: on large grids, not enough.
    """
    at = np.flatnonzero(outcome.converged)
    if not len(at):
        return
    some, z = equation.take(at), outcome.z[indices(at, outcome.z)]
    residual, off = some.residual(z), np.zeros(len(at))
    if some.states <= _FACTORISED:
        step = some.inverse_by_matrix(some.matrix(z))(residual)
    else:
        inverse = some.inverse_by_diagonal(some.diagonal(z))
        found = gmres(some.product(z), residual, inverse, some.weights, rtol=_LINEAR, atol=np.inf, most=_DIRECTIONS)
        step, off = found.x, found.error
    size = some.norm(step)
    finite = np.isfinite(size) & np.isfinite(off)
    outcome.z = outcome.z.index_copy(0, indices(at, z), where_rows(finite, z - step, z))
    outcome.converged[at] = finite & (size + off <= 1)


def _shortened(equation: RootEquation, start: Tensor, end: Tensor, size: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """On the way from start to end as far as |F| shrinks."""
    moved, part = end, np.ones(len(start))
    for _ in range(_HALVINGS):
        reached = _sizes(equation, moved)
        worse = ~(reached < size) & (reached > 0)
        if not worse.any():
            break
        part = np.where(worse, part / 2, part)
        target = torch.where(torch.isfinite(end), end, start)
        moved = torch.where(column(part, start) == 1, end, start + column(part, start) * (target - start))
    return moved, _sizes(equation, moved)


def _sizes(equation: RootEquation, z: Tensor) -> np.ndarray:
    return equation.residual(z).double().square().mean(-1).sqrt().cpu().numpy()


__all__ = ["Root", "solve_root"]
