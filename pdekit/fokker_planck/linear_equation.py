"""Linear equations dX = (A(t) X + a(t)) dt + G(t) dW, recognised."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from torch import Tensor

from pdekit.errors import PdekitError
from pdekit.fokker_planck.statement import Statement
from pdekit.operators import to_ito
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE

_FAR = 1024.0  # a power of two: where slopes are taken
_SPREADS = (0.01, 1.0, 30.0, 1000.0)  # of the random states at which a drift has to be linear
_ROUNDING = 1e-10  # relative, for "the same": a drift of many terms loses some digits


@dataclass(frozen=True, eq=False)
class Coefficients:
    """At one time.

    Args:
        matrix: A, (d, d).
        shift: a, (d,).
        tensor: D = G G^T / 2, (d, d).
    """

    matrix: np.ndarray
    shift: np.ndarray
    tensor: np.ndarray


@dataclass(frozen=True, eq=False)
class Linear:
    """An equation that is linear.

    Args:
        at: Its coefficients at a time.
        autonomous: Whether they are always the same.
    """

    at: Callable[[float], Coefficients]
    autonomous: bool


def read_linear(problem: Statement, times: np.ndarray | None) -> Linear | None:
    """The linear equation of a problem; None if it is not linear, or confined.

    With symbols this is proven. Otherwise the drift is compared with its own linear part at states of many sizes and,
    where it depends on time, at several times up to the last one.
    """
    if any(side != "natural" for sides in problem.domain.sides for side in sides):
        return None
    if np.isfinite(problem.domain.lower).any() or np.isfinite(problem.domain.upper).any():
        return None
    if problem.model is not None:
        return _from_symbols(problem.model)
    return _from_numbers(problem.sde, problem.t0, problem.t0 if times is None else float(times[-1]))


def _from_symbols(model: SymbolicSDE) -> Linear | None:
    drift, tensor = sympy.Matrix(model.ito().drift), model.diffusion_tensor
    # Written in another way, a term may cancel that stays in sight: only simplify() tells.
    matrix = drift.jacobian(model.state).applyfunc(sympy.simplify)
    shift = drift.subs(dict.fromkeys(model.state, 0)) if not matrix.free_symbols & set(model.state) else drift
    tensor = tensor.applyfunc(sympy.simplify)
    shift = shift.applyfunc(sympy.simplify)
    if (matrix.free_symbols | tensor.free_symbols | shift.free_symbols) & set(model.state):
        return None
    if shift.has(sympy.nan, sympy.zoo, sympy.oo):
        shift = (drift - matrix * sympy.Matrix(model.state)).applyfunc(sympy.simplify)
    functions = [model.function(entry) for entry in (matrix, list(shift), sympy.Matrix(tensor))]
    origin, none = torch.zeros(1, model.dim, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    shapes = ((model.dim, model.dim), (model.dim,), (model.dim, model.dim))

    def at(t: float) -> Coefficients:
        found = [f(t, origin, none) for f in functions]
        return Coefficients(*[np.array(v.expand(1, *s)[0].numpy()) for v, s in zip(found, shapes, strict=True)])

    return Linear(at, model.autonomous)


def _from_numbers(sde: SDE, t0: float, last: float) -> Linear | None:
    ito = to_ito(sde)
    unit = torch.eye(sde.dim, dtype=torch.float64) * _FAR
    states = torch.cat([torch.zeros(1, sde.dim, dtype=torch.float64), unit, -unit])

    def at(t: float) -> Coefficients:
        with torch.no_grad():
            f = ito.drift(t, states).double().expand(len(states), sde.dim).numpy()
            tensor = _tensor(sde, t, states[:1])[0]
        ahead, behind = f[1 : sde.dim + 1], f[sde.dim + 1 :]
        return Coefficients((ahead - behind).T / (2 * _FAR), np.array(f[0]), tensor)

    moments = [t0] if sde.autonomous else [t0 + (last - t0) * share for share in (0.0, 0.137, 0.5, 0.731, 1.0)]
    try:
        with np.errstate(all="ignore"):
            if not all(_holds(ito, sde, at(t), t) for t in moments):
                return None
    except (PdekitError, RuntimeError):  # a field that can't be evaluated everywhere is not linear
        return None
    return Linear(at, sde.autonomous)


def _holds(ito: SDE, sde: SDE, c: Coefficients, t: float) -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([s * torch.randn(16, sde.dim, generator=generator, dtype=torch.float64) for s in _SPREADS])
    with torch.no_grad():
        f = ito.drift(t, x).double().expand(len(x), sde.dim).numpy()
        tensor = _tensor(sde, t, x)
    size = np.abs(x.numpy()) @ np.abs(c.matrix).T + np.abs(c.shift)
    linear = np.abs(f - x.numpy() @ c.matrix.T - c.shift) <= _ROUNDING * (size + size.mean())
    constant = np.abs(tensor - c.tensor) <= _ROUNDING * np.abs(c.tensor).max()
    return bool(linear.all() and constant.all())


def _tensor(sde: SDE, t: float, x: Tensor) -> np.ndarray:
    g = sde.diffusion(t, x).double()
    if sde.noise_type == "diagonal":
        return torch.diag_embed(0.5 * g.expand(x.shape) ** 2).numpy()
    g = g.expand(len(x), *g.shape[-2:])
    return (0.5 * g @ g.transpose(-1, -2)).numpy()


__all__ = ["Coefficients", "Linear", "read_linear"]
