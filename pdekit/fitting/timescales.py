"""How fast the fitted process forgets, and whether the record is long and dense enough for that."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import PdekitError
from pdekit.fitting.evidence import Evidence
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import Chain, FiniteVolumeGrid
from pdekit.fokker_planck.spectral import decompose
from pdekit.symbolic import SymbolicSDE

_CELLS = 400
_MODES = 24
_ENLARGEMENTS = 7
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The slowest modes of the fitted generator.

    Attributes:
        rates: lambda_1 <= lambda_2 ..., (m,), 1/time; the constant mode (rate 0) is left out.
        modes: The eigenfunctions phi_k at states x of shape (n,), (n, m); orthonormal under the stationary law.
    """

    rates: np.ndarray
    modes: Callable[[Tensor], np.ndarray]

    @property
    def relaxation_time(self) -> float:
        """1 / lambda_1."""
        return 1.0 / float(self.rates[0])


def spectrum(model: SymbolicSDE, theta: Tensor, x: Tensor) -> Spectrum | None:
    """The slowest modes at theta, None if the process has no stationary law (or the noise depends on time).

    Args:
        model: The SDE.
        theta: Parameters, (k,).
        x: Observed states, (n,), to begin the search for the stationary law's support.
    """
    if model.dim != 1 or not model.autonomous or model.noise_dim != 1:
        return None
    try:
        return _spectrum(model.ito(), theta, x)
    except PdekitError:
        return None


def _spectrum(model: SymbolicSDE, theta: Tensor, x: Tensor) -> Spectrum | None:
    function = model.function([model.drift[0], model.diffusion_matrix[0, 0]])

    def coefficients(at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            both = function(0.0, at[:, None], theta)
        return both[:, 0], both[:, 1]

    reach = (float(x.min()), float(x.max()))
    tight = LampertiCoordinate(lambda at: coefficients(at)[1], model.domain[0], reach, 0.0)
    padding = 0.5 * (tight.range[1] - tight.range[0])
    for _ in range(_ENLARGEMENTS):
        coordinate = LampertiCoordinate(lambda at: coefficients(at)[1], model.domain[0], reach, padding)
        grid = FiniteVolumeGrid(coordinate, *coordinate.range, _CELLS)
        mass = grid.assemble(coefficients).stationary().numpy()
        outer = _CELLS // 50
        if (grid.closed_lower or mass[:outer].sum() < _NEGLIGIBLE) and (
            grid.closed_upper or mass[-outer:].sum() < _NEGLIGIBLE
        ):
            return _modes(*_trimmed(grid, mass, coefficients))
        padding *= 2.0
    return None


def _trimmed(
    grid: FiniteVolumeGrid, mass: np.ndarray, coefficients: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[FiniteVolumeGrid, Chain]:
    """The grid cut to where there is mass, so that no cells are wasted on what the process never visits."""
    below, above = np.cumsum(mass), np.cumsum(mass[::-1])
    first = int(np.searchsorted(below, 1e-10))
    last = len(mass) - int(np.searchsorted(above, 1e-10))
    lower, upper = grid.y_lower + first * grid.step, grid.y_lower + last * grid.step
    trimmed = FiniteVolumeGrid(grid.coordinate, lower, upper, _CELLS)
    return trimmed, trimmed.assemble(coefficients)


def _modes(grid: FiniteVolumeGrid, chain: Chain) -> Spectrum:
    values, vectors = decompose(*chain.symmetric())
    functions = (vectors / chain.stationary().sqrt()[:, None])[:, -1 - _MODES : -1].flip(1).numpy()
    functions = np.nan_to_num(functions, nan=0.0, posinf=0.0, neginf=0.0)
    rates = -values[-1 - _MODES : -1].flip(0).numpy()

    def modes(x: Tensor) -> np.ndarray:
        position = ((grid.coordinate.to_y(x) - grid.y_lower) / grid.step - 0.5).numpy().clip(0.0, grid.cells - 1.0)
        left = np.minimum(position.astype(np.int64), grid.cells - 2)
        share = (position - left)[:, None]
        return (1.0 - share) * functions[left] + share * functions[left + 1]

    return Spectrum(rates.clip(min=1e-300), modes)
