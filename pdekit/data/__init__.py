"""Observed data: trajectories of one or several paths, and snapshots, read from files, frames and arrays."""

from pdekit.data.pairs import Pairs
from pdekit.data.snapshots import Snapshots
from pdekit.data.trajectories import Trajectories

__all__ = ["Pairs", "Snapshots", "Trajectories"]
