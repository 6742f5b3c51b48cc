"""What a way of solving Fokker-Planck problems has to offer."""

from abc import ABC, abstractmethod

import numpy as np

from pdekit.errors import UnsupportedError
from pdekit.fokker_planck.solution import DensitySolution
from pdekit.fokker_planck.statement import Statement


class DensityMethod(ABC):
    """A method with its options."""

    @abstractmethod
    def solve(self, problem: Statement, times: np.ndarray) -> DensitySolution:
        """The density at times (k,), not before the start."""

    def stationary(self, problem: Statement) -> DensitySolution:
        """The density that does not change."""
        raise UnsupportedError(f"{type(self).__name__}() finds no stationary laws. Use Grid() or ClosedForm().")


__all__ = ["DensityMethod"]
