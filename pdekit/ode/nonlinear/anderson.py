"""Anderson acceleration of the Jacobi-Newton iteration."""

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.nonlinear.equation import Equation, Inverse, indices, rounding
from pdekit.ode.nonlinear.outcome import Outcome

_RIDGE = 1e-13  # of the mean square of the differences: only what rounding makes singular is held back
_FAR = 1e6  # beside slopes
_HOPELESS = 1e4  # times the first residual


def accelerate(
    equation: Equation, z: Tensor, inverse: Inverse, *, limit: float, most: int, window: int, rate: np.ndarray
) -> Outcome:
    """Iterate z <- z + g - (dZ + dG) gamma with g = -P R(z) and gamma the least squares solution of dG gamma = g.

    dZ and dG are the last differences of z and g. The error is (I - B)^-1 g, B being the plain iteration's matrix: a
    small g proves nothing where I - B is nearly singular. A sample has converged when |g| / s is below the limit, s
    being the smallest of 1 - rate, if the plain iteration's contraction rate is known, of all |dg| / |dz| so far, which
    is |(I - B) dz| / |dz|, and of the same for all combinations of the last differences.

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
    factor = np.where(rate < 1, 1 - rate, np.nan)
    first = np.full(len(z), np.inf)
    steps: list[Tensor] = []  # differences of z
    slopes: list[Tensor] = []  # differences of g
    old_z = old_g = z
    for k in range(most):
        g = -inverse(equation.residual(z))
        size = equation.norm(g)
        if k:
            steps, slopes = [*steps, z - old_z][-window:], [*slopes, g - old_g][-window:]
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.fmin(factor, equation.norm(slopes[-1]) / equation.norm(steps[-1]))
        done = size <= limit * factor
        if slopes and done.any():
            factor = np.fmin(factor, _smallest_slope(steps, slopes, equation.weights))
            done = size <= limit * factor
        done |= size <= rounding(equation, z)
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
            steps, slopes = [s[where] for s in steps], [s[where] for s in slopes]
        old_z, old_g = z, g
        z = z + g if not slopes else z + g - _combined(steps, slopes, g, equation.weights)
    return outcome


def _smallest_slope(steps: list[Tensor], slopes: list[Tensor], weights: Tensor) -> np.ndarray:
    """min |dG c| / |dZ c| over the c for which dZ c is more than rounding, (n,)."""
    z, d = (torch.stack(x, 1) * weights.unsqueeze(1) for x in (steps, slopes))
    scale = 1 / torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    z, d = scale * z, scale * d
    gram, other = ((x @ x.mT).double() for x in (z, d))
    bad = ~(torch.isfinite(gram) & torch.isfinite(other)).flatten(1).all(1)
    gram, other = (torch.where(bad[:, None, None], 0.0, x) for x in (gram, other))
    values, vectors = torch.linalg.eigh(gram)
    # Where dZ c is small, rounding of dZ and dG is a large part of it.
    kept = values > torch.finfo(z.dtype).eps ** 0.5 * values[:, -1:]
    root = torch.where(kept, values.clamp_min(0).rsqrt(), 0.0).nan_to_num(posinf=0.0)
    within = root.unsqueeze(-1) * (vectors.mT @ other @ vectors) * root.unsqueeze(-2)
    within = within + torch.diag_embed(torch.where(kept, 0.0, _FAR))
    found = torch.linalg.eigvalsh(within)[:, 0].clamp_min(0).sqrt()
    return torch.where(bad, torch.nan, found).cpu().numpy()


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
