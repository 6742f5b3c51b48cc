"""Anderson acceleration of the Jacobi-Newton iteration."""

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.nonlinear.equation import Equation, Inverse, indices
from pdekit.ode.nonlinear.outcome import Outcome

_RIDGE = 1e-13  # of the mean square of the differences: only what rounding makes singular is held back
_SLOWEST = 0.97
_HOPELESS = 1e4  # times the first residual


def accelerate(
    equation: Equation, z: Tensor, inverse: Inverse, *, limit: float, most: int, window: int, rate: np.ndarray
) -> Outcome:
    """Iterate z <- z + g - (dZ + dG) gamma with g = -P R(z) and gamma the least squares solution of dG gamma = g.

    dZ and dG are the last differences of z and g. The error is (I - B)^-1 g, B being the plain iteration's matrix, so a
    sample has converged when |g| / (1 - rate) is below the limit, with the contraction rate of the plain iteration: a
    small increment of an accelerated one proves nothing.

    Args:
        equation: The system.
        z: Where to begin, (n, m).
        inverse: P.
        limit: The error allowed, in the equation's norm.
        most: The most iterations.
        window: How many differences are used.
        rate: The contraction rate of the plain iteration as far as it is known, else NaN, (n,).

    Source: H. F. Walker and P. Ni, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49 (2011)
    1715.
    """
    outcome = Outcome.at(z)
    at = np.arange(len(z))
    factor = 1 - np.clip(np.nan_to_num(rate, nan=_SLOWEST), 0.0, _SLOWEST)
    first = np.full(len(z), np.inf)
    steps: list[Tensor] = []  # differences of z
    slopes: list[Tensor] = []  # differences of g
    old_z = old_g = z
    for k in range(most):
        g = -inverse(equation.residual(z))
        size = equation.norm(g)
        done = size <= limit * factor
        first = np.fmin(first, size) if k else size
        lost = ~(size <= _HOPELESS * first)
        stop = done | lost if k + 1 < most else np.ones_like(done)
        if stop.any():
            stopped = np.flatnonzero(stop)
            where = indices(stopped, z)
            # One more plain step is free: g is known.
            outcome.put(
                at[stopped], (z + g)[where], converged=done[stopped], rate=1 - factor[stopped], iterations=k + 1
            )
            if stop.all():
                break
            keep = np.flatnonzero(~stop)
            where = indices(keep, z)
            at, factor, first = at[keep], factor[keep], first[keep]
            equation, inverse, z, g = equation.take(keep), inverse.take(keep), z[where], g[where]
            old_z, old_g = old_z[where], old_g[where]
            steps, slopes = [s[where] for s in steps], [s[where] for s in slopes]
        if k:
            steps, slopes = [*steps[1 - window :], z - old_z], [*slopes[1 - window :], g - old_g]
        old_z, old_g = z, g
        z = z + g if not slopes else z + g - _combined(steps, slopes, g, equation.weights)
    return outcome


def _combined(steps: list[Tensor], slopes: list[Tensor], g: Tensor, weights: Tensor) -> Tensor:
    """(dZ + dG) gamma by the normal equations, (n, m)."""
    z, d = torch.stack(steps, 1), torch.stack(slopes, 1)  # (n, window, m)
    w = d * weights.unsqueeze(1)
    gram = (w @ w.mT).double()
    scale = gram.diagonal(dim1=1, dim2=2).sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    gram = gram / (scale.unsqueeze(1) * scale.unsqueeze(2))
    right = (w @ (g * weights).unsqueeze(-1)).squeeze(-1).double() / scale
    eye = torch.eye(len(steps), dtype=gram.dtype, device=gram.device)
    gamma = torch.linalg.solve_ex(gram + _RIDGE * eye, right)[0] / scale
    gamma = torch.where(torch.isfinite(gamma), gamma, 0.0).to(g.dtype)
    return torch.einsum("nw,nwm->nm", gamma, z + d)


__all__ = ["accelerate"]
