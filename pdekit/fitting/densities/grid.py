"""The Fokker-Planck likelihood: transition densities of a scalar model from the finite-volume generator."""

import math

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.coefficients import Coefficients, Model
from pdekit.fokker_planck.coordinate import LampertiCoordinate
from pdekit.fokker_planck.generator import FiniteVolumeGrid
from pdekit.fokker_planck.transition import GridTransition

# Measured on double well, OU and CIR: five or six cells in a one-step standard deviation leave the estimate within a
# few hundredths of a standard error.
CELLS_PER_DEVIATION = 5.5
PADDING_DEVIATIONS = 3.0
LEAST_CELLS = 60
MOST_CELLS = 800
_TAIL = 1e-4


class FokkerPlanckTransition:
    """log p of every pair on a finite-volume grid that stays fixed while the parameters move.

    Built by `lay`; `refined` and `extrapolated` derive better ones.

    Args:
        model: An autonomous SDE with one state and one noise, of formulas or learned.
        kernel: The grid with the pairs placed on it.
        extrapolate: Combine the grid with one of half the cell width, (4 log p_{h/2} - log p_h) / 3: order 4 in h.
    """

    def __init__(self, model: Model, kernel: GridTransition, *, extrapolate: bool = False) -> None:
        self.model = model.ito()
        self.kernel = kernel
        self.extrapolate = extrapolate
        self._fine = kernel.refined() if extrapolate else None
        self._coefficients = Coefficients(self.model)
        self.cells = kernel.grid.cells
        ends = f"{self.cells} and {2 * self.cells} cells, extrapolated" if extrapolate else f"{self.cells} cells"
        self.route = f"Fokker-Planck, {ends}"

    @classmethod
    def lay(
        cls, model: Model, pairs: Pairs, reference: Tensor, *, cells: int | None = None, extrapolate: bool = False
    ) -> "FokkerPlanckTransition":
        """Lays a grid for these pairs in the Lamperti coordinate of the reference parameters (k,).

        Args:
            model: An autonomous SDE with one state and one noise, of formulas or learned.
            pairs: The observations.
            reference: Parameters near which the density will be evaluated.
            cells: The number of cells; by default as `wanted_cells`, 60 to 800.
            extrapolate: As in the class.

        Raises:
            UnsupportedError: If the model has several states or noises, or depends on time.
            NumericalError: If the diffusion vanishes between the observations.
        """
        if model.dim != 1 or model.noise_dim != 1 or not model.autonomous:
            raise UnsupportedError(
                "The Fokker-Planck likelihood needs one state, one noise and coefficients that don't depend on time; "
                "use method='auto'."
            )
        steps, step_index = pairs.distinct()
        x0, x1 = pairs.x0[:, 0], pairs.x1[:, 0]
        coordinate, lower, upper, wanted = _plan(model, reference, torch.cat([x0, x1]), steps)
        grid = FiniteVolumeGrid(coordinate, lower, upper, cells or min(max(wanted, LEAST_CELLS), MOST_CELLS))
        return cls(model, GridTransition(grid, x0, x1, steps, step_index), extrapolate=extrapolate)

    def refined(self) -> "FokkerPlanckTransition":
        """The same density with half the cell width."""
        return FokkerPlanckTransition(self.model, self.kernel.refined())

    def extrapolated(self) -> "FokkerPlanckTransition":
        """The same density combined with that of half the cell width."""
        return FokkerPlanckTransition(self.model, self.kernel, extrapolate=True)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log-density of every pair, (n,)."""
        coefficients = self._coefficients.scalar(theta)
        coarse = self.kernel.log_density(coefficients)
        if self._fine is None:
            return coarse
        return (4.0 * self._fine.log_density(coefficients) - coarse) / 3.0

    def cdf(self, theta: Tensor) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) of every pair, (n,)."""
        coefficients = self._coefficients.scalar(theta)
        coarse = self.kernel.cdf(coefficients)
        if self._fine is None:
            return coarse
        fine = self._fine.cdf(coefficients)
        # In the far tails a difference of two small numbers would say less than the better of the two.
        inner = torch.minimum(fine, 1.0 - fine) > _TAIL
        return torch.where(inner, (4.0 * fine - coarse) / 3.0, fine).clamp(0.0, 1.0)

    @property
    def finest(self) -> int:
        """The cells of its finest grid."""
        return 2 * self.cells if self.extrapolate else self.cells

    @property
    def unreachable(self) -> int:
        """How many pairs had a density below double precision at the last evaluation."""
        return int(self.kernel.unreachable.sum())


def wanted_cells(model: Model, pairs: Pairs, reference: Tensor) -> int:
    """The cells it takes to have 5.5 of them in the standard deviation of the shortest step."""
    steps, _ = pairs.distinct()
    return _plan(model, reference, torch.cat([pairs.x0[:, 0], pairs.x1[:, 0]]), steps)[3]


def _plan(model: Model, reference: Tensor, x: Tensor, steps: Tensor) -> tuple[LampertiCoordinate, float, float, int]:
    """The coordinate, the range of y that the grid covers, and the number of cells wanted."""
    noise = Coefficients(model).noise
    longest, shortest = math.sqrt(float(steps.max())), math.sqrt(float(steps.min()))
    coordinate = LampertiCoordinate(
        lambda at: noise(0.0, at[:, None], reference)[:, 0, 0],
        model.domain[0],
        (float(x.min()), float(x.max())),
        PADDING_DEVIATIONS * longest,
    )
    y = coordinate.to_y(x)
    # Over a long step the process forgets where it was: its spread, not the free noise's, is then the yardstick.
    spread = max(float(y.std()), 1e-300)
    padding = PADDING_DEVIATIONS * min(longest, spread)
    lower, upper = float(y.min()) - padding, float(y.max()) + padding
    least, greatest = coordinate.range
    covered = min(upper, greatest) - max(lower, least)
    return coordinate, lower, upper, math.ceil(covered / (min(shortest, spread) / CELLS_PER_DEVIATION))
