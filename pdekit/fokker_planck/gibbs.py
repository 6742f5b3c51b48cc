"""Stationary laws without a current: with b = D^-1 (f - div D) the gradient of a function phi, p ~ exp(phi)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fokker_planck.axis_map import AxisMap
from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.potential import Field, Maps, along_line, from_symbols, slope_of
from pdekit.fokker_planck.sides import Domain
from pdekit.fokker_planck.statement import Statement

_FIRST = {1: 200, 2: 80, 3: 40}  # nodes along each axis, by dimension
_MOST = {1: 12_800, 2: 1280, 3: 160}
_REACHES = {1: (3.2, 2.7, 2.2, 1.8), 2: (2.2, 1.8), 3: (2.2, 1.8)}  # infinity: 1e8, 1e5, 550 and 50 widths
_ROUNDS = 60
_CONVERGED = {1: 1e-11, 2: 1e-10, 3: 1e-8}  # between grids; the error of the finer one is about its square
_BAD = 1e-6
_OUTSIDE = 1e-8  # share of the mass at the last nodes towards infinity
_SAME = 1e-5  # between the gradient of phi and b
_BOUND = 1.3  # times the greatest density at the nodes around a cell


def gibbs(problem: Statement) -> "GibbsDensity":
    """The stationary law of a problem whose probability current vanishes.

    Raises:
        UnsupportedError: If the current does not vanish, phi is not found, or exp(phi) can't be normalised.
        NumericalError: If coefficients are not finite.
    """
    _check(problem)
    potential = along_line(problem) if problem.sde.dim == 1 else from_symbols(problem)
    last: NumericalError | None = None
    for reach in _REACHES[problem.sde.dim]:  # coefficients may overflow far out
        try:
            return _normalised(problem, potential, reach)
        except NumericalError as cause:
            last = cause
    raise NumericalError(f"The Gibbs law is not found: {last}") from last


def _check(problem: Statement) -> None:
    dim, domain = problem.sde.dim, problem.domain
    if not domain.conserves:
        raise UnsupportedError("With an absorbing side nothing is left in the end: there is no stationary law.")
    if dim > 3:
        raise UnsupportedError(
            f"ClosedForm() normalises Gibbs laws of one to three states, this one has {dim}: use MonteCarlo()."
        )
    if dim > 1 and any(domain.periodic(i) for i in range(dim)):
        raise UnsupportedError("ClosedForm() finds stationary laws on a period in one dimension only: use Grid().")


@dataclass(frozen=True, eq=False)
class _Nodes:
    """A trapezoidal rule in s.

    Args:
        s: Along each axis.
        states: (N, d).
        log_q: phi + log dx / ds, (N,).
        log_cell: The logarithm of the step in s, of all axes together.
    """

    s: tuple[np.ndarray, ...]
    states: np.ndarray
    log_q: np.ndarray
    log_cell: float

    @classmethod
    def of(cls, maps: Maps, phi: Field, n: int) -> "_Nodes":
        s, steps = zip(*[axis.nodes(n) for axis in maps], strict=True)
        grid = np.stack(np.meshgrid(*s, indexing="ij"), -1).reshape(-1, len(maps))
        states, log_q = _placed(maps, phi, grid)
        return cls(s, states, log_q, float(np.sum(np.log(steps))))

    @cached_property
    def shares(self) -> np.ndarray:
        """(n, ..., n)."""
        return np.exp(self.log_q - logsumexp(self.log_q)).reshape([len(s) for s in self.s])

    @cached_property
    def marginals(self) -> list[np.ndarray]:
        """The shares along each axis, (n,)."""
        shares, axes = self.shares, range(len(self.s))
        return [shares.sum(axis=tuple(j for j in axes if j != i)) for i in axes]

    @property
    def log_total(self) -> float:
        return float(logsumexp(self.log_q)) + self.log_cell


def _placed(maps: Maps, phi: Field, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States and phi + log dx / ds at s (n, d)."""
    found = [axis.at(s[:, i]) for i, axis in enumerate(maps)]
    states = np.stack([x for x, _ in found], -1)
    with np.errstate(over="ignore", divide="ignore"):
        values = phi(states) + np.sum([np.log(slope) for _, slope in found], axis=0)
    if np.isnan(values).any() or (values == np.inf).any():
        where = np.array2string(states[np.flatnonzero(np.isnan(values) | (values == np.inf))[0]], precision=6)
        raise NumericalError(f"log p is not a number at {where}. Give a domain= that leaves this point out.")
    return states, values


