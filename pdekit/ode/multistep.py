"""The Adams-Bashforth-Moulton pair with steps of any length, order 1 to 4.

The predictor integrates the polynomial through the last k slopes, the corrector the one through the new slope and k - 1
of them. The value with one slope more tells the error. The order grows from 1 as slopes are gathered.

Source: E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I, section III.5; R. T. Q. Chen
and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019, for the Jacobi-Newton corrector.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.field import Field
from pdekit.ode.implicit_function import solved_with_gradient
from pdekit.ode.nonlinear.equation import column
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.solvers import Functional, Solver
from pdekit.ode.stage import StageEquation, StageSystem
from pdekit.ode.stepper import Attempt, History, Stepper

_MOST = 4


@dataclass(frozen=True, eq=False)
class Adams(Stepper):
    """Steps of the pair.

    Args:
        solver: For the corrector.
        limit: How accurately it is solved, in units of the tolerance.
        gradient_order: Up to which order derivatives are wanted.
    """

    solver: Solver
    limit: float
    gradient_order: int

    @property
    def order(self) -> int:
        """See `Stepper`."""
        return _MOST

    @property
    def interpolation_order(self) -> int:
        """See `Stepper`."""
        return 3

    def start(self, t: np.ndarray, y: Tensor, slope: Tensor) -> History:
        """See `Stepper`."""
        slopes = torch.stack([slope, *[torch.zeros_like(slope)] * (_MOST - 1)], 1)
        return History({"slopes": slopes, "times": np.tile(t[:, None], _MOST), "known": np.ones(len(t), dtype=int)})

    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """See `Stepper`."""
        slopes, known = history["slopes"], history["known"]
        nodes = (history["times"] - t[:, None]) / h[:, None]
        ahead = np.column_stack([np.ones(len(t)), nodes])
        predictor, corrector, better = _weights(nodes, known), _weights(ahead, known), _weights(ahead, known + 1)
        step = column(h, y)
        offset = y + step * _sum(corrector[:, 1:], slopes)
        guess = y + step * _sum(predictor, slopes)
        scale = h * corrector[:, 0]
        equation = StageEquation(StageSystem(field, t + h, scale), offset, weights)
        after, solved = solved_with_gradient(
            equation, guess, self.solver, memory, limit=self.limit, order=self.gradient_order
        )
        if isinstance(self.solver, Functional):
            slope = field(t + h, after)  # more accurate than what the corrector implies, where h J is small
        else:
            slope = (after - offset) / column(scale, y)
        change = better - corrector
        error = step * (column(change[:, 0], y) * slope + _sum(change[:, 1:], slopes))
        new = {
            "slopes": torch.cat([slope.unsqueeze(1), slopes[:, :-1]], 1),
            "times": np.column_stack([t + h, history["times"][:, :-1]]),
            "known": np.minimum(known + 1, _MOST),
        }
        return Attempt(
            after,
            error.detach(),
            solved,
            known + 1,
            History(new),
            lambda: _hermite(after - y, step * slopes[:, 0], step * slope),
        )


def _weights(nodes: np.ndarray, count: np.ndarray) -> np.ndarray:
    """For each row the integrals from 0 to 1 of the Lagrange polynomials of its first `count` nodes, else 0."""
    found = np.zeros_like(nodes)
    for k in np.unique(count):
        rows = count == k
        powers = np.arange(k)
        vandermonde = nodes[rows, :k, None] ** powers  # (rows, node, power)
        moments = np.broadcast_to(1.0 / (powers + 1), (rows.sum(), k))
        found[rows, :k] = np.linalg.solve(vandermonde.swapaxes(1, 2), moments[..., None])[..., 0]
    return found


def _sum(weights: np.ndarray, slopes: Tensor) -> Tensor:
    return torch.einsum("nj,njd->nd", torch.as_tensor(weights, dtype=slopes.dtype, device=slopes.device), slopes)


def _hermite(rise: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The cubic with this rise and these slopes at its ends, (n, 3, d)."""
    return torch.stack([first, 3 * rise - 2 * first - last, first + last - 2 * rise], 1)


__all__ = ["Adams"]
