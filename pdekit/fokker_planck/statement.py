"""A Fokker-Planck problem as solvers get it: an equation, the law at the start, a domain and its sides."""

from functools import cached_property
from typing import Any

import numpy as np

from pdekit.errors import InputError, ModelError
from pdekit.fokker_planck.formula import read_formula
from pdekit.fokker_planck.law import Law, Point, read_law
from pdekit.fokker_planck.sides import Domain
from pdekit.sde import SDE
from pdekit.symbolic.model import SymbolicSDE


class Statement:
    """See `FokkerPlanckProblem`.

    Attributes:
        sde: The equation with numbers.
        model: The equation with symbols, if it was stated with them.
        domain: The domain and its sides.
        initial: The law at the start as it was given.
        t0: The start.
    """

    def __init__(
        self,
        sde: SDE | SymbolicSDE,
        initial: Any = None,
        t0: float = 0.0,
        domain: Any = None,
        boundary: Any = "natural",
    ) -> None:
        self.model = sde if isinstance(sde, SymbolicSDE) else None
        self.sde = _numbers(sde)
        self.domain = Domain.of(domain, boundary, self.sde.dim, self.sde.domain, self.sde.names)
        if isinstance(t0, bool) or not isinstance(t0, int | float | np.floating) or not np.isfinite(t0):
            raise InputError(f"t0 must be a number, got {t0!r}.")
        self.t0, self.initial = float(t0), initial

    @cached_property
    def law(self) -> Law:
        """The law at the start.

        Raises:
            InputError: If there is none, or it does not lie in the domain.
        """
        if self.initial is None:
            raise InputError("This problem has no initial law: give FokkerPlanckProblem(initial=...).")
        found = read_formula(self.model, self.initial, self.domain, self.t0) or read_law(self.initial, self.sde.dim)
        if isinstance(found, Point) and not self.domain.contains(found.x[None]).all():
            raise InputError(f"The initial point {found.x} lies outside the domain: {self.domain}.")
        return found


def _numbers(sde: Any) -> SDE:
    if isinstance(sde, SDE):
        return sde
    if not isinstance(sde, SymbolicSDE):
        raise InputError(f"sde must be an SDE or a SymbolicSDE, got {type(sde).__name__}.")
    if sde.params:
        raise ModelError(
            f"The parameters {', '.join(sde.params)} have no values: pass sde.at(...) or sde.fix(...), which keeps the "
            "symbols."
        )
    return sde.at()


__all__ = ["Statement"]
