"""Masses of nodes at the start."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch

from pdekit.errors import InputError
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.law import Law, Point, Samples

_POINTS = {1: 8, 2: 6, 3: 4}  # by dimension: nodes between which log p is interpolated in the starting point
_INSIDE = 0.999  # of the initial mass
_SMOOTH, _ROUGH = 1e-6, 0.02  # what sums over nodes may miss
_MANY = 20_000
_FEW = 6.0  # cells between which all of a law lies: its place within them matters
_FINE, _BEYOND = {1: 4001, 2: 257, 3: 65}, 0.5  # points by dimension, and how far they go beyond samples, of the width
_PARTS = {1: 32, 2: 8, 3: 3}  # by dimension: parts of a cell over which a rough density is averaged


@dataclass(frozen=True, eq=False)
class Start:
    """Columns of masses; the solution is exp(sum_c weight_c log of that from column c).

    Args:
        masses: (N, c).
        weights: (c,), with sum one.
        smooth: Whether errors fall with even powers of the cell width.
        least: The relative error that samples instead of a density leave.
    """

    masses: np.ndarray
    weights: np.ndarray
    smooth: bool = True
    least: float = 0.0


def start(grid: Discretisation, law: Law) -> Start:
    """A law as masses.

    Raises:
        InputError: If it lies outside the grid, in part or altogether.
    """
    if isinstance(law, Point):
        return _point(grid, law.x)
    if isinstance(law, Samples):
        return _samples(grid, law.x)
    return _density(grid, law)


def _density(grid: Discretisation, law: Law) -> Start:
    log_p = law.log_density(grid.states)
    if log_p is None:
        raise InputError(f"{type(law).__name__} has no density: give samples of it.")
    log_p = np.where(grid.alive, log_p, -np.inf)
    if np.isnan(log_p).any() or np.isposinf(log_p).any():
        where = grid.states[np.flatnonzero(np.isnan(log_p) | np.isposinf(log_p))[0]]
        raise InputError(f"The initial density is not finite at {np.array2string(where, precision=6)}.")
    mass = np.exp(log_p + grid.log_weight - grid.log_reference(grid.states, grid.coordinates))
    if abs(mass.sum() - 1.0) <= _SMOOTH:
        return Start((mass / mass.sum())[:, None], np.ones(1))
    drawn = law.sample(_MANY, torch.Generator().manual_seed(0)).numpy()
    if _spans(grid, drawn).min() < _FEW:
        return _narrow(grid, law, drawn)
    mass = _averaged(grid, law)
    if abs(mass.sum() - 1.0) > _ROUGH:
        return _narrow(grid, law, drawn)
    return Start((mass / mass.sum())[:, None], np.ones(1), smooth=False)


def _spans(grid: Discretisation, x: np.ndarray) -> np.ndarray:
    """How many cells samples (n, d) lie apart along each axis, (d,)."""
    return np.ptp(grid.to_y(x), axis=0) / [nodes[1] - nodes[0] for nodes in grid.nodes]


def _narrow(grid: Discretisation, law: Law, drawn: np.ndarray) -> Start:
    """A density that cells don't show, by points that do; where these don't either, by samples."""
    low, high = drawn.min(0), drawn.max(0)
    reach, n = _BEYOND * (high - low), _FINE[grid.dim]
    axes = [np.linspace(a - r, b + r, n) for a, b, r in zip(low, high, reach, strict=True)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, grid.dim)
    share = np.exp(np.asarray(law.log_density(x))) * np.prod([axis[1] - axis[0] for axis in axes])
    if np.isfinite(share).all() and abs(share.sum() - 1.0) <= _SMOOTH:
        seen = share > 0
        return _samples(grid, x[seen], share[seen])
    return replace(_samples(grid, drawn), least=_MANY**-0.5)


def _averaged(grid: Discretisation, law: Law) -> np.ndarray:
    """Means over cells of a density with kinks or jumps."""
    parts, steps = _PARTS[grid.dim], np.array([nodes[1] - nodes[0] for nodes in grid.nodes])
    ends = grid.ends.T
    total = np.zeros(len(grid.states))
    for shift in product((np.arange(parts) + 0.5) / parts - 0.5, repeat=grid.dim):
        y = grid.coordinates + steps * np.array(shift)
        y = np.clip(y, *ends)
        x = grid.from_y(y)
        log_p = law.log_density(x)
        total += np.exp(np.asarray(log_p) - grid.log_reference(x, y) + grid.log_weight) / parts**grid.dim
    return np.where(grid.alive, total, 0.0)


def _point(grid: Discretisation, x: np.ndarray) -> Start:
    """One column where the point is a node, else one for each of the nodes around it."""
    y = grid.to_y(x[None])[0]
    picks, weights, points = [], [], _POINTS[grid.dim]
    for nodes, at, period in zip(grid.nodes, y, grid.period, strict=True):
        place = (at - nodes[0]) / (nodes[1] - nodes[0])
        nearest = round(place)
        if abs(place - nearest) < 1e-8 and 0 <= nearest < len(nodes):
            picks.append([nearest])
            weights.append(np.ones(1))
            continue
        first = int(np.floor(place)) + 1 - points // 2
        first = first if period is not None else min(max(first, 0), len(nodes) - points)
        picks.append([(first + k) % len(nodes) for k in range(points)])
        weights.append(_lagrange(place - first, points))
    index = [np.ravel_multi_index(pick, grid.shape) for pick in product(*picks)]
    masses = np.zeros((len(grid.states), len(index)))
    masses[index, np.arange(len(index))] = 1.0
    if not grid.alive[index].any():
        raise InputError("The initial point lies on an absorbing side: nothing would be left at once.")
    combined = np.array([np.prod(w) for w in product(*weights)])
    alive = grid.alive[index]
    return Start(masses[:, alive], combined[alive] / combined[alive].sum())


def _lagrange(s: float, points: int) -> np.ndarray:
    """Weights of the polynomial through 0, 1, 2, ... at s."""
    others = [[m for m in range(points) if m != k] for k in range(points)]
    return np.array([np.prod([(s - m) / (k - m) for m in rest]) for k, rest in enumerate(others)])


def _samples(grid: Discretisation, x: np.ndarray, masses: np.ndarray | None = None) -> Start:
    """Each sample, with equal masses by default, shared between the nodes around it, in proportion to nearness."""
    masses = np.ones(len(x)) if masses is None else masses
    y, total = grid.to_y(x), np.zeros(len(grid.states))
    places = np.stack([(y[:, i] - n[0]) / (n[1] - n[0]) for i, n in enumerate(grid.nodes)], -1)
    top = np.array(grid.shape) - 1
    periodic = np.array([p is not None for p in grid.period])
    inside = ((places >= -0.5) & (places <= top + 0.5) | periodic).all(-1)
    part = masses[inside].sum() / masses.sum()
    if not part >= _INSIDE:
        raise InputError(
            f"The initial law has {part:.4g} of its mass on the grid. Widen domain= or window=, or give a law "
            "inside it."
        )
    places = np.where(periodic, places, np.clip(places, 0, top))[inside]
    low = np.where(periodic, np.floor(places), np.minimum(np.floor(places), top - 1)).astype(int)
    share = places - low
    for corner in product((0, 1), repeat=grid.dim):
        index = np.ravel_multi_index(tuple(((low + corner) % np.array(grid.shape)).T), grid.shape)
        weight = masses[inside] * np.prod(np.where(np.array(corner) == 1, share, 1 - share), -1)
        total += np.bincount(index, weight, len(total))
    total = np.where(grid.alive, total, 0.0)
    return Start((total / total.sum())[:, None], np.ones(1), smooth=False)


__all__ = ["Start", "start"]
