"""The domain that a user's own formulas suggest, so that sqrt(x) needs no flag."""

import math
from collections.abc import Iterable

import sympy
from sympy import Expr, Symbol
from torch import Tensor

from pdekit.data import Snapshots, Trajectories
from pdekit.symbolic import SymbolicSDE

Domain = tuple[float, float]


def suggest_domain(model: SymbolicSDE, data: Trajectories | Snapshots) -> tuple[Domain, ...]:
    """The interval of each state between the points where its noise vanishes or a formula ends, around the data.

    sigma*sqrt(x), sigma*x and sigma*x**gamma give (0, inf) to positive data, sqrt(x*(1 - x)) gives (0, 1). A point
    that the data lie on both sides of is no end, nor is one that depends on parameters.

    Args:
        model: Stated on the whole real line.
        data: As many columns as the model has states.

    Example:
        >>> data = Trajectories.from_arrays([0.0, 1.0, 2.0], [1.0, 2.0, 1.5])
        >>> suggest_domain(SymbolicSDE("x", "k*(m - x)", "s*sqrt(x)"), data)
        ((0.0, inf),)
    """
    parts = data.samples if isinstance(data, Snapshots) else data.values
    found = []
    for i, x in enumerate(model.state):
        noise = [g for g in model.diffusion_matrix.row(i) if g != 0]
        points = {p for base in _bases([model.drift[i]], noise, x) for p in _real_roots(base, x)}
        found.append(_around(points, [values[:, i] for values in parts]))
    return tuple(found)


def _bases(drift: Iterable[Expr], noise: list[Expr], x: Symbol) -> set[Expr]:
    """Expressions in x alone at whose zeros a formula ends (a root, a logarithm, a pole) or the noise vanishes."""
    ends = set()
    for formula in (*drift, *noise):
        ends |= {p.base for p in formula.atoms(sympy.Pow) if not (p.exp.is_integer and p.exp.is_nonnegative)}
        ends |= {log.args[0] for log in formula.atoms(sympy.log)}
    if len(noise) == 1:
        ends |= {factor.as_base_exp()[0] for factor in sympy.Mul.make_args(noise[0])}
    return {base for base in ends if base.free_symbols == {x}}


def _real_roots(base: Expr, x: Symbol) -> list[float]:
    if not base.is_polynomial(x):
        return []
    return [float(root) for root in sympy.Poly(base, x).nroots() if abs(sympy.im(root)) == 0]


def _around(points: set[float], values: list[Tensor]) -> Domain:
    least, most = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    lower = max((p for p in points if p <= least), default=-math.inf)
    upper = min((p for p in points if p >= most), default=math.inf)
    return lower, upper
