"""The part of an unbounded domain that a grid has to cover: where the density is, and hardly more."""

from collections.abc import Callable

import numpy as np

from pdekit.errors import NumericalError
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.frame import Frame
from pdekit.fokker_planck.grid.refinement import Masses

_FAINT = 1e-9  # of the greatest density: less is left out
_WIDER = 0.5
_MARGIN = 0.04
_CUTS = 2
_ROUNDS = 12
_CELLS, _MOST_CELLS = {1: 128, 2: 48, 3: 28}, {1: 2048, 2: 256, 3: 64}


class NeverFaintError(NumericalError):
    """The density is not faint at the ends of what is covered, however far they are moved."""


def settled(frame: Frame, run: Callable[[Discretisation, int], list[Masses]], *, widen: bool) -> Frame:
    """The frame with its free ends moved to where the density is faint.

    Args:
        frame: Where simulated paths are, and generously beyond.
        run: What a grid finds.
        widen: Whether ends may be moved outwards: paths that have not settled yet don't show all of an equilibrium.

    Raises:
        NeverFaintError: If it is not faint however far they are moved.
    """
    if not frame.free.any():
        return frame
    shrunk, least = 0, _CELLS[len(frame.ends)]
    cells = (least,) * len(frame.ends)
    for _ in range(_ROUNDS):
        grid = frame.grid(cells) if shrunk else frame.grid(cells).crude()
        profile = _profiles(grid, run(grid, 1))
        ends, wider, narrower = frame.ends.copy(), False, False
        for i, p in enumerate(profile):
            seen, reach = np.flatnonzero(p > _FAINT), np.ptp(frame.ends[i])
            for side, first in ((0, seen[0]), (1, len(p) - 1 - seen[-1])):
                sign = -1.0 if side == 0 else 1.0
                if not frame.free[i, side]:
                    continue
                if first <= 1 and widen:
                    ends[i, side] += sign * _WIDER * reach
                    wider = True
                elif first > 0.1 * len(p):
                    ends[i, side] -= sign * (first / len(p) - _MARGIN) * reach
                    narrower = True
        if not wider and not (narrower and shrunk < _CUTS):
            return frame
        shrunk += narrower
        moved = frame.moved(ends)
        if np.array_equal(moved.ends, frame.ends):
            return frame
        # A wider window gets more cells: wide ones spread mass by themselves.
        growth = np.ptp(moved.ends, axis=1) / np.ptp(frame.ends, axis=1)
        cells = tuple(int(n) for n in np.clip(np.ceil(cells * growth), least, _MOST_CELLS[len(cells)]))
        frame = moved
    raise NeverFaintError(
        f"The density does not become faint towards the ends of {frame}, however far they are moved: it may not be "
        "normalisable. Give a domain=, a boundary=, or Grid(window=...)."
    )


def _profiles(grid: Discretisation, found: list[Masses]) -> list[np.ndarray]:
    """The greatest mass of a node at any time and place on the other axes, in units of the greatest of all, by axis."""
    best = np.zeros(grid.shape)
    for masses in found:
        most = masses.columns.max(-1).reshape(grid.shape)
        best = np.maximum(best, most / most.max())
    return [best.max(axis=tuple(j for j in range(grid.dim) if j != i)) for i in range(grid.dim)]


__all__ = ["NeverFaintError", "settled"]
