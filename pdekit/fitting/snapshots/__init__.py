"""Fitting to snapshots: unpaired samples of the law of a state at several times."""

from pdekit.fitting.snapshots.divergence import knn_divergence
from pdekit.fitting.snapshots.equilibrium import equal_laws
from pdekit.fitting.snapshots.estimate import SnapshotEstimate, SnapshotMethod, fit_snapshots
from pdekit.fitting.snapshots.matched import MatchedSDE
from pdekit.fitting.snapshots.matching import Match, match
from pdekit.fitting.snapshots.options import SnapshotMatching

__all__ = [
    "Match",
    "MatchedSDE",
    "SnapshotEstimate",
    "SnapshotMatching",
    "SnapshotMethod",
    "equal_laws",
    "fit_snapshots",
    "knn_divergence",
    "match",
]
