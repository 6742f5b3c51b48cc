"""Recognises the one-dimensional models whose transition density is known in closed form.

A model is recognised from its Ito coefficients, whatever the parametrisation and the declared convention, if

    dX = (a + b (X - shift)) dt + g(X) dW,    g(x)^2 = s2 (x - shift)^power,

where a, b, s2 and shift are expressions in the parameters only and

- power 0: Brownian motion with drift and the Ornstein-Uhlenbeck (Vasicek) process; normal;
- power 1: the square-root process of Cox, Ingersoll and Ross, mirrored where s2 < 0; noncentral chi-square;
- power 2: geometric Brownian motion, where a must be identically 0; log-normal.
"""

import math
from dataclasses import dataclass

import sympy
from sympy import Expr

from pdekit.symbolic import SymbolicSDE


@dataclass(frozen=True)
class Family:
    """A recognised model: dX = (a + b (X - shift)) dt + g(X) dW with g(x)^2 = s2 (x - shift)^power.

    Args:
        name: `"Brownian motion"`, `"OU"`, `"CIR"` or `"GBM"`.
        power: The power of the distance to the boundary in g^2.
        a: Drift at `shift`.
        b: Slope of the drift, per unit of time.
        s2: Scale of g^2.
        shift: The boundary where g vanishes; 0 for power 0.
    """

    name: str
    power: int
    a: Expr
    b: Expr
    s2: Expr
    shift: Expr


def recognise(model: SymbolicSDE) -> Family | None:
    """Find the closed-form family of a model, if it has one.

    Args:
        model: Any model; Stratonovich equations are converted first.

    Returns:
        The family with its coefficients as expressions in the model's parameters, or None: more than one state,
        time-dependent, outside the three families, or confined by its declared domain to less than the family's range.

    Example:
        >>> from pdekit.symbolic import SymbolicSDE
        >>> positive = dict.fromkeys(["k", "m", "D"], (0, None))
        >>> model = SymbolicSDE(["x"], ["k*m - k*x"], ["sqrt(2*D*x)"], params=positive)
        >>> family = recognise(model)
        >>> family.name, family.a, family.b, family.s2
        ('CIR', k*m, -k, 2*D)
    """
    if model.dim != 1:
        return None
    ito = model.ito()
    drift = _coefficients(ito.drift[0], ito, degree=1)
    squared = _coefficients(sympy.Add(*(g**2 for g in ito.diffusion_matrix.flat())), ito, degree=2)
    if drift is None or squared is None:
        return None
    family = _match(*drift, *squared)
    if family is None or not _unconfined(ito, family):
        return None
    return family


def _coefficients(expr: Expr, model: SymbolicSDE, degree: int) -> list[Expr] | None:
    """The coefficients of a polynomial in the state, constant first; None if it isn't one, or depends on time."""
    (x,) = model.state
    exact = sympy.nsimplify(expr, rational=True)  # with decimal numbers, differences that are zero would not cancel
    polynomial = sympy.expand(exact).as_poly(x) or sympy.cancel(exact).as_poly(x)
    if polynomial is None or not polynomial.free_symbols_in_domain <= set(model.param_symbols):
        return None
    coefficients = [sympy.cancel(c) for c in reversed(polynomial.all_coeffs())]
    if any(c != 0 for c in coefficients[degree + 1 :]):
        return None
    return (coefficients + [sympy.S.Zero] * degree)[: degree + 1]


def _match(f0: Expr, f1: Expr, q0: Expr, q1: Expr, q2: Expr) -> Family | None:
    """The family of drift f0 + f1 x and g^2 = q0 + q1 x + q2 x^2."""
    if q2 != 0:
        shift = sympy.cancel(-q1 / (2 * q2))
        is_square = sympy.cancel(q1**2 - 4 * q0 * q2) == 0
        vanishes_together = sympy.cancel(f0 + f1 * shift) == 0
        return Family("GBM", 2, sympy.S.Zero, f1, q2, shift) if is_square and vanishes_together else None
    if q1 != 0:
        shift = sympy.cancel(-q0 / q1)
        a = sympy.cancel(f0 + f1 * shift)
        absorbing = (a * q1).is_nonpositive
        return None if absorbing else Family("CIR", 1, a, f1, q1, shift)
    if q0 != 0:
        return Family("OU" if f1 != 0 else "Brownian motion", 0, f0, f1, q0, sympy.S.Zero)
    return None


def _unconfined(model: SymbolicSDE, family: Family) -> bool:
    """Whether every finite end of the declared domain is the boundary that the process has anyway."""
    ends = [end for end in model.domain[0] if math.isfinite(end)]
    return all(family.power > 0 and sympy.cancel(family.shift - sympy.nsimplify(end)) == 0 for end in ends)
