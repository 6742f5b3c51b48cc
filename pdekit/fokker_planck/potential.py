"""The potential of a stationary law without a current: phi with grad phi = D^-1 (f - div D)."""

from collections.abc import Callable
from itertools import combinations
from typing import cast

import numpy as np
import sympy
import torch

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.axis_map import AxisMap
from pdekit.fokker_planck.equation import at_points
from pdekit.fokker_planck.statement import Statement

Field = Callable[[np.ndarray], np.ndarray]
Maps = tuple[AxisMap, ...]

_PIECES = 1600


def slope_of(problem: Statement) -> Field:
    """b = D^-1 (f - div D) at states (n, d)."""

    def field(x: np.ndarray) -> np.ndarray:
        c = at_points(problem.sde, problem.t0, x)
        try:
            with np.errstate(all="ignore"):
                found = np.linalg.solve(c.tensor, c.velocity[..., None])[..., 0]
        except np.linalg.LinAlgError:
            found = np.full_like(x, np.nan)
        if not np.isfinite(found).all():
            where = np.array2string(x[np.flatnonzero(~np.isfinite(found).all(-1))[0]], precision=6)
            raise NumericalError(
                f"The noise vanishes in some direction at {where}, so that the law may be divided there, or have no "
                "density. Give a domain= that ends there, or use Grid()."
            )
        return found

    return field


def along_line(problem: Statement) -> Callable[[Maps], Field]:
    """phi = int b dx by Gauss' rule between the nodes of a map, for one state."""
    slope = slope_of(problem)
    node, weight = np.polynomial.legendre.leggauss(10)

    def between(axis: AxisMap, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s = 0.5 * (a + b)[:, None] + 0.5 * (b - a)[:, None] * node
        x, dx = axis.at(s)
        with np.errstate(over="ignore", invalid="ignore"):
            found = 0.5 * (b - a) * ((slope(x.reshape(-1, 1)).reshape(s.shape) * dx) @ weight)
        if not np.isfinite(found).all():
            raise NumericalError("The integral of D^-1 (f - div D) overflows far out.")
        return found

    def build(maps: Maps) -> Field:
        (axis,) = maps
        s = np.linspace(*axis.ends, _PIECES + 1)
        parts = between(axis, s[:-1], s[1:])
        phi = np.concatenate([[0.0], np.cumsum(parts)])
        middle = _PIECES // 2
        # Sums from the middle: huge values far out must not drown those in the center.
        phi[: middle + 1] = -np.concatenate([np.cumsum(parts[:middle][::-1])[::-1], [0.0]])
        phi[middle:] = np.concatenate([[0.0], np.cumsum(parts[middle:])])
        if axis.periodic and abs(phi[-1] - phi[0]) > 1e-9 * (1 + np.abs(parts).sum()):
            raise UnsupportedError(
                "Round the period the drift does net work, so that the stationary law has a current: use Grid()."
            )

        def field(x: np.ndarray) -> np.ndarray:
            at = axis.inverse(x[:, 0])
            nearest = np.clip(np.rint((at - s[0]) / (s[1] - s[0])).astype(int), 0, _PIECES)
            return phi[nearest] + between(axis, s[nearest], at)

        return field

    return build


def from_symbols(problem: Statement) -> Callable[[Maps], Field]:
    """phi by symbols: one state is integrated after another, each time what the others left."""
    model = problem.model
    if model is None:
        raise UnsupportedError(
            "Whether the stationary law has a current is decided with symbols: state the equation as a SymbolicSDE, or "
            "use Grid()."
        )
    x, ito, tensor = model.state, model.ito(), model.diffusion_tensor
    if sympy.simplify(cast(sympy.Expr, tensor.det())) == 0:
        raise UnsupportedError("The noise does not reach every direction, so that there is no Gibbs law: use Grid().")
    current = [f - sum(sympy.diff(tensor[i, j], x[j]) for j in range(model.dim)) for i, f in enumerate(ito.drift)]
    b = [sympy.simplify(sympy.nsimplify(e, rational=True)) for e in tensor.inv() * sympy.Matrix(current)]
    for i, j in combinations(range(model.dim), 2):
        if sympy.simplify(sympy.diff(b[i], x[j]) - sympy.diff(b[j], x[i])) != 0:
            raise UnsupportedError(
                f"The stationary law has a current: D^-1 (f - div D) is no gradient, its curl in {x[i]}, {x[j]} is not "
                "zero. Use Grid()."
            )
    phi = sympy.S.Zero
    for b_i, x_i in zip(b, x, strict=True):
        phi += sympy.integrate(sympy.expand(sympy.simplify(b_i - sympy.diff(phi, x_i))), x_i)
    if phi.has(sympy.Integral):
        raise UnsupportedError(f"SymPy does not find the integral of D^-1 (f - div D) = {b}: use Grid().")
    compiled = model.function(phi)

    def field(states: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found = compiled(problem.t0, torch.as_tensor(states), torch.zeros(0, dtype=torch.float64))
        return np.array(found.expand(len(states)).numpy())

    return lambda maps: field


__all__ = ["Field", "Maps", "along_line", "from_symbols", "slope_of"]
