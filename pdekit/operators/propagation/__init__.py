"""Truncated Taylor series through any function of torch operations; see `pdekit.operators.propagation.jet`."""

from pdekit.operators.propagation import composites, elementwise, otherwise, products, shapes  # noqa: F401 - fill the rules
from pdekit.operators.propagation.coefficient import Diagonal, Projected
from pdekit.operators.propagation.jet import Conflict, Jet, Run, Unsupported
from pdekit.operators.propagation.series import contract

__all__ = ["Conflict", "Diagonal", "Jet", "Projected", "Run", "Unsupported", "contract"]