def _normalised(problem: Statement, potential: Callable[[Maps], Field], reach: float) -> "GibbsDensity":
    dim, domain = problem.sde.dim, problem.domain
    maps = tuple(
        AxisMap(low, high, reach=reach, periodic=domain.periodic(i))
        for i, (low, high) in enumerate(zip(domain.lower, domain.upper, strict=True))
    )
    for _ in range(_ROUNDS):
        nodes = _Nodes.of(maps, potential(maps), _FIRST[dim])
        if any(_last(axis, share).max() > 0.5 for axis, share in zip(maps, nodes.marginals, strict=True)):
            break  # it flees to infinity
        moved = _centered(maps, nodes)
        done = all(_close(a, b) for a, b in zip(maps, moved, strict=True))
        maps = moved
        if done:
            break
    phi, n, before = potential(maps), _FIRST[dim], None
    while True:
        nodes = _Nodes.of(maps, phi, n)
        change = np.inf if before is None else abs(nodes.log_total - before)
        if change <= _CONVERGED[dim] or 2 * n > _MOST[dim]:
            break
        n, before = 2 * n, nodes.log_total
    _check_normalised(maps, nodes, change)
    slope = slope_of(problem)
    if dim > 1:
        _check_gradient(phi, slope, nodes, domain)
    cut = max(float(_last(axis, share).max()) for axis, share in zip(maps, nodes.marginals, strict=True))
    return GibbsDensity(maps, phi, slope, domain, nodes, max(change, 10 * cut, 1e-13))


def _centered(maps: Maps, nodes: _Nodes) -> Maps:
    """Each axis around the median of its law, as wide as that; not narrower than the nodes can tell."""
    found = []
    for axis, s, share in zip(maps, nodes.s, nodes.marginals, strict=True):
        x, slope = axis.at(s)
        low, middle, high = (int(np.searchsorted(np.cumsum(share), level)) for level in (0.05, 0.5, 0.95))
        low, middle, high = (min(k, len(s) - 1) for k in (low, middle, high))
        width = max((x[high] - x[low]) / 3.3, slope[middle] * (s[1] - s[0]))
        if np.isfinite(axis.low) != np.isfinite(axis.high):
            end = axis.low if np.isfinite(axis.low) else axis.high
            width = max(abs(x[middle] - end), 1e-300)
        found.append(replace(axis, center=float(x[middle]), width=float(width)))
    return tuple(found)


def _close(a: AxisMap, b: AxisMap) -> bool:
    return abs(a.center - b.center) <= 0.2 * b.width and 0.8 <= a.width / b.width <= 1.25


def _check_normalised(maps: Maps, nodes: _Nodes, change: float) -> None:
    for axis, share in zip(maps, nodes.marginals, strict=True):
        for end, last in zip((axis.low, axis.high), _last(axis, share), strict=True):
            if last > _OUTSIDE:
                where = "towards infinity" if not np.isfinite(end) else f"at {end:g}"
                raise UnsupportedError(
                    "There is no stationary law: exp(phi), with grad phi = D^-1 (f - div D), is not integrable "
                    f"{where}. Ask for times with solve(), or bound the domain with reflecting sides."
                )
    if not change <= _BAD:
        raise UnsupportedError(
            f"The integral of the Gibbs law did not settle (relative change {change:.1g}): it is too rough for "
            "ClosedForm(). Use Grid()."
        )


def _last(axis: AxisMap, share: np.ndarray) -> np.ndarray:
    """The share of the mass at the last two nodes towards each end, (2,)."""
    return np.zeros(2) if axis.periodic else np.array([share[:2].sum(), share[-2:].sum()])


