"""The stationary density of a fitted SDE with one state, from the finite-volume chain.

The chain's stationary law is proportional to its speed masses M_i, so no matrix is decomposed. Open ends of the grid
are artificial: they are moved outward until no mass is left near them. Where it stays, there is no stationary density.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fitting.coefficients import Coefficients as ModelCoefficients
from pdekit.fitting.coefficients import Model
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import Coefficients, FiniteVolumeGrid

_CELLS = 2000
_DOUBLINGS = 8
# The share of the grid that counts as near an open end, and the mass that may be left there.
_EDGE = 0.05
_LEFT_OVER = 1e-4
# Logarithm of the distance to a boundary, beyond which the coordinate ends for want of digits.
_FAR = 60.0


@dataclass(frozen=True, eq=False)
class StationaryDensity:
    """A stationary density on the cells of a grid.

    Attributes:
        x: Cell centers, (n,), increasing.
        pdf: The density there, (n,), per unit of the state.
        mass: The probability of each cell, (n,).
    """

    x: Tensor
    pdf: Tensor
    mass: Tensor

    def quantile(self, level: float) -> float:
        """The center of the cell in which the distribution function passes `level`."""
        return float(self.x[int((self.mass.cumsum(0) < level).sum().clamp_max(len(self.x) - 1))])


@dataclass(frozen=True)
class NoStationaryDensity:
    """Why there is none.

    Attributes:
        reason: One plain sentence.
    """

    reason: str


def stationary_density(
    model: Model, theta: Tensor, reach: tuple[float, float]
) -> StationaryDensity | NoStationaryDensity:
    """The stationary density of a model with one state, or the reason why it has none.

    Args:
        model: The model.
        theta: Its parameters, (k,).
        reach: (least, greatest) observed state, where the search for the density begins.

    Example:
        >>> import pdekit as pk
        >>> ou = pk.models.get("ornstein_uhlenbeck")
        >>> p = stationary_density(ou, ou.theta({"theta": 2.0, "mu": 1.0, "sigma": 1.0}), (0.0, 2.0))
        >>> variance = float((p.mass * (p.x - 1.0) ** 2).sum())
        >>> abs(variance - 0.25) < 1e-4
        True
        >>> gbm = pk.models.get("gbm")
        >>> stationary_density(gbm, gbm.theta({"mu": 0.1, "sigma": 0.2}), (1.0, 3.0)).reason
        'the probability of the fitted process runs off towards large x.'
    """
    model = model.ito()
    name = model.state_names[0]
    if model.dim != 1 or model.noise_dim != 1:
        return NoStationaryDensity("it is computed for models with one state and one noise only.")
    if not model.autonomous:
        return NoStationaryDensity("the fitted coefficients depend on time.")
    coefficients = ModelCoefficients(model).scalar(theta.detach())
    try:
        with torch.no_grad():
            return _widen(coefficients, model.domain[0], reach, name)
    except NumericalError as error:
        return NoStationaryDensity(_lowered(str(error)))


def _widen(
    coefficients: Coefficients, domain: tuple[float, float], reach: tuple[float, float], name: str
) -> StationaryDensity | NoStationaryDensity:
    def noise(x: Tensor) -> Tensor:
        return coefficients(x)[1]

    ends = torch.tensor(reach, dtype=torch.float64)
    span = LampertiCoordinate(noise, domain, reach, 1e-9).to_y(ends).diff().item()
    edge = int(_EDGE * _CELLS)
    side = f"large {name}"
    for doubling in range(_DOUBLINGS):
        padding = span * 2.0**doubling
        coordinate = LampertiCoordinate(noise, domain, reach, padding)
        y_lower, y_upper = coordinate.to_y(ends).tolist()
        grid = FiniteVolumeGrid(coordinate, y_lower - padding, y_upper + padding, _CELLS)
        chain = grid.assemble(coefficients)
        mass = chain.stationary()
        if not bool(torch.isfinite(chain.log_speed).all()):
            break  # so far out that squares overflow, and mass was still there before
        near_lower, near_upper = _is_near(grid, 0), _is_near(grid, -1)
        low = 0.0 if grid.closed_lower and near_lower else float(mass[:edge].sum())
        high = 0.0 if grid.closed_upper and near_upper else float(mass[-edge:].sum())
        if max(low, high) < _LEFT_OVER:
            pdf = torch.exp(chain.log_speed - torch.logsumexp(chain.log_mass, 0))
            return StationaryDensity(grid.centers, pdf, mass)
        both = min(low, high) > 0.1 * max(low, high)
        side = "both sides" if both else f"{'small' if low > high else 'large'} {name}"
    return NoStationaryDensity(f"the probability of the fitted process runs off towards {side}.")


def _is_near(grid: FiniteVolumeGrid, cell: int) -> bool:
    """Whether a boundary is at a finite distance in units of noise, not at the end of what floats can tell from it."""
    return abs(float(grid.coordinate.base.to_base(grid.centers[[cell]]))) < _FAR


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
