"""The Fokker-Planck likelihood of two states: a step's density as an integral over where the state was in between.

By the equation of Chapman and Kolmogorov a step dt is m short ones of delta = dt / m, for which the density q of the
locally linearised equation is good:

    p(x1 | x0) = int ... int q(y_1 | x0) q(y_2 | y_1) ... q(x1 | y_{m-1}) dy_1 ... dy_{m-1}.

The integrals are sums over a grid. For functions as smooth as q they converge faster than any power of the cell, and a
node in a deviation of q is nearly enough; so few nodes also where the drift crosses many cells, which would spoil
differences of neighbours. What remains is the error of q, a power series in delta: with additive noise it begins at
delta^2, otherwise at delta, and values at several m are extrapolated to delta = 0.

Sources: A. R. Pedersen, A new approach to maximum likelihood estimation for stochastic differential equations based on
discrete observations, Scand. J. Statist. 22 (1995) 55; M. F. Wehner and W. G. Wolfer, Numerical evaluation of
path-integral solutions to Fokker-Planck equations, Phys. Rev. A 27 (1983) 2663; V. Bally and D. Talay, The law of the
Euler scheme for stochastic differential equations II, Monte Carlo Methods Appl. 2 (1996) 93 (the series).
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pdekit.data import Pairs
from pdekit.errors import NumericalError, UnsupportedError
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.gaussian import GaussianTransition
from pdekit.fitting.densities.local_linear import LocalLinearTransition
from pdekit.fitting.densities.protocol import select_pairs
from pdekit.fokker_planck.grid.axis import Axis, Coordinate, Linear, Logarithmic
from pdekit.fokker_planck.grid.mesh import Mesh
from pdekit.symbolic import SymbolicSDE

# Measured on a fast, strongly nonlinear rotation (Hopf, 1.5 rad in a step): log p from 4 substeps differs from that
# from 8 by 1e-2 in the median and by 0.3 at most.
SUBSTEPS = 8
# The product of two densities that are one node wide is summed to within 2 exp(-pi^2), 1e-4; all else is wider.
NODES_PER_DEVIATION = 1.0
PADDING_DEVIATIONS = 3.0
LEAST_CELLS = 16
MOST_NODES = 3600
MOST_STEPS = 8
_NARROW = 0.05  # the share of short steps whose density may be narrower than the grid was made for
_SAME = 1e-6  # steps closer than this, relatively, count as one
_LEAST = 1e-280
_ENTRIES = 4_000_000  # of a matrix of pairs and nodes
_LOOKED_AT = 2000
_MOST_LOST, _MOST_LOSING = 0.02, 0.02


class _TooLarge(UnsupportedError):
    """The grid would have too many nodes."""


class PlaneTransition:
    """log p of every pair under an autonomous SDE with two states, on grids that stay while the parameters move.

    Any noise, also one that reaches a state only through the other, if the grid that this takes is not too large. Built
    by `lay`; `refined` derives a better one.

    Args:
        model: An autonomous SDE with two states.
        pairs: The observations.
        reference: Parameters near which the density will be evaluated, (k,).
        substeps: m of the finest subdivision, a multiple of four.

    Attributes:
        unreachable: Which pairs had a density below double precision at the last evaluation, (n,) bool; they take the
            value of one linearised step.

    Example:
        >>> import pdekit as pk
        >>> model = pk.models.hopf()
        >>> data = pk.Trajectories.from_arrays([0.0, 0.5, 1.0], [[1.0, 0.0], [0.8, 0.5], [0.4, 0.9]])
        >>> theta = model.theta(model.defaults)
        >>> density = PlaneTransition.lay(model, data.pairs(), theta)
        >>> better = density.refined().log_density(theta)
        >>> bool((density.log_density(theta) - better).abs().max() < 1e-2)
        True
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, reference: Tensor, substeps: int = SUBSTEPS) -> None:
        self.model, self.pairs, self.substeps = model.ito(), pairs, substeps
        self._reference = reference.detach().clone()
        self._parts: list[tuple[Tensor, _Step]] = []
        steps, row = _distinct(pairs)
        for k, dt in enumerate(steps):
            here = (row == k).nonzero().flatten()
            self._parts.append((here, _Step(self.model, select_pairs(pairs, here), float(dt), reference, substeps)))
        self._place = torch.argsort(torch.cat([here for here, _ in self._parts]))
        self.unreachable = torch.zeros(len(pairs), dtype=torch.bool)
        largest = max((step.finest for _, step in self._parts), key=lambda mesh: mesh.size)
        self.route = f"Fokker-Planck, {substeps} substeps on {largest} cells, extrapolated"

    @classmethod
    def lay(cls, model: SymbolicSDE, pairs: Pairs, reference: Tensor) -> "PlaneTransition":
        """Lays grids for these pairs, fine enough for the parameters of reference (k,).

        They serve 8 substeps, or 4 where the grid for 8 would be too large.

        Raises:
            UnsupportedError: If the model has not two states, or depends on time; if there are more than 8 distinct
                steps, or they are so short, or the noise so weak in some direction, that the grid would be too large;
                if normal short steps would leave the domain.
            NumericalError: If the short steps have no density at these parameters.
        """
        if model.dim != 2 or not model.autonomous:
            raise UnsupportedError(
                f"The Fokker-Planck likelihood on a plane needs two states and coefficients that don't depend on time; "
                f"{model.name or 'this model'} has {model.dim} state(s)"
                f"{'' if model.autonomous else ' and depends on time'}. Use method='shoji-ozaki'."
            )
        try:
            return cls(model, pairs, reference)
        except _TooLarge:
            return cls(model, pairs, reference, SUBSTEPS // 2)

    def refined(self) -> "PlaneTransition":
        """The same density with twice as many substeps, for three to ten times the time."""
        return PlaneTransition(self.model, self.pairs, self._reference, 2 * self.substeps)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,), differentiable in theta (k,)."""
        found = torch.cat([step.log_density(theta) for _, step in self._parts])[self._place]
        self.unreachable = ~torch.isfinite(found.detach())
        if not bool(self.unreachable.any()):
            return found
        lost = self.unreachable.nonzero().flatten()
        single = _local(self.model, select_pairs(self.pairs, lost)).log_density(theta)
        return torch.where(self.unreachable, 0.0, found).index_put((lost,), single)

    def cdf(self, theta: Tensor) -> Tensor:
        """Refused: a distribution function needs one state.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("A distribution function needs one state; in two, use simulated replicas of the data.")


