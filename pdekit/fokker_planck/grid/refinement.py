"""Richardson extrapolation of log-densities over grids whose cells are halved, and what it says of the error.

Errors of the scheme are even powers of the cell width: log u_h = log u + a h^2 + b h^4 + ... In the logarithm the
extrapolated density stays positive, and the far tails profit as the bulk does.
"""

from dataclasses import dataclass, replace

import numpy as np

from pdekit.fokker_planck.grid.discretisation import Discretisation

_OVERFLOW = 300.0  # of squares of what is raised to the power of e
_FLOOR = 640.0  # of log u below its greatest value: what doubles can tell from zero
_NOISE = 28.0  # the same where negative masses were mended
_SAFETY = 8.0
_UNCERTAIN, _SMALL = 15.0, 0.07
_MENDED = 3.0  # times the second correction: five times the error of Kramers' oscillators where the first is small
_SHRINKS = 0.5  # the second correction of the first, else it is left out
_LARGE = 0.02  # a first correction from which on powers of the cell width can't be relied upon
_NARROW = 0.45  # a change of log u from cell to cell, in the root mean square: peaks with a deviation of 2.2 cells
_STALLED = (
    0.5  # what the last halving of cells changed over what the one before did; a quarter where powers have set in
)


@dataclass(frozen=True, eq=False)
class Masses:
    """What a single grid found at one time.

    Args:
        columns: Masses of nodes, (N, c).
        weights: (c,): the logarithm of the solution is the mean of those of the columns with these weights.
        positive: Whether small masses are as accurate as large ones, relative to themselves.
        smooth: Whether errors fall with even powers of the cell width: the start was smooth.
        least: A relative error that the start brings along.
    """

    columns: np.ndarray
    weights: np.ndarray
    positive: bool
    smooth: bool = True
    least: float = 0.0


@dataclass(frozen=True, eq=False)
class Refined:
    """What several grids say together, at the nodes of the finest.

    Args:
        log_ratio: log u over what vanishes at absorbing sides, extrapolated, (N,).
        first: The correction of log u that the two finest grids make, (N,); None on a single grid.
        second: That which the third adds, (N,); None on two.
        levels: log u on each grid, coarse to fine, (N,).
        shape: Nodes along each axis of the finest.
    """

    log_ratio: np.ndarray
    first: np.ndarray | None = None
    second: np.ndarray | None = None
    levels: tuple[np.ndarray, ...] = ()
    shape: tuple[int, ...] = ()

    def error(self, weights: np.ndarray, *, smooth: bool, positive: bool, least: float) -> float | None:
        """The estimated error of log u, in the root mean square with these weights (N,).

        The second correction is smaller than the first by a factor that falls with the square of the cell width; so is,
        as far as three grids can tell, the third, which was left out. Where that factor is not small, the powers of the
        cell width have not set in, and corrections are as uncertain as they are large. Where the peaks of the density
        are hardly wider than cells, or halving cells does not help, differences of the grids themselves are what is
        left to go by.

        Args:
            weights: See above.
            smooth: See `Masses`.
            positive: See `Masses`. If not, errors of third order dominate early: the second correction is not much
                smaller than the first, but larger than the error by itself.
            least: What more grids don't mend; see `Discretisation`.
        """
        if self.first is None:
            return None
        first = _size(self.first, weights)
        if self.second is None:
            return first + least
        second = _size(self.second, weights)
        most = 2 * (first + second)
        last, before = self._changes(weights)
        if self._unresolved(weights) or (first > _LARGE and last > _STALLED * before):
            return max(most, 2 * (last + before)) + least
        if not smooth:
            return min(second * _SAFETY, most) + least
        if not positive and first <= _LARGE and second <= first:
            return min(_MENDED * second, most) + least
        if first > _LARGE or second > _SHRINKS * first:
            return most + least
        gain = second / first if first > 0 else 0.0
        return min(second * max(_SAFETY * gain, _UNCERTAIN * min(1.0, (gain / _SMALL) ** 2)), most) + least

    def _changes(self, weights: np.ndarray) -> tuple[float, float]:
        """What the last halving of cells changed in u, relative to u, and what the one before did."""
        coarse, middle, fine = (np.exp(np.minimum(level - self.log_ratio, _OVERFLOW)) for level in self.levels)
        return _size(fine - middle, weights), _size(middle - coarse, weights)

    def _unresolved(self, weights: np.ndarray) -> bool:
        u, w = self.log_ratio.reshape(self.shape), weights.reshape(self.shape)
        along = [np.moveaxis(u, i, 0) for i in range(u.ndim)], [np.moveaxis(w, i, 0) for i in range(u.ndim)]
        return any(_size(np.diff(a, axis=0), 0.5 * (b[1:] + b[:-1])) > _NARROW for a, b in zip(*along, strict=True))


