"""A hollow field of 200 states, each coupled with every other: evaluations at equal error, solver by solver."""

from benchmarks.ode.race import Entry, race
from benchmarks.results import Row
from benchmarks.runner import Context

TITLE = "Hollow field, d 200, max |err| / (1 + |y|) <= 5e-5 at the end"
ERROR, MOST = 5e-5, 5000
COUPLINGS = (0.8, 0.3, 1.5)
SOLVERS = ("JacobiNewton", "Anderson", "NewtonKrylov", "Newton", "Ladder")
METHODS = ("Kvaerno5", "RadauIIA5")


def run(context: Context) -> list[Row]:
    """The fewest f-equivalents of ten declared settings, each at the loosest of eight tolerances that suffices."""
    solvers, methods, couplings = (SOLVERS[:1], METHODS[:1], (0.3,)) if context.quick else (SOLVERS, METHODS, COUPLINGS)
    settings = [f"{method} {solver}" for method in methods for solver in solvers]
    entries = [Entry(f"hollow_{c}", settings, ERROR, MOST if c == COUPLINGS[0] else None) for c in couplings]
    return race("ode_hollow", entries, context)
