"""The Adams-Bashforth-Moulton pair of order 4 with steps of any length.

The predictor integrates the polynomial through the last four slopes, the corrector the one through the new slope and
three of them; the value with all five tells the error. The first three steps, for want of slopes, are those of the
classical Runge-Kutta method of order 4.

Source: E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I, section III.5; R. T. Q. Chen
and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019, for the Jacobi-Newton corrector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.ode import tableaus
from pdekit.ode.field import Field
from pdekit.ode.implicit_function import solved_with_gradient
from pdekit.ode.inside import defect, larger
from pdekit.ode.nonlinear.equation import column, indices
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.nonlinear.solvers import Functional, Solver
from pdekit.ode.runge_kutta import Explicit
from pdekit.ode.stage import StageEquation, StageSystem
from pdekit.ode.stepper import Attempt, History, Stepper

_MOST = 4
_QUARTER = 0.25


@dataclass(frozen=True, eq=False)
class Adams(Stepper):
    """Steps of the pair.

    Args:
        solver: For the corrector.
        limit: How accurately it is solved, in units of the tolerance.
        gradient_order: Up to which order derivatives are wanted.
        inside: Whether the error between the ends of steps counts as well.
    """

    solver: Solver
    limit: float
    gradient_order: int
    inside: bool = False

    @property
    def order(self) -> int:
        """See `Stepper`."""
        return _MOST

    @property
    def interpolates(self) -> bool:
        """See `Stepper`."""
        return False  # a cubic's error goes with other derivatives than the method's, and is not estimated by it

    def start(self, t: np.ndarray, y: Tensor, slope: Tensor) -> History:
        """See `Stepper`."""
        slopes = torch.stack([slope, *[torch.zeros_like(slope)] * (_MOST - 1)], 1)
        return History({"slopes": slopes, "times": np.tile(t[:, None], _MOST), "known": np.ones(len(t), dtype=int)})

    def attempt(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        """See `Stepper`."""
        attempt = self._by_age(field, t, y, h, history, memory, weights)
        if self.inside:
            missed = defect(field, t, y, h, attempt.polynomial(), _QUARTER) / 3  # at a quarter it is 3 errors of P
            attempt.error = larger(attempt.error, missed, weights)
        return attempt

    def _by_age(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        early = history["known"] < _MOST
        if early.all():
            return self._first(field, t, y, h, history, memory, weights)
        if not early.any():
            return self._later(field, t, y, h, history, memory, weights)
        # Samples that had steps rejected lag behind.
        parts = []
        for step, keep in ((self._first, np.flatnonzero(early)), (self._later, np.flatnonzero(~early))):
            at, own = indices(keep, y), memory.take(keep)
            parts.append(step(field.take(keep), t[keep], y[at], h[keep], history.take(keep), own, weights[at]))
            memory.put(keep, own)
        return _joined(early, *parts)

    def _first(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        start = History({"slope": history["slopes"][:, 0]})
        found = Explicit(tableaus.rk4()).attempt(field, t, y, h, start, memory, weights)
        orders = np.full(len(t), found.error_order)
        return _attempt(t, y, h, history, found.y, found.error, found.solved, orders, found.history["slope"])

    def _later(
        self, field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, history: History, memory: Memory, weights: Tensor
    ) -> Attempt:
        slopes = history["slopes"]
        nodes = (history["times"] - t[:, None]) / h[:, None]
        ahead = np.column_stack([np.ones(len(t)), nodes])
        better = _weights(ahead)
        corrector = np.column_stack([_weights(ahead[:, :_MOST]), np.zeros(len(t))])
        step, scale = column(h, y), h * corrector[:, 0]
        offset = y + step * _sum(corrector[:, 1:], slopes)
        guess = y + step * _sum(_weights(nodes), slopes)
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
        return _attempt(t, y, h, history, after, error, solved, np.full(len(t), _MOST + 1), slope)


def _attempt(
    t: np.ndarray,
    y: Tensor,
    h: np.ndarray,
    history: History,
    after: Tensor,
    error: Tensor,
    solved: np.ndarray,
    orders: np.ndarray,
    slope: Tensor,
) -> Attempt:
    slopes, step = history["slopes"], column(h, y)
    new = {
        "slopes": torch.cat([slope.unsqueeze(1), slopes[:, :-1]], 1),
        "times": np.column_stack([t + h, history["times"][:, :-1]]),
        "known": np.minimum(history["known"] + 1, _MOST),
    }
    return Attempt(
        after,
        error.detach(),
        solved,
        orders,
        History(new),
        lambda: _hermite(after - y, step * slopes[:, 0], step * slope),
    )


def _joined(first: np.ndarray, a: Attempt, b: Attempt) -> Attempt:
    """Attempts of the samples where `first` holds, and of the others."""
    order = np.argsort(np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)]))
    at = indices(order, a.y)

    def both(x: Any, z: Any) -> Any:
        return torch.cat([x, z])[at] if isinstance(x, Tensor) else np.concatenate([x, z])[order]

    history = History({name: both(value, b.history[name]) for name, value in a.history.items()})
    return Attempt(
        both(a.y, b.y),
        both(a.error, b.error),
        both(a.solved, b.solved),
        both(a.error_order, b.error_order),
        history,
        lambda: both(a.polynomial(), b.polynomial()),
    )


def _weights(nodes: np.ndarray) -> np.ndarray:
    """For each row the integrals from 0 to 1 of the Lagrange polynomials of its nodes."""
    powers = np.arange(nodes.shape[1])
    vandermonde = nodes[:, :, None] ** powers  # (rows, node, power)
    moments = np.broadcast_to(1.0 / (powers + 1), nodes.shape)
    return np.linalg.solve(vandermonde.swapaxes(1, 2), moments[..., None])[..., 0]


def _sum(weights: np.ndarray, slopes: Tensor) -> Tensor:
    return torch.einsum("nj,njd->nd", torch.as_tensor(weights, dtype=slopes.dtype, device=slopes.device), slopes)


def _hermite(rise: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The cubic with this rise and these slopes at its ends, (n, 3, d)."""
    return torch.stack([first, 3 * rise - 2 * first - last, first + last - 2 * rise], 1)


__all__ = ["Adams"]
