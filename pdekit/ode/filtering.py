"""The filter M^-1 of error estimates: it damps what stiff components add, which the method damps too."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.field import unseen
from pdekit.ode.nonlinear.equation import Equation, Inverse, Map, indices
from pdekit.ode.nonlinear.gmres import gmres
from pdekit.ode.nonlinear.memory import Memory

_SMALL = 32  # unknowns from which on no Jacobian is made for the filter alone, as long as products do
_DENSE = 600  # unknowns beyond which none is made at all
_RTOL = 0.02
_DIRECTIONS = 20


@torch.no_grad()
@unseen()
def damped(
    error: Tensor,
    weights: Tensor,
    *,
    equation: Equation,
    at: Tensor,
    product: Map,
    memory: Memory,
    pick: Callable[[Inverse], Map] = lambda inverse: inverse,
) -> Tensor:
    """M^-1 error, (n, d), by what is known of M where that proves right.

    A factor that is too large hides the error: the diagonal in place of M would, or a Jacobian that has changed, or an
    iteration that stopped early. So either Newton's method has just converged with the same matrix, or GMRES with what
    is known as preconditioner says how far off it is, or M is made anew. For large systems the undamped error is what
    remains; it is never too small.

    Args:
        error: The estimate, (n, d).
        weights: Of the norm, (n, d).
        equation: The step's, whose Jacobians `memory` keeps.
        at: Its root, where a new Jacobian is evaluated.
        product: v -> M v.
        memory: What is known.
        pick: Of an inverse for the whole equation the part that belongs to M.
    """
    dim = error.shape[1]
    if memory.is_confirmed("matrix"):
        return pick(memory.inverse("matrix", equation, at))(error)
    kind = "matrix" if dim <= _SMALL or memory.knows("matrix") else "diagonal"
    inverse = pick(memory.inverse(kind, equation, at))
    found = gmres(product, error, inverse, weights, rtol=_RTOL, atol=np.inf, most=min(dim, _DIRECTIONS))
    close = torch.as_tensor(found.error <= 2 * _RTOL * found.size, device=error.device)
    doubtful = ~close & torch.isfinite(error).all(-1) & torch.isfinite(at).all(-1)
    if not bool(doubtful.any()):
        return found.x
    if dim > _DENSE:
        return torch.where(doubtful.unsqueeze(-1), error, found.x)
    which = doubtful.nonzero()[:, 0].cpu().numpy()
    part, index = memory.take(which), indices(which, error)
    some = equation.take(which)
    better = pick(part.refresh("matrix", some, at[index]))(error[index])
    memory.put(which, part)
    return found.x.index_copy(0, index, better)


__all__ = ["damped"]