def _check_gradient(phi: Field, slope: Field, nodes: _Nodes, domain: Domain) -> None:
    """By central differences where the law is, against the coefficients that solvers use."""
    heavy = np.argsort(nodes.log_q)[-500:]
    spread = np.std(nodes.states[heavy], axis=0)
    x = nodes.states[heavy][::5]
    steps = 1e-4 * np.diag(spread)
    inside = [domain.contains(x + sign * step) for step in steps for sign in (1, -1)]
    x = x[np.all(inside, axis=0)]
    found = np.stack([(phi(x + step) - phi(x - step)) / (2 * step.sum()) for step in steps], -1)
    b = slope(x)
    if not (np.abs(found - b) <= _SAME * (np.abs(b).max() + 1 / spread)).all():
        raise UnsupportedError("The integral of D^-1 (f - div D) that was found does not fit it: use Grid().")


@dataclass(frozen=True, eq=False)
class GibbsDensity(Density):
    """exp(phi) / Z.

    Args:
        maps: One for each axis.
        phi: At states (n, d).
        slope: grad phi, likewise.
        domain: Outside of it the density is zero.
        nodes: The rule that Z was found with.
        error: See `Density`.
    """

    maps: Maps
    phi: Field
    slope: Field
    domain: Domain
    nodes: _Nodes
    error: float | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return len(self.maps)

    @property
    def log_normaliser(self) -> float:
        """log Z, for phi as it was found: with symbols, without a constant term."""
        return self.nodes.log_total

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        found = np.full(len(x), -np.inf)
        inside = np.flatnonzero(self._inside(x))
        if len(inside):
            found[inside] = self.phi(self._wrapped(x[inside])) - self.log_normaliser
        return found

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`: D^-1 (f - div D); zero where the density is."""
        found = np.zeros_like(x)
        inside = np.flatnonzero(self._inside(x))
        if len(inside):
            found[inside] = self.slope(self._wrapped(x[inside]))
        return found

    def _inside(self, x: np.ndarray) -> np.ndarray:
        return self.domain.contains(x) | self.maps[0].periodic

    def _wrapped(self, x: np.ndarray) -> np.ndarray:
        return self.maps[0].inverse(x) if self.maps[0].periodic else x

    def quadrature(self) -> Quadrature:
        """See `Density`: a double-exponential rule along each axis."""
        share = self.nodes.shares.reshape(-1)
        kept = share > 1e-18
        return Quadrature(self.nodes.states[kept], share[kept])

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """By rejection in s: a cell by the greatest density around it, a place in it, kept with the density there."""
        cells, count, found = self._cells, 0, []
        centers = np.stack(np.meshgrid(*self.nodes.s, indexing="ij"), -1).reshape(-1, self.dim)
        steps = np.array([s[1] - s[0] for s in self.nodes.s])
        share = np.exp(cells - cells.max())
        share /= share.sum()
        while count < n:
            cell = rng.choice(len(share), max(2 * (n - count), 64), p=share)
            s = centers[cell] + steps * (rng.random((len(cell), self.dim)) - 0.5)
            x, log_q = _placed(self.maps, self.phi, s)
            x = x[np.log(rng.random(len(x))) < log_q - cells[cell]]
            found.append(x)
            count += len(x)
        return np.concatenate(found)[:n] if found else np.zeros((0, self.dim))

    @cached_property
    def _cells(self) -> np.ndarray:
        """The logarithm of a bound on the density in each cell, (N,)."""
        most = self.nodes.log_q.reshape([len(s) for s in self.nodes.s])
        for axis in range(self.dim):
            padded = np.concatenate([most.take([0], axis), most, most.take([-1], axis)], axis)
            n = most.shape[axis]
            most = np.max([padded.take(range(k, k + n), axis) for k in range(3)], axis=0)
        return most.reshape(-1) + np.log(_BOUND)


__all__ = ["GibbsDensity", "gibbs"]
