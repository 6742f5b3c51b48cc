"""The Fokker-Planck equation on a grid: coordinate, finite-volume generator, its kernels and transition densities."""

from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid
from pdekit.fokker_planck.transition import GridTransition

__all__ = ["Chain", "FiniteVolumeGrid", "GridTransition", "LampertiCoordinate"]
