"""Masses of nodes that don't change."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.grid.assembly import Rates
from pdekit.fokker_planck.grid.evolution import filled, neighbours_of
from pdekit.fokker_planck.grid.jumps import after_jumps
from pdekit.fokker_planck.grid.krylov import solved

_CLOSED = 1e-9  # by how much log rates may miss around loops of a reversible chain
_AGREE = 1e-4  # of the mass: what two eliminations may differ by
_FEW, _MANY = 4000, 40_000  # nodes in three dimensions: elimination takes seconds, minutes
_FAINT = 1e-13  # of the greatest mass: what iterations don't find
_JUMPS = 300.0
_APART = (
    "Parts of the domain exchange so little mass that rounding decides how it is shared between them. Solve each part "
    "by itself, with a domain= of its own, or use more noise."
)


def stationary(rates: Rates, dim: int) -> np.ndarray:
    """The masses that don't change, with sum one, (N,).

    Where every loop of jumps is as likely as its reverse, masses follow from the ratios of rates, without a system of
    equations, and deep wells keep their weights. Else the mass of one node is set, and the others solve a system; a
    second round sets that of the node with the largest. In three dimensions, where that takes long, masses settle from
    two starts instead.

    Args:
        rates: Of jumps.
        dim: Of the grid.

    Raises:
        NumericalError: If there is more than one such law, or rounding decides between wells.
        UnsupportedError: If there are too many nodes for the only way there is.
    """
    found = _reversible(rates.matrix) if rates.positive else None
    if found is not None:
        return found
    if dim == 3 and rates.positive and rates.size > _FEW:
        found = _settled(rates)
        if found is not None:
            return found
    if dim == 3 and rates.size > _MANY:
        raise UnsupportedError(
            f"A stationary law of three states on {rates.size} nodes that don't settle by iterations would take "
            "hours. Use fewer cells=, or solve for a late time."
        )
    first = _eliminated(rates, int(np.argmax(rates.matrix.diagonal())))
    second = _eliminated(rates, int(first.argmax()))
    if np.abs(first - second).sum() > _AGREE:
        first, second = second, _eliminated(rates, int(second.argmax()))
    if np.abs(first - second).sum() > _AGREE:
        raise NumericalError(_APART)
    return second


def _settled(rates: Rates) -> np.ndarray | None:
    """By iterations, from masses everywhere and from a single node; None if they don't get there.

    Jumps come first: they bring mass from where it is driven fastest, else that is all that iterations see. They come
    last too: iterations leave noise in far tails, and jumps fill these with what is right there.
    """
    first = _from(rates, _jumped(rates, np.full(rates.size, 1.0 / rates.size)))
    second = None if first is None else _from(rates, (np.arange(rates.size) == first.argmax()).astype(float))
    if first is None or second is None:
        return None
    if np.abs(first - second).sum() > _AGREE:
        raise NumericalError(_APART)
    mass = _jumped(rates, np.where(first > _FAINT * first.max(), first, 0.0))
    return mass / mass.sum()


def _jumped(rates: Rates, mass: np.ndarray) -> np.ndarray:
    return after_jumps(rates.matrix, mass[:, None], _JUMPS / float(-rates.matrix.diagonal().min()))[:, 0]


def _from(rates: Rates, start: np.ndarray) -> np.ndarray | None:
    found = solved(-rates.matrix, np.zeros(rates.size), start)  # the sum of which may be another
    return None if found is None else found / found.sum()


def _eliminated(rates: Rates, fixed: int) -> np.ndarray:
    matrix: Any = rates.matrix.tocsc()
    keep = np.delete(np.arange(rates.size), fixed)
    column = matrix[:, [fixed]].toarray().ravel()
    try:
        rest = splu(matrix[keep][:, keep].tocsc()).solve(-column[keep])
    except RuntimeError as cause:
        raise NumericalError(
            "The stationary law is not unique: parts of the domain do not exchange mass. Solve each part by itself, "
            "with a domain= of its own."
        ) from cause
    mass = np.insert(rest, fixed, 1.0)
    if not np.isfinite(mass).all():
        raise NumericalError("The stationary law is not unique, or mass can't reach all parts of the domain.")
    if not rates.positive:
        mass = filled(mass, neighbours_of(rates))
    return mass / mass.sum()


def _reversible(matrix: sp.csr_array) -> np.ndarray | None:
    """Masses in detailed balance; None where there are none."""
    entries = matrix.tocoo()
    off = (entries.row != entries.col) & (entries.data > 0)
    to, origin, rate = entries.row[off], entries.col[off], entries.data[off]
    there = sp.csr_array((np.log(rate), (origin, to)), shape=matrix.shape)
    pattern = sp.csr_array((np.ones(len(rate)), (origin, to)), shape=matrix.shape)
    if (pattern != pattern.T).nnz:
        return None
    rise = (there - there.T).tocsr()  # log P(end) - log P(start)
    order, before = breadth_first_order(pattern, 0, directed=False)
    if len(order) < len(before):
        return None
    steps = np.zeros(len(before))
    steps[order[1:]] = np.asarray(rise[before[order[1:]], order[1:]]).ravel()
    log_mass = np.zeros(len(before))
    for node in order[1:]:
        log_mass[node] = log_mass[before[node]] + steps[node]
    miss = np.abs(log_mass[to] - log_mass[origin] - np.asarray(rise[origin, to]).ravel())
    if miss.max() > _CLOSED * (1 + np.abs(log_mass).max()):
        return None
    mass = np.exp(log_mass - log_mass.max())
    return mass / mass.sum()


__all__ = ["stationary"]
