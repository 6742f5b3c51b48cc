"""Proofs with symbols that a formula is a density that solves a Fokker-Planck equation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy
from sympy import Expr, Symbol

from pdekit.fokker_planck.sides import Domain
from pdekit.symbolic.entries import read_entry
from pdekit.symbolic.model import SymbolicSDE
from pdekit.symbolic.oracles import Equation


@dataclass(frozen=True)
class Proof:
    """What was found.

    Args:
        density: The formula.
        residual: d_t p - L* p, over p and simplified: 0 for a solution.
        stationary: Whether the formula does not depend on time.
        limits: (state, lower, upper) of each state.
    """

    density: Expr
    residual: Expr
    stationary: bool
    limits: tuple[tuple[Symbol, Expr, Expr], ...]

    @cached_property
    def mass(self) -> Expr:
        """Its integral over the domain, simplified: 1 for a density; an `Integral` where SymPy finds no value.

        Looked for when it is asked for: integrals in several states may take minutes.
        """
        found: Expr = self.density
        for limits in self.limits:
            found = sympy.integrate(found, limits)
        return sympy.simplify(found)

    @property
    def solves(self) -> bool:
        """Whether the residual is zero, proven."""
        return self.residual == 0

    @property
    def normalised(self) -> bool | None:
        """Whether the mass is one, proven; None where SymPy can't tell."""
        if self.mass.has(sympy.Integral):
            return None
        return bool(sympy.simplify(self.mass - 1) == 0)

    def __bool__(self) -> bool:
        return self.solves and self.normalised is True

    def __repr__(self) -> str:
        kind = "stationary density" if self.stationary else "density"
        return f"Proof({kind} {self.density}: residual {self.residual})"


def prove(model: SymbolicSDE, exact: Any, domain: Domain) -> Proof:
    """Whether a formula in the states and the time solves d_t p = L* p, and integrates to one.

    Args:
        model: The equation; its drift is converted to Ito's sense from the definition.
        exact: The density, as text or a SymPy expression; at equilibrium without the time.
        domain: Over which it integrates to one.

    Raises:
        ExpressionError: If it does not read as a formula.
    """
    symbols = {s.name: s for s in (*model.state, model.time, *model.param_symbols)}
    p = read_entry(exact, symbols, tuple(model.params), "exact density")
    equation = Equation.of(model)
    # Divided by p, exponentials cancel before anything is simplified.
    residual = sympy.simplify(
        sympy.expand(sympy.simplify((sympy.diff(p, model.time) - equation.fokker_planck(p).doit()) / p))
    )
    ends = zip(model.state, domain.lower, domain.upper, strict=True)
    limits = tuple((x, _exact(low), _exact(high)) for x, low, high in ends)
    return Proof(p, residual, model.time not in p.free_symbols, limits)


def _exact(end: float) -> Expr:
    if end in (float("inf"), float("-inf")):
        return sympy.oo if end > 0 else -sympy.oo
    return sympy.nsimplify(end, rational=True)


__all__ = ["Proof", "prove"]
