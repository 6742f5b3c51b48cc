"""exp(Q t) P: masses of nodes after a time, by products with Q or, over long times, by a contour integral.

Jump rates that are not negative keep every mass positive, to the far tails: P(t) is a sum of positive terms. Over long
times this takes as many products as there are jumps; then exp(Q t) P is the sum of a dozen sparse solves along a
contour around the spectrum, followed by a short step that is positive again.

Source: A. H. Al-Mohy and N. J. Higham, Computing the action of the matrix exponential, SIAM J. Sci. Comput. 33 (2011)
488; J. A. C. Weideman, Optimizing Talbot's contours for the inversion of the Laplace transform, SIAM J. Numer. Anal.
44 (2006) 2342.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import expm_multiply, splu

from pdekit.fokker_planck.grid.assembly import Rates
from pdekit.fokker_planck.grid.jumps import after_jumps
from pdekit.fokker_planck.grid.progress import Tell, silent

_POINTS = 24  # of the contour: 3.89^-24 = 7e-15
_PRODUCT = 1e-9  # seconds for each rate in a product, about
_SOLVE = {1: 2e-7, 2: 4e-6, 3: 2e-3}  # seconds for each node in a sparse solve, by dimension, about
_LAST = 2000.0  # jumps of the positive step at the end
_SOLVED = 1e-9  # of the mass: what sums of solves may miss
_PARTS = 16


@dataclass(frozen=True, eq=False)
class Evolution:
    """P(t) for constant rates.

    Args:
        rates: Q.
        dim: Of the grid: what a sparse solve costs depends on it.
        parts: In how many steps an evolution is mended that is not positive.
        tell: Is told how far each evolution is.
    """

    rates: Rates
    dim: int
    parts: int = _PARTS
    tell: Tell = silent

    def __call__(self, mass: np.ndarray, duration: float) -> np.ndarray:
        """exp(Q duration) mass, (N, c)."""
        matrix = self.rates.matrix
        if not self.rates.positive:
            return self._mended(mass, duration)
        fastest = float(-matrix.diagonal().min())
        jumps = fastest * duration
        by_products = jumps * matrix.nnz * _PRODUCT
        by_solves = _POINTS / 2 * self.rates.size * _SOLVE[self.dim]
        if jumps <= 2 * _LAST or by_products <= by_solves:
            return after_jumps(matrix, mass, duration, self.tell)
        last = _LAST / fastest
        found = _contour(matrix, mass, duration - last)
        if _off(matrix, mass, found) > _SOLVED + np.finfo(float).eps * jumps:
            return self(self(mass, 0.5 * duration), 0.5 * duration)
        return after_jumps(matrix, np.maximum(found, 0.0), last)

    def _mended(self, mass: np.ndarray, duration: float) -> np.ndarray:
        """In steps; what has become negative after one is taken from its neighbours."""
        matrix, neighbours = self.rates.matrix, neighbours_of(self.rates)
        for part in range(self.parts):
            mass = _exponential(matrix, mass, duration / self.parts)
            mass = np.stack([filled(column, neighbours) for column in mass.T], -1)
            self.tell((part + 1) / self.parts)
        return mass


def _exponential(matrix: sp.csr_array, mass: np.ndarray, duration: float) -> np.ndarray:
    return expm_multiply(matrix * duration, mass, traceA=float(matrix.diagonal().sum()) * duration)


def _contour(matrix: sp.csr_array, mass: np.ndarray, duration: float) -> np.ndarray:
    """(1 / 2 pi i) int e^z (z - Q t)^-1 P dz by the midpoint rule; conjugate points count twice. NaN where it fails."""
    total, identity = np.zeros_like(mass), sp.eye_array(len(mass), format="csc")
    scaled = (matrix * duration).tocsc()
    for k in range(_POINTS // 2):
        theta = (2 * k + 1) * np.pi / _POINTS
        cot = 1 / np.tan(0.6407 * theta)
        z = _POINTS * (0.5017 * theta * cot - 0.6122 + 0.2645j * theta)
        slope = _POINTS * (0.5017 * cot - 0.5017 * 0.6407 * theta * (1 + cot**2) + 0.2645j)
        try:
            found = splu(z * identity - scaled).solve(mass.astype(complex))
        except RuntimeError:  # singular, but for rounding
            return np.full_like(mass, np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # which `_off` tells
            total += 2 * np.real(-1j * np.exp(z) * slope * found) / _POINTS
    return total


def _off(matrix: sp.csr_array, before: np.ndarray, after: np.ndarray) -> float:
    """By what share of the mass a contour has gone wrong: what became negative, and what came or went from nowhere.

    The rates of a chain are far from symmetric: where mass begins in places that it hardly ever gets back to, solutions
    along the contour are so large that nothing is left of the digits of their sum. Products over shorter times bring it
    to where it stays. A sum that is not finite is infinitely wrong.
    """
    if not np.isfinite(after).all():
        return np.inf
    total = before.sum(axis=0)
    off = np.maximum(-after, 0.0).sum(axis=0)
    leak = -matrix.sum(axis=0)
    if np.abs(leak).max() <= _SOLVED * np.abs(matrix.diagonal()).max():
        off = np.maximum(off, np.abs(after.sum(axis=0) - total))
    return float((off / total).max())


def neighbours_of(rates: Rates) -> sp.csr_array:
    """Which nodes exchange mass, each in equal shares."""
    rows, columns = rates.matrix.nonzero()
    apart = rows != columns
    return sp.csr_array((np.ones(apart.sum()), (rows[apart], columns[apart])), shape=(rates.size, rates.size))


def filled(mass: np.ndarray, neighbours: sp.csr_array, rounds: int = 20) -> np.ndarray:
    """Masses without negative ones: each is taken from positive neighbours in proportion to what they have.

    The total stays the same. What is left after some rounds is taken from all.
    """
    for _ in range(rounds):
        lack = np.maximum(-mass, 0.0)
        if not lack.any():
            return mass
        have = np.maximum(mass, 0.0)
        offered = neighbours @ have
        share = np.where(offered > 0, np.minimum(lack, 0.5 * offered) / np.where(offered > 0, offered, 1.0), 0.0)
        taken = have * (neighbours.T @ share)
        # No node gives more than it has.
        scale = np.where(taken > 0.5 * have, 0.5 * have / np.where(taken > 0, taken, 1.0), 1.0)
        given = neighbours @ (have * scale)
        mass = mass - have * scale * (neighbours.T @ share) + share * given
    positive, lack = np.maximum(mass, 0.0), float(np.maximum(-mass, 0.0).sum())
    return positive * (1.0 - lack / max(float(positive.sum()), np.finfo(float).tiny))


def through(
    rates_at: Callable[[float], Rates],
    dim: int,
    mass: np.ndarray,
    start: float,
    end: float,
    steps: int,
    tell: Tell = silent,
) -> np.ndarray:
    """P(end) for rates that depend on time, by the exponential midpoint rule: of second order, and positive."""
    length = (end - start) / steps
    for k in range(steps):
        mass = Evolution(rates_at(start + (k + 0.5) * length), dim, parts=1)(mass, length)
        tell((k + 1) / steps)
    return mass


__all__ = ["Evolution", "filled", "neighbours_of", "through"]
