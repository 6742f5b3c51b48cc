"""From data to a fitted SDE: likelihoods, filters, discovery, learned coefficients, error bars and diagnostics."""

from pdekit.fitting.comparison import Comparison, compare
from pdekit.fitting.estimation import fit
from pdekit.fitting.filtering import Observation
from pdekit.fitting.kramers_moyal import KramersMoyal
from pdekit.fitting.neural import NeuralSDE, TransitionStream
from pdekit.fitting.result import Fit, Parameter
from pdekit.fitting.snapshots import SnapshotMatching
from pdekit.fitting.sparse import Library, SparseSDE

__all__ = [
    "Comparison",
    "Fit",
    "KramersMoyal",
    "Library",
    "NeuralSDE",
    "Observation",
    "Parameter",
    "SnapshotMatching",
    "SparseSDE",
    "TransitionStream",
    "compare",
    "fit",
]