def _size(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sqrt((weights * values**2).sum() / weights.sum()))


def log_ratio(grid: Discretisation, mass: np.ndarray, *, positive: bool) -> np.ndarray:
    """log u from masses, with finite values everywhere, and without what vanishes at absorbing sides, (N,)."""
    vanishing = grid.vanishing(grid.coordinates)
    alive = grid.alive & (vanishing > 0)
    with np.errstate(divide="ignore"):
        found = np.log(np.maximum(mass, 0.0)) - grid.log_weight - np.log(np.where(alive, vanishing, 1.0))
    found = np.maximum(found, found[alive].max() - (_FLOOR if positive else _NOISE))
    return found if alive.all() else _continued(found.reshape(grid.shape), alive.reshape(grid.shape)).reshape(-1)


def _continued(values: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Values at dead nodes on sides, by cubics through those next to them."""
    found = values.copy()
    for axis in range(values.ndim):
        rows, living = np.moveaxis(found, axis, 0), np.moveaxis(alive, axis, 0)
        for end, inner in ((0, (1, 2, 3, 4)), (-1, (-2, -3, -4, -5))):
            if not living[end].any() and len(rows) >= 5:
                a, b, c, d = (rows[k] for k in inner)
                rows[end] = 4 * a - 6 * b + 4 * c - d
    return found


def refine(grids: list[Discretisation], ratios: list[np.ndarray], *, positive: bool) -> Refined:
    """The limit of fine grids.

    Args:
        grids: Coarse to fine, each with half the cell width of the one before; one to three.
        ratios: log u on each.
        positive: See `Masses`. If not, u itself is extrapolated, and errors of third order are reckoned with.
    """
    fine = grids[-1]
    levels = [grid.spline(u)(fine.coordinates) for grid, u in zip(grids[:-1], ratios[:-1], strict=True)]
    levels.append(ratios[-1])
    kept = {"levels": tuple(levels), "shape": fine.shape}
    if positive:
        return replace(_extrapolated(levels, 4, np.exp(2 * (levels[-1] - levels[-1].max()))), **kept)
    most = max(level.max() for level in levels)
    found = _extrapolated([np.exp(level - most) for level in levels], 3, np.ones(len(levels[-1])))
    u = np.maximum(found.log_ratio, np.exp(-_NOISE))
    first, second = (None if c is None else c / u for c in (found.first, found.second))
    return Refined(np.log(u) + most, first, second, **kept)


def _extrapolated(levels: list[np.ndarray], order: int, weights: np.ndarray) -> Refined:
    """The limit of levels whose errors are powers 2 and `order` of the cell width."""
    if len(levels) == 1:
        return Refined(levels[0])
    first = (levels[-1] - levels[-2]) / 3
    if len(levels) == 2:
        return Refined(levels[-1] + first, first)
    before = levels[-2] + (levels[-2] - levels[-3]) / 3
    second = (levels[-1] + first - before) / (2**order - 1)
    if _size(second, weights) > _SHRINKS * _size(first, weights):
        return Refined(levels[-1] + first, first, second)
    # Where grids are too coarse for the powers to show, in far tails, the second correction says nothing.
    limit = np.abs(first)
    return Refined(levels[-1] + first + np.clip(second, -limit, limit), first, second)


__all__ = ["Masses", "Refined", "log_ratio", "refine"]
