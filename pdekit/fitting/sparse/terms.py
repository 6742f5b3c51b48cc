"""Candidate terms with their derivatives as functions of the state, checked on the data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy
import torch
from sympy import Expr, Symbol
from torch import Tensor

from pdekit.errors import DataError, ModelError
from pdekit.symbolic.compiled import Compiled

Function = Callable[[Any, Tensor], Tensor]
# A term whose part that the terms before it don't explain is smaller than this share of it is one of them in disguise.
_COLLINEAR = 1e-5
_MOST_ROWS = 20_000


class Terms:
    """p terms in d states and their derivatives, as functions of times (n, 1) and states (n, d).

    Args:
        expressions: The terms, in the state and the time.
        state: The symbols of the states.
        time: The symbol of the time.

    Attributes:
        value: (n, p).
        gradient: d phi_k / d x_l, (n, p, d).
        curvature: d^2 phi_k / dx_l dx_m, (n, p, d, d).
        rate: d phi_k / dt, (n, p).
        smooth: Whether the derivatives exist as formulas; where not, `value` is all there is.
    """

    def __init__(self, expressions: Sequence[Expr], state: Sequence[Symbol], time: Symbol) -> None:
        self.expressions, self.state, self.time = tuple(expressions), tuple(state), time
        self.autonomous = not any(time in e.free_symbols for e in self.expressions)
        self.value: Function = Compiled(list(self.expressions), self.state, time)
        p, d = len(self.expressions), len(self.state)
        try:
            first = [[sympy.diff(e, x) for x in self.state] for e in self.expressions]
            second = [[sympy.diff(g, x) for g in row for x in self.state] for row in first]
            self.gradient: Function = Compiled(sympy.Matrix(p, d, lambda k, i: first[k][i]), self.state, time)
            flat = Compiled(sympy.Matrix(p, d * d, lambda k, i: second[k][i]), self.state, time)
            self.curvature: Function = lambda t, x: flat(t, x).view(*x.shape[:-1], p, d, d)
            self.rate: Function = Compiled([sympy.diff(e, time) for e in self.expressions], self.state, time)
            self.smooth = True
        except ModelError:
            self.smooth = False

    def __len__(self) -> int:
        return len(self.expressions)

    def only(self, kept: np.ndarray) -> "Terms":
        """The terms at these positions, (p,) bool."""
        return Terms([e for e, k in zip(self.expressions, kept, strict=True) if k], self.state, self.time)


def check_finite(terms: Terms, t: Tensor, x: Tensor, what: str) -> None:
    """Raises DataError naming the first term that is not finite at one of the states."""
    for rows in torch.arange(len(x)).split(_MOST_ROWS):
        values = terms.value(t[rows], x[rows])
        bad = ~torch.isfinite(values)
        if bool(bad.any()):
            row, k = bad.nonzero()[0].tolist()
            state = ", ".join(f"{s} = {v:g}" for s, v in zip(terms.state, x[rows][row].tolist(), strict=True))
            raise DataError(
                f"The term {terms.expressions[k]} of the {what} library is not finite at {state} "
                f"(transition {int(rows[row]) + 1}). Leave the term out, or transform or shift the data."
            )


def independent(terms: Terms, t: Tensor, x: Tensor) -> np.ndarray:
    """Which terms the data tell from those before them, (p,) bool.

    A term that is a linear combination of earlier ones at the observed states, to a part in 1e5, is left out: no data
    could say which of them is at work.
    """
    rows = torch.linspace(0, len(x) - 1, min(len(x), _MOST_ROWS)).long()
    columns = terms.value(t[rows], x[rows]).numpy()
    basis = np.zeros((len(rows), 0))
    kept = np.zeros(len(terms), dtype=bool)
    for k in range(len(terms)):
        column = columns[:, k]
        size = np.linalg.norm(column)
        rest = column.copy()
        for _ in range(2):  # the second pass removes the rounding of the first
            rest = rest - basis @ (basis.T @ rest)
        left = np.linalg.norm(rest)
        kept[k] = size > 0 and left > _COLLINEAR * size
        if kept[k]:
            basis = np.column_stack([basis, rest / left])
    return kept
