"""Mean exit times and the rate of escape, from the adjoint of the grid's generator.

The mean time until the process meets an absorbing side, tau(x), solves L tau = -1 with tau = 0 there, L being the
generator f.grad + tr(D hess). The slowest mode of the generator decays with the rate of escape, at which mass is lost
after long times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from pdekit.errors import InputError, NumericalError
from pdekit.fokker_planck.grid.discretisation import Discretisation
from pdekit.fokker_planck.grid.krylov import solved
from pdekit.fokker_planck.grid.refinement import Masses
from pdekit.fokker_planck.grid.spline import TensorSpline
from pdekit.fokker_planck.sides import Domain

_CAUGHT = "From some parts of the domain the process does not get out: tau is infinite."


@dataclass(frozen=True, eq=False, repr=False)
class ExitTimes:
    """Mean exit times.

    Args:
        grid: The finest grid.
        spline: tau(y).
        rate: The rate of escape, 1/time: after long times the mass falls as exp(-rate t).
        error: The estimated relative error, of tau in the root mean square over the grid, and of the rate.
        domain: Of the states.
    """

    grid: Discretisation
    spline: TensorSpline
    rate: float
    error: float
    domain: Domain

    def mean(self, x: Any) -> Tensor:
        """tau from states (*batch, d): (*batch,).

        Raises:
            InputError: If these are no states of the domain.
        """
        try:
            state = torch.as_tensor(x, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as cause:
            raise InputError(f"x must be states (*batch, {self.grid.dim}), got {x!r}.") from cause
        if state.ndim == 0 or state.shape[-1] != self.grid.dim:
            raise InputError(f"x must be states (*batch, {self.grid.dim}), got shape {tuple(state.shape)}.")
        flat = state.detach().reshape(-1, self.grid.dim).cpu().numpy()
        wrong = ~(np.isfinite(flat).all(-1) & self.domain.contains(flat, wrapped=True))
        if wrong.any():
            where = np.array2string(flat[np.flatnonzero(wrong)[0]], precision=6)
            raise InputError(f"x must lie in the domain, {self.domain}, got {where}.")
        return torch.as_tensor(self.spline(self.grid.to_y(flat))).reshape(state.shape[:-1])

    def __repr__(self) -> str:
        return f"ExitTimes(rate of escape {self.rate:.6g}, {self.grid}, estimated relative error {self.error:.1e})"


def exit_times(grids: list[Discretisation], domain: Domain) -> ExitTimes:
    """Exit times by grids from coarse to fine, each with half the cell width, extrapolated.

    Raises:
        NumericalError: If the process does not get out from everywhere.
    """
    found = [_single(grid) for grid in grids]
    fine = grids[-1]
    levels = [
        TensorSpline(grid.nodes, tau.reshape(grid.shape), grid.period)(fine.coordinates)
        for grid, (tau, _) in zip(grids, found, strict=True)
    ]
    tau, change = _limit(levels)
    rate, moved = _limit([np.array([rate]) for _, rate in found])
    error = max(float(np.sqrt((change**2).mean() / (tau**2).mean())), float(abs(moved[0] / rate[0])))
    return ExitTimes(
        fine, TensorSpline(fine.nodes, tau.reshape(fine.shape), fine.period), float(rate[0]), error, domain
    )


def _limit(levels: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The limit of values with errors of order 2 and 4, and the last correction."""
    if len(levels) == 1:
        return levels[0], np.full_like(levels[0], np.nan)
    once = [b + (b - a) / 3 for a, b in pairwise(levels)]
    if len(once) == 1:
        return once[0], once[0] - levels[-1]
    twice = once[-1] + (once[-1] - once[-2]) / 15
    return twice, twice - once[-1]


def _single(grid: Discretisation) -> tuple[np.ndarray, float]:
    """tau at nodes, (N,), and the rate of escape."""
    alive = np.flatnonzero(grid.alive)
    backward = grid.rates(0.0).matrix[alive][:, alive].T.tocsc()
    solve = _solver(backward, grid.dim)
    tau = np.zeros(len(grid.states))
    tau[alive] = solve(-np.ones(len(alive)))
    if not np.isfinite(tau).all() or (tau < 0).any():
        raise NumericalError(_CAUGHT)
    return tau, _slowest(backward, solve)[0]


def _solver(matrix: sp.csc_array, dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """x(b) with matrix @ x = b: by factors, in three dimensions by iterations."""
    if dim < 3:
        try:
            return splu(matrix).solve
        except RuntimeError as cause:
            raise NumericalError(_CAUGHT) from cause

    def iterated(right: np.ndarray) -> np.ndarray:
        found = solved(matrix, right, np.zeros_like(right))
        if found is None:
            raise NumericalError(f"Iterations for exit times find no end. {_CAUGHT} Else use fewer cells=.")
        return found

    return iterated


def _slowest(matrix: sp.csc_array, solve: Callable[[np.ndarray], np.ndarray]) -> tuple[float, np.ndarray]:
    """The eigenvalue nearest to zero, with its sign changed, and its vector: by inverse iteration."""
    vector, before = np.ones(matrix.indptr.size - 1), 0.0
    for _ in range(500):
        new = solve(vector)
        rate = -float(vector @ vector) / float(vector @ new)
        vector = new / np.linalg.norm(new)
        if abs(rate - before) <= 1e-13 * abs(rate):
            break
        before = rate
    return rate, np.abs(vector)


def quasi_stationary(grid: Discretisation) -> Masses:
    """The masses of what is left after a long time: where a grid has to be."""
    alive = np.flatnonzero(grid.alive)
    forward = grid.rates(0.0).matrix[alive][:, alive].tocsc()
    mass = np.zeros((len(grid.states), 1))
    mass[alive, 0] = _slowest(forward, _solver(forward, grid.dim))[1]
    return Masses(mass, np.ones(1), positive=True)


__all__ = ["ExitTimes", "exit_times", "quasi_stationary"]
