"""Operators on any callable: what the layers above share about drifts, diffusions and densities."""

from pdekit.operators.convention import ito_drift, to_ito

__all__ = ["ito_drift", "to_ito"]
