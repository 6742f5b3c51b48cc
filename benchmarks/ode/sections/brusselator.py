"""The Brusselator with diffusion, d 200: evaluations at equal error; Jacobi's iteration barely converges here."""

from benchmarks.ode.race import Entry, race
from benchmarks.results import Row
from benchmarks.runner import Context

TITLE = "Brusselator, d 200, max |err| / (1 + |y|) <= 2e-4 at the end"
ERROR, MOST = 2e-4, 1000
SOLVERS = ("Anderson", "NewtonKrylov", "Newton", "Ladder")
METHODS = ("Kvaerno5", "RadauIIA5", "Kvaerno3", "TRBDF2")


def run(context: Context) -> list[Row]:
    """The fewest f-equivalents of sixteen declared settings; a stretch target."""
    settings = [f"{method} {solver}" for method in METHODS for solver in SOLVERS]
    if context.quick:
        settings = ["TRBDF2 Newton"]
    return race("ode_brusselator", [Entry("brusselator", settings, ERROR, MOST)], context)
