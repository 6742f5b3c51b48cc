"""Transition densities of a one-dimensional SDE from its finite-volume generator: the Fokker-Planck likelihood.

p(x1, dt | x0) is the kernel of exp(L dt). On the grid it is a matrix; between cells, log(p / m) with m the speed
density is interpolated by cubics in both arguments (it is symmetric and smooth, also at a boundary where p is
singular), and log m(x1) is added back exactly.
"""

import torch
from torch import Tensor

from pdekit.fokker_planck.generator import Chain, Coefficients, FiniteVolumeGrid, SpeedDensity, power_cells
from pdekit.fokker_planck.spectral import Entries, decompose, kernel_blocks
from pdekit.fokker_planck.uniformization import kernel_rows, positive_blocks

# Below this the eigendecomposition's rounding (1e-15) shows in the logarithm; such pairs take the positive route.
_NOISE_FLOOR = 1e-10
_LEAST_POSITIVE = 1e-280
# Rows of a kernel sum to one; those that miss it by more have lost their entries to rounding.
_LOST_MASS = 1e-5


class GridTransition:
    """log p(x1, dt | x0) for given pairs, on a grid that stays fixed while the coefficients change.

    Args:
        grid: The grid; it must cover every x0 and x1.
        x0: Starting states, (n,).
        x1: End states, (n,).
        steps: The distinct time steps, (k,).
        step_index: Which step each pair belongs to, (n,).
    """

    def __init__(self, grid: FiniteVolumeGrid, x0: Tensor, x1: Tensor, steps: Tensor, step_index: Tensor) -> None:
        self.grid = grid
        self._x0, self._x1 = x0, x1
        start, self._start_weights = _stencil(grid, x0)
        end, self._end_weights = _stencil(grid, x1)
        self.entries = Entries(steps, step_index, start, end)
        self._speed = SpeedDensity(grid, x1)
        self.unreachable = torch.zeros(len(x0), dtype=torch.bool)

    def refined(self) -> "GridTransition":
        """The same pairs on a grid with half the cell width."""
        return GridTransition(self.grid.refined(), self._x0, self._x1, self.entries.steps, self.entries.step_index)

    def log_density(self, coefficients: Coefficients) -> Tensor:
        """log p for every pair, (n,), differentiable once in whatever the coefficients depend on.

        Pairs whose density is too small for double precision (below about 1e-280) take the value of one Euler step and
        are marked in `unreachable`.

        Raises:
            NumericalError: As `FiniteVolumeGrid.assemble`; or if the generator can't be decomposed.
        """
        chain = self.grid.assemble(coefficients)
        log_kernel, self.unreachable = self._log_symmetric_kernel(chain)
        half_mass = 0.5 * chain.log_mass
        offsets = torch.arange(4)
        start_mass = half_mass[self.entries.rows[:, None] + offsets]
        end_mass = half_mass[self.entries.columns[:, None] + offsets]
        density = torch.einsum("na,nab,nb->n", self._start_weights, log_kernel, self._end_weights)
        density = density - (start_mass * self._start_weights).sum(-1) - (end_mass * self._end_weights).sum(-1)
        log_density = density + self._speed.log(chain, coefficients)
        if bool(self.unreachable.any()):
            lost = self.unreachable.nonzero().flatten()
            log_density = log_density.index_put((lost,), self._euler(coefficients, lost))
        return log_density

    def _log_symmetric_kernel(self, chain: Chain) -> tuple[Tensor, Tensor]:
        """log of exp(A dt) on the stencils, (n, 4, 4), and which pairs are out of reach, (n,)."""
        blocks = kernel_blocks(*chain.symmetric(), self.entries)
        least = blocks.detach().amin((-1, -2))
        faint = (~(least > _NOISE_FLOOR)).nonzero().flatten()
        unreachable = torch.zeros_like(least, dtype=torch.bool)
        log_kernel = torch.log(blocks.clamp_min(_NOISE_FLOOR))
        if len(faint):
            chosen = self.entries.select(faint)
            exact = positive_blocks(chain.up.exp(), chain.down.exp(), chosen)
            unreachable[faint] = ~(exact.detach().amin((-1, -2)) > _LEAST_POSITIVE)
            # From transition probabilities back to the symmetric kernel: exp(A dt)_ij = P_ij sqrt(M_i / M_j).
            half_mass = 0.5 * chain.log_mass
            offsets = torch.arange(4)
            tilt = (
                half_mass[chosen.rows[:, None] + offsets][:, :, None]
                - half_mass[chosen.columns[:, None] + offsets][:, None, :]
            )
            log_kernel = log_kernel.index_put((faint,), torch.log(exact.clamp_min(_LEAST_POSITIVE)) + tilt)
        return log_kernel, unreachable

    def _euler(self, coefficients: Coefficients, chosen: Tensor) -> Tensor:
        dt = self.entries.steps[self.entries.step_index[chosen]]
        drift, diffusion = coefficients(self._x0[chosen])
        variance = diffusion * diffusion * dt
        miss = self._x1[chosen] - self._x0[chosen] - drift * dt
        return -0.5 * (miss * miss / variance + torch.log(2.0 * torch.pi * variance))

    def cdf(self, coefficients: Coefficients) -> Tensor:
        """P(X_{t+dt} <= x1 | X_t = x0) for every pair, (n,), without gradient."""
        with torch.no_grad():
            chain = self.grid.assemble(coefficients)
            values, vectors = decompose(*chain.symmetric())
            half_mass = 0.5 * chain.log_mass
            grid, offsets = self.grid, torch.arange(4)
            face = (self.grid.coordinate.to_y(self._x1) - grid.y_lower) / grid.step
            first = face.floor().long().sub(1).clamp(0, grid.cells - 3)
            face_weights = _lagrange(face - first)
            out = torch.empty(len(self._x0), dtype=torch.float64)
            for chosen in torch.arange(len(out)).split(max(1, 4_000_000 // (4 * grid.cells))):
                starts = self.entries.rows[chosen, None] + offsets
                decay = torch.exp(values * self.entries.steps[self.entries.step_index[chosen], None])
                kernel = torch.matmul(vectors[starts] * decay[:, None, :], vectors.T)
                kernel = torch.where(kernel > 1e-14, kernel, 0.0) * torch.exp(half_mass - half_mass[starts][..., None])
                self._replace_lost_rows(kernel, starts, self.entries.step_index[chosen], chain)
                below = torch.cumsum(kernel, -1)
                below = torch.cat([torch.zeros_like(below[..., :1]), below], -1) / below[..., -1:]
                along = torch.gather(below, -1, (first[chosen, None] + offsets)[:, None, :].expand(-1, 4, 4))
                weights = self._start_weights[chosen]
                out[chosen] = torch.einsum("na,nab,nb->n", weights, along, face_weights[chosen])
                for cell, members, fraction in self._power_law_cells(chain, chosen):
                    inside = torch.einsum("na,nab->nb", weights[members], below[members, :, cell : cell + 2])
                    out[chosen[members]] = inside[:, 0] + fraction * (inside[:, 1] - inside[:, 0])
            return out.clamp(0.0, 1.0)

    def _replace_lost_rows(self, kernel: Tensor, starts: Tensor, step_index: Tensor, chain: Chain) -> None:
        """Puts positive rows where the symmetric kernel had only noise: starts hardly ever visited."""
        lost = ~((kernel.sum(-1) - 1.0).abs() < _LOST_MASS)
        for index in torch.unique(step_index[lost.any(-1)]).tolist():
            here = lost & (step_index == index)[:, None]
            distinct, position = torch.unique(starts[here], return_inverse=True)
            step = float(self.entries.steps[index])
            rows = kernel_rows(chain.up.exp(), chain.down.exp(), distinct, step, self.grid.cells)
            kernel[here] = rows[position]

    def _power_law_cells(self, chain: Chain, chosen: Tensor):
        """(cell, positions in `chosen`, share of the cell's mass below x1) for ends in the cells next to a closed end.

        There the distribution function rises as a power of the distance, which no polynomial in y follows.
        """
        grid, base = self.grid, self.grid.coordinate.base
        ends = []
        if grid.closed_lower:
            ends.append((range(power_cells(grid.cells)), 1, lambda x: x - base.lower))
        if grid.closed_upper:
            ends.append(
                (range(grid.cells - 1, grid.cells - 1 - power_cells(grid.cells), -1), -1, lambda x: base.upper - x)
            )
        for cells, inward, distance in ends:
            for cell in cells:
                members = (self._speed.nearest[chosen] == cell).nonzero().flatten()
                if not len(members):
                    continue
                log_distance = torch.log(distance(grid.centers[[cell, cell + inward]]))
                log_speed = chain.log_speed[[cell, cell + inward]]
                power = float(1.0 + (log_speed[1] - log_speed[0]) / (log_distance[1] - log_distance[0]))
                lower, upper = distance(grid.faces[cell]) ** power, distance(grid.faces[cell + 1]) ** power
                position = distance(self._x1[chosen[members]]) ** power
                yield cell, members, ((position - lower) / (upper - lower)).clamp(0.0, 1.0)


def _stencil(grid: FiniteVolumeGrid, x: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the four cells around each x, (n,), and the weights of cubic interpolation in y, (n, 4)."""
    position = (grid.coordinate.to_y(x) - grid.y_lower) / grid.step - 0.5
    first = position.floor().long().sub(1).clamp(0, grid.cells - 4)
    return first, _lagrange(position - first)


def _lagrange(s: Tensor) -> Tensor:
    """Weights of the cubic through the points 0, 1, 2, 3 at s, (n, 4)."""
    a, b, c = s - 1.0, s - 2.0, s - 3.0
    return torch.stack([-a * b * c / 6.0, s * b * c / 2.0, -s * a * c / 2.0, s * a * b / 6.0], -1)
