"""Observed data: trajectories of one or several paths, read from files, frames and arrays."""

from pdekit.data.pairs import Pairs
from pdekit.data.trajectories import Trajectories

__all__ = ["Pairs", "Trajectories"]
