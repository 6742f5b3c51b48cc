"""What a nonlinear solver returns."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pdekit.ode.nonlinear.equation import indices


@dataclass
class Outcome:
    """Roots, or how far it came.

    Args:
        z: The last iterate, (n, m).
        converged: Which samples converged, (n,).
        rate: The contraction rate measured, (n,); NaN where one iteration was enough.
        iterations: (n,).
    """

    z: Tensor
    converged: np.ndarray
    rate: np.ndarray
    iterations: np.ndarray

    @classmethod
    def at(cls, z: Tensor) -> "Outcome":
        """Nothing done yet."""
        n = len(z)
        return cls(z, np.zeros(n, dtype=bool), np.full(n, np.nan), np.zeros(n, dtype=np.int64))

    def put(
        self, keep: np.ndarray, z: Tensor, *, converged: np.ndarray, rate: np.ndarray, iterations: int | np.ndarray
    ) -> None:
        """Take over what was found for the samples `keep`."""
        self.z = z if len(keep) == len(self.z) else self.z.index_copy(0, indices(keep, self.z), z)
        self.converged[keep], self.rate[keep] = converged, rate
        self.iterations[keep] += iterations


__all__ = ["Outcome"]
