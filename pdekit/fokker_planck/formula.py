"""An initial density given as a formula: compiled, found, and normalised."""

from itertools import product
from typing import Any

import numpy as np
import sympy
import torch

from pdekit.errors import InputError
from pdekit.fokker_planck.law import Formula
from pdekit.fokker_planck.sides import Domain
from pdekit.symbolic.model import SymbolicSDE

_POINTS = {1: 4001, 2: 257, 3: 65}  # nodes along an axis, by dimension
_FIRST = 4.0  # half the width of the first box looked at
_ROUNDS = 24
_FAINT = 1e-12
_CHANGE = 1e-6


def read_formula(model: SymbolicSDE | None, initial: Any, domain: Domain, t0: float) -> Formula | None:
    """The law of a formula in a model's states, normalised; None if `initial` is no formula.

    Raises:
        InputError: If there is no model, the formula is negative somewhere, or can't be normalised.
    """
    if not isinstance(initial, str | sympy.Basic):
        return None
    if model is None:
        raise InputError("An initial density as a formula needs an equation stated as a SymbolicSDE.")
    if domain.dim > 3:
        raise InputError(
            "An initial density as a formula is normalised on a grid, in up to three states: give samples."
        )
    compiled = model.function(initial)

    def density(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found = compiled(t0, torch.as_tensor(x), torch.zeros(0, dtype=torch.float64))
        return np.array(found.expand(len(x)).numpy())

    box, total = _box(density, domain, str(initial))

    def log_p(x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(density(x)) - np.log(total)

    return Formula(log_p, box, domain.dim)


def _box(density: Any, domain: Domain, text: str) -> tuple[np.ndarray, float]:
    """A box, (2, d), that holds nearly all of a density, and its integral.

    The box is doubled until the integral stays the same, then cut down to where the density is.
    """
    low, high = np.array(domain.lower), np.array(domain.upper)
    half, before = _FIRST, None
    for _ in range(_ROUNDS):
        box = np.array([_interval(a, b, half) for a, b in zip(low, high, strict=True)]).T
        for _ in range(3):
            total, box, edge = _cut(density, box, domain, text)
        if total > 0 and before is not None and abs(total - before) <= _CHANGE * total and edge <= _FAINT:
            return box, total
        if total > 0 and np.isfinite(low).all() and np.isfinite(high).all():
            return box, total
        before, half = total, 2 * half
    raise InputError(
        f"The initial density {text} can't be normalised over {domain}: its integral goes on growing, is zero, or its "
        "tails are too heavy to be followed; such a law can be given as one of torch.distributions."
    )


def _interval(low: float, high: float, half: float) -> tuple[float, float]:
    """The part of a state's domain that is looked at."""
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    if np.isfinite(low):
        return low, low + 2 * half
    if np.isfinite(high):
        return high - 2 * half, high
    return -half, half


def _cut(density: Any, box: np.ndarray, domain: Domain, text: str) -> tuple[float, np.ndarray, float]:
    """The integral over a box, the part of it where the density is not faint, and its value at free ends."""
    n, dim = _POINTS[domain.dim], domain.dim
    axes = [np.linspace(box[0, i], box[1, i], n) for i in range(dim)]
    # Ends of the domain may be singular: midpoints.
    middle = [0.5 * (a[1:] + a[:-1]) for a in axes]
    x = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, dim)
    p = density(x)
    if not np.isfinite(p).all() or (p < 0).any():
        where = np.array2string(x[np.flatnonzero(~np.isfinite(p) | (p < 0))[0]], precision=6)
        raise InputError(f"The initial density {text} is negative or not finite at {where}.")
    most = p.max()
    if most == 0:
        return 0.0, box, 0.0
    total = float(p.sum() * np.prod([a[1] - a[0] for a in axes]))
    grid, edge, found = p.reshape((n - 1,) * dim) / most, 0.0, box.copy()
    for i, side in product(range(dim), (0, 1)):
        profile = grid.max(axis=tuple(j for j in range(dim) if j != i))
        free = not np.isfinite((domain.lower, domain.upper)[side][i])
        edge = max(edge, float(profile[-side]) if free else 0.0)
        seen = np.flatnonzero(profile > _FAINT)
        end = axes[i][max(seen[0] - 2, 0)] if side == 0 else axes[i][min(seen[-1] + 3, n - 1)]
        found[side, i] = end if free else box[side, i]
    return total, found, edge


__all__ = ["read_formula"]