class _Step:
    """Pairs that make one and the same step, at several subdivisions of it.

    Args:
        model: The SDE, Ito.
        pairs: Those pairs.
        dt: Their step.
        reference: Parameters, (k,).
        substeps: The finest subdivision.
    """

    def __init__(self, model: SymbolicSDE, pairs: Pairs, dt: float, reference: Tensor, substeps: int) -> None:
        smooth = isinstance(_local(model, pairs), LocalLinearTransition)
        if smooth and _additive(model):
            self._combination = {substeps: 4.0 / 3.0, substeps // 2: -1.0 / 3.0}
        else:
            self._combination = {substeps: 8.0 / 3.0, substeps // 2: -2.0, substeps // 4: 1.0 / 3.0}
        self._levels = {m: _Level(model, pairs, dt, reference, m) for m in self._combination}
        self.finest = self._levels[substeps].mesh

    def log_density(self, theta: Tensor) -> Tensor:
        """Of every pair, (n,); not finite where it is too faint."""
        return sum((c * self._levels[m].log_density(theta) for m, c in self._combination.items()), torch.zeros(()))


class _Level:
    """One subdivision, and its grid."""

    def __init__(self, model: SymbolicSDE, pairs: Pairs, dt: float, reference: Tensor, substeps: int) -> None:
        self._model, self._pairs, self._delta, self._substeps = model, pairs, dt / substeps, substeps
        self.mesh = _mesh(model, pairs, self._delta, reference)
        nodes = torch.from_numpy(self.mesh.x)
        self._center, self._unit = nodes.mean(0), nodes.std(0)
        self._volume = torch.from_numpy(self.mesh.volume * np.exp(self.mesh.log_slope))
        self._inner = _local(model, _short(nodes, self._delta))
        self._at_nodes, self._at_ends = self._monomials(nodes), self._monomials(pairs.x1)
        rows = max(1, _ENTRIES // self.mesh.size)
        self._blocks = list(torch.arange(len(pairs)).split(rows))
        self._starts = [_local(model, _short(pairs.x0[block], self._delta)) for block in self._blocks]
        if substeps > 1:
            self._check_mass(reference)

    def log_density(self, theta: Tensor) -> Tensor:
        """Of every pair, (n,); -inf where it is too faint."""
        inner = self._quadratic(self._inner, theta) if self._substeps > 1 else torch.empty(0)
        between = self._between(inner) if self._substeps > 2 else ()
        found = [
            checkpoint(self._of_block, i, theta, inner, *between, use_reentrant=False, preserve_rng_state=False)
            for i in range(len(self._blocks))
        ]
        p = torch.cat(found)  # type: ignore[arg-type]
        reached = p > _LEAST
        return torch.where(reached, torch.log(torch.where(reached, p, 1.0)), -torch.inf)

    def _between(self, inner: Tensor) -> tuple[Tensor, ...]:
        """Matrices, (N, N), whose product carries masses over the steps between the first and the last."""

        def kernel(inner: Tensor) -> Tensor:
            return torch.exp(inner @ self._at_nodes.T) * self._volume

        once = checkpoint(kernel, inner, use_reentrant=False, preserve_rng_state=False)
        times = self._substeps - 2
        if len(self._pairs) * times <= self.mesh.size * math.log2(2 * times):
            return (once,) * times  # type: ignore[return-value]
        return (torch.linalg.matrix_power(once, times),)  # type: ignore[arg-type]

    def _of_block(self, i: int, theta: Tensor, inner: Tensor, *between: Tensor) -> Tensor:
        block = self._blocks[i]
        if self._substeps == 1:
            return torch.exp((self._quadratic(self._starts[i], theta) * self._at_ends[block]).sum(-1))
        first = self._first(i, theta)
        for kernel in between:
            first = first @ kernel
        return (first * torch.exp(self._at_ends[block] @ inner.T)).sum(-1)

    def _first(self, i: int, theta: Tensor) -> Tensor:
        """Masses of nodes after the first short step from each start, (rows, N)."""
        return torch.exp(self._quadratic(self._starts[i], theta) @ self._at_nodes.T) * self._volume

    def _monomials(self, x: Tensor) -> Tensor:
        """1, u, v, u^2, u v, v^2 in units of the grid, (n, 6)."""
        u, v = ((x - self._center) / self._unit).unbind(-1)
        return torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v], -1)

    def _quadratic(self, local: GaussianTransition, theta: Tensor) -> Tensor:
        """log q(. | x0) as coefficients of those, (n, 6)."""
        displacement, covariance = local.moments(theta)
        mean = (local.pairs.x0 + displacement - self._center) / self._unit
        covariance = covariance / (self._unit[:, None] * self._unit)
        u, v = mean.unbind(-1)
        a, b, c = covariance[:, 0, 0], covariance[:, 1, 0], covariance[:, 1, 1]
        determinant = a * c - b * b
        proper = (a > 0) & (determinant > 1e-14 * a * c) & torch.isfinite(u + v + a + c)
        one, nil = torch.ones_like(a), torch.zeros_like(a)
        a, c = (torch.where(proper, z, one) for z in (a, c))
        b, u, v = (torch.where(proper, z, nil) for z in (b, u, v))
        determinant = torch.where(proper, determinant, one)
        p, q, r = c / determinant, -b / determinant, a / determinant  # the precision's entries
        constant = -0.5 * (p * u * u + 2.0 * q * u * v + r * v * v + torch.log(determinant))
        constant = constant - math.log(2.0 * math.pi) - torch.log(self._unit).sum()
        constant = torch.where(proper, constant, -1e4)  # no mass goes on from where there is no density
        return torch.stack([constant, p * u + q * v, q * u + r * v, -0.5 * p, -q, -0.5 * r], -1)

    def _check_mass(self, reference: Tensor) -> None:
        with torch.no_grad():
            mass = torch.cat([self._first(i, reference).sum(-1) for i in range(len(self._blocks))])
        losing = float(((mass - 1.0).abs() > _MOST_LOST).double().mean())
        if losing > _MOST_LOSING:
            raise UnsupportedError(
                f"A step of {self._delta:.3g}, one {self._substeps}th of that of the data, keeps its mass on the grid "
                f"to within {_MOST_LOST:.0%} for {1 - losing:.0%} of the observations only: a normal law does not "
                "stay inside the domain, or is much narrower in some places than in others. Change variables so that "
                "the noise is about the same everywhere, or use method='shoji-ozaki'."
            )


def _local(model: SymbolicSDE, pairs: Pairs) -> GaussianTransition:
    try:
        return LocalLinearTransition(model, pairs)
    except UnsupportedError:
        return EulerTransition(model, pairs)


def _short(x0: Tensor, delta: float) -> Pairs:
    """Steps from these states, whose ends don't matter."""
    n = len(x0)
    return Pairs(x0.new_zeros(n), x0.new_full((n,), delta), x0, x0, torch.zeros(n, dtype=torch.long))


def _additive(model: SymbolicSDE) -> bool:
    return not (set(model.state) & model.diffusion_tensor.free_symbols)


def _distinct(pairs: Pairs) -> tuple[np.ndarray, Tensor]:
    """The distinct steps, (K,), and which of them each pair makes."""
    values, index = (z.numpy() for z in pairs.distinct())
    group = np.concatenate([[0], np.cumsum(np.diff(values) > _SAME * values[1:])])
    if group[-1] >= MOST_STEPS:
        raise UnsupportedError(
            f"The Fokker-Planck likelihood of two states takes up to {MOST_STEPS} distinct steps; the data have "
            f"{group[-1] + 1}. Use method='shoji-ozaki', or bring the data to a regular grid of times."
        )
    row = group[index]
    return np.bincount(row, pairs.dt.numpy()) / np.bincount(row), torch.from_numpy(row)


def _mesh(model: SymbolicSDE, pairs: Pairs, delta: float, reference: Tensor) -> Mesh:
    """Nodes for short steps between these pairs."""
    coordinates = [_coordinate(*bounds) for bounds in model.domain]
    ends = torch.cat([pairs.x0, pairs.x1]).numpy()
    y = np.stack([c.to_y(ends[:, i]) for i, c in enumerate(coordinates)], -1)
    narrow, broad = _widths(model, pairs, delta, reference, coordinates)
    # Where the state can get to in half a step and come back from, but not much further than the data reach.
    whole = _widths(model, pairs, float(pairs.dt.max()), reference, coordinates)[1]
    padding = PADDING_DEVIATIONS * np.maximum(np.minimum(whole, y.std(0)), broad)
    low, high = y.min(0) - padding, y.max(0) + padding
    for i, (lower, upper) in enumerate(model.domain):
        if math.isfinite(lower) and math.isfinite(upper):
            low[i], high[i] = max(low[i], lower), min(high[i], upper)
    cells = np.maximum(np.ceil((high - low) * NODES_PER_DEVIATION / narrow), LEAST_CELLS)
    if not np.prod(cells + 1) <= MOST_NODES:
        raise _TooLarge(
            f"The Fokker-Planck likelihood would need {cells[0]:.0f} x {cells[1]:.0f} cells, more than {MOST_NODES} "
            "nodes: the steps are short against the range of the data, or the noise is weak in some direction. Use "
            "method='shoji-ozaki'."
        )
    sides = ("natural", "natural")
    return Mesh(tuple(Axis(float(low[i]), float(high[i]), int(cells[i]), sides, c) for i, c in enumerate(coordinates)))


def _coordinate(lower: float, upper: float) -> Coordinate:
    if math.isfinite(lower) == math.isfinite(upper):
        return Linear()
    return Logarithmic(lower) if math.isfinite(lower) else Logarithmic(upper, upward=False)


def _widths(
    model: SymbolicSDE, pairs: Pairs, duration: float, reference: Tensor, coordinates: list[Coordinate]
) -> tuple[np.ndarray, np.ndarray]:
    """In y, of steps from the data: the deviation of a narrow one where the other state is known, and of a broad one.

    Raises:
        NumericalError: If they can't be had.
    """
    some = torch.linspace(0, len(pairs) - 1, min(len(pairs), _LOOKED_AT)).long()
    start = pairs.x0[some]
    with torch.no_grad():
        covariance = _local(model, _short(start, duration)).moments(reference)[1].numpy()
    y = np.stack([c.to_y(start[:, i].numpy()) for i, c in enumerate(coordinates)], -1)
    slope = np.stack([np.exp(c.log_slope(y[:, i])) for i, c in enumerate(coordinates)], -1)
    covariance = covariance / (slope[:, :, None] * slope[:, None, :])
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    determinant = variance[:, 0] * variance[:, 1] - covariance[:, 0, 1] ** 2
    proper = np.isfinite(determinant) & (determinant > 0)
    if not proper.mean() > 1.0 - _NARROW:
        raise NumericalError(
            f"A step of {duration:.3g} has no density at these parameters: the noise does not reach every state, or "
            "the parameters are far off. Give other start values, or every state noise of its own."
        )
    variance, determinant = variance[proper], determinant[proper]
    known = np.sqrt(determinant[:, None] / variance[:, ::-1])
    return np.quantile(known, _NARROW, axis=0), np.quantile(np.sqrt(variance), 1.0 - _NARROW, axis=0)


__all__ = ["PlaneTransition"]
