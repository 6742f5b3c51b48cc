"""Every operator by every exact method, eager and compiled, in float64 and float32, against SymPy in thirty digits."""

from collections.abc import Sequence

from pdekit.testing.comparison import DEFAULT_LIMIT
from pdekit.testing.matrix import Cell, Progress, run_matrix, subjects
from verification.evidence import Finding
from verification.level import Level

TITLE = "Operators against SymPy"


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """One finding per cell of the matrix."""
    cells = run_matrix(subjects(), examples=level.examples, compiled=level.compiled, device=device, progress=progress)
    return findings(cells, ours=True)


def findings(cells: Sequence[Cell], *, ours: bool) -> list[Finding]:
    """Cells as lines of evidence; those of peers are shown and not judged."""
    return [
        Finding(
            cell.operator,
            f"{cell.method}, {cell.form}, {cell.mode}, {cell.dtype}",
            cell.trials,
            f"{cell.units:.2g} units" + (f"; {cell.violations} wrong" if cell.violations else ""),
            f"{DEFAULT_LIMIT:g} units, 0 wrong",
            cell.good if ours else None,
            cell.failure,
        )
        for cell in cells
    ]


__all__ = ["TITLE", "findings", "run"]
