"""A numerical transition density of a scalar SDE: central differences and SciPy's eigensolver, extrapolated.

Written apart from the finite-volume generator of `pdekit.fokker_planck`, which it serves to certify: another
coordinate (x itself), another discretisation, another eigensolver.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import cumulative_simpson
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from pdekit.errors import InputError, NumericalError, UnsupportedError
from pdekit.sde import SDE
from pdekit.testing.plain import ito_drift

_MOST_CELLS = 500  # of the coarsest grid; the finest has nine times as many
_MOST_ROUNDING = 1e-6
_EDGE = 1e-6  # probability that the outermost cells may hold
_FINE = 4  # points per cell of the quadrature of the drift


@dataclass(frozen=True)
class ReferenceTransition:
    """p(x1, dt | x0) on a grid.

    Attributes:
        x: The grid, (n,).
        density: For each dt one row, (len(dts), n).
        error: For each dt the L1 distance to what the two coarser grids extrapolate to, over 80, and what rounding may
            add: an estimate of its own error.
    """

    x: np.ndarray
    density: np.ndarray
    error: np.ndarray

    def integral(self, values: np.ndarray) -> np.ndarray:
        """The integral over x of values on the grid (..., n)."""
        return np.sum(values, -1) * (self.x[1] - self.x[0])


def reference_transition(
    sde: SDE, x0: float, dts: np.ndarray, lower: float, upper: float, *, cells: int = 240
) -> ReferenceTransition:
    """Solve the Fokker-Planck equation of an autonomous scalar SDE from a point, on an interval that no mass leaves.

    The probabilities of cells of equal width jump to their neighbours with rates D/h^2 sqrt(p_s(neighbour) / p_s),
    p_s being the stationary density: reversible, so that SciPy's symmetric tridiagonal eigensolver gives all times at
    once. Second order in h; three grids, each of a third of the width, are extrapolated to order four, and their
    disagreement is the error estimate.

    Args:
        sde: One state, coefficients that don't depend on time, Ito or Stratonovich.
        x0: The start.
        dts: Elapsed times (k,).
        lower: The lower end, far enough for no mass to reach it: boundaries themselves are not resolved.
        upper: The upper end.
        cells: Cells of the coarsest grid.

    Raises:
        UnsupportedError: If the SDE has several states, or coefficients that depend on time.
        InputError: If x0 is not inside, or mass reaches an end.
        NumericalError: If coefficients are not finite and positive in between.
    """
    if sde.dim != 1:
        raise UnsupportedError(f"The reference solution is for one state, this equation has {sde.dim}.")
    if not lower < x0 < upper:
        raise InputError(f"x0 = {x0} must lie between {lower} and {upper}.")
    _check_autonomous(sde, np.linspace(lower, upper, 102)[1:-1])
    cells = max(cells, _cells_for(sde, x0, float(np.min(dts)), upper - lower))
    width = (upper - lower) / cells
    # x0 is the centre of a cell on every grid: cell centres are x0 + k h, refined by odd factors.
    grids = [_solve(sde, x0, dts, lower, upper, width / factor) for factor in (1, 3, 9)]
    (grid, coarse), (_, middle), (_, fine) = (_on_coarse(g, width, x0, lower, upper) for g in grids)
    first, second = (9 * middle - coarse) / 8, (9 * fine - middle) / 8
    step = grid[1] - grid[0]
    rounding = np.finfo(float).eps * max(amplification for *_, amplification in grids)
    if rounding > _MOST_ROUNDING:
        raise NumericalError(
            f"x0 = {x0:g} is so unlikely that rounding grows by {rounding / np.finfo(float).eps:.0e} on the way from "
            "it. Take a start nearer to where the process stays."
        )
    reached = second[:, [0, -1]].max() * width
    if reached > _EDGE:
        raise InputError(
            f"{reached:.1e} of the probability is in the cells at {lower:g} and {upper:g}: move the ends further out, "
            "to where no mass gets."
        )
    return ReferenceTransition(grid, second, np.abs(second - first).sum(-1) * step / 80 + rounding)


def _solve(
    sde: SDE, x0: float, dts: np.ndarray, lower: float, upper: float, h: float
) -> tuple[np.ndarray, np.ndarray, float]:
    below, above = int((x0 - lower) / h), int((upper - x0) / h)
    x = x0 + h * np.arange(-below, above + 1)
    fine = np.linspace(x[0], x[-1], _FINE * (len(x) - 1) + 1)
    f, g = _coefficients(sde, fine)
    tensor = 0.5 * g * g
    if not np.isfinite(f).all() or not (tensor > 0).all():
        raise NumericalError(f"The coefficients are not finite, or the noise vanishes, between {lower} and {upper}.")
    log_stationary = cumulative_simpson(f / tensor, x=fine, initial=0.0) - np.log(tensor)
    ls, faces = log_stationary[::_FINE], tensor[_FINE // 2 :: _FINE]
    off = faces / h**2
    up, down = off * np.exp(np.diff(ls) / 2), off * np.exp(-np.diff(ls) / 2)
    diagonal = -np.concatenate([up, [0]]) - np.concatenate([[0], down])
    values, vectors = eigh_tridiagonal(diagonal, off)
    start = vectors[below]
    kernel = np.exp(np.minimum(values, 0.0) * np.asarray(dts)[:, None]) * start @ vectors.T
    return x, kernel * np.exp((ls - ls[below]) / 2) / h, float(np.exp((ls.max() - ls[below]) / 2))


def _coefficients(sde: SDE, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    states = torch.tensor(x, dtype=torch.float64).unsqueeze(-1)
    t = torch.zeros((), dtype=torch.float64)
    drift = torch.func.vmap(lambda z: ito_drift(sde, t, z))(states)
    noise = sde.diffusion(t, states).detach().reshape(len(x), -1)
    return drift[:, 0].detach().numpy(), noise.square().sum(-1).sqrt().numpy()


def _check_autonomous(sde: SDE, x: np.ndarray) -> None:
    states = torch.tensor(x, dtype=torch.float64).unsqueeze(-1)
    times = [torch.tensor(t, dtype=torch.float64) for t in (0.0, 0.7310585, 1.6180340)]
    for part in (sde.drift, sde.diffusion):
        first, *others = (part(t, states).nan_to_num() for t in times)
        if any(not torch.equal(first, other) for other in others):
            raise UnsupportedError("The reference solution is for coefficients that don't depend on time.")


def _cells_for(sde: SDE, x0: float, dt: float, span: float) -> int:
    """Two cells at least in the standard deviation of the shortest time."""
    _, noise = _coefficients(sde, np.array([x0]))
    deviation = float(noise[0]) * dt**0.5
    wanted = int(np.ceil(2 * span / deviation)) if deviation > 0 else 0
    if wanted > _MOST_CELLS:
        raise InputError(
            f"The interval is {span / deviation:.0f} times as wide as the density at dt = {dt:g}: take a narrower one, "
            "or longer times."
        )
    return wanted


def _on_coarse(
    grid: tuple[np.ndarray, np.ndarray, float], width: float, x0: float, lower: float, upper: float
) -> tuple[np.ndarray, np.ndarray]:
    x, density, _ = grid
    below, above = int((x0 - lower) / width), int((upper - x0) / width)
    wanted = x0 + width * np.arange(-below, above + 1)
    index = np.clip(np.rint((wanted - x[0]) / (x[1] - x[0])).astype(int), 0, len(x) - 1)
    return wanted, density[:, index]


LogDensity = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x0, x1, dt) -> log p, each (n, 1), (n, 1), (n,) -> (n,)

__all__ = ["LogDensity", "ReferenceTransition", "reference_transition"]
