"""`StiffProblem`: an initial value problem, its tolerance scale, and what others have published about its end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdekit.errors import InputError


class Published(NamedTuple):
    """End values from the literature: y_i(time) for i in `components`."""

    time: float
    components: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class StiffProblem:
    """y' = f(t, y), y(start) = y0, whose end value y(end) is known to about ten digits: see `references`.

    Args:
        name: What it is called in tables and in `references.json`.
        field: f(t, x), x of shape (*batch, d), t a scalar or (*batch, 1); rows are independent, dtype follows x.
        y0: The initial values, (d,), float64.
        start: The initial time.
        end: The final time.
        atol_factor: The size below which a component counts as small: solvers get atol = rtol * atol_factor.
        breaks: Times between start and end where f jumps in t. f is continuous from the left there.
        solution: y(t) in closed form, t a number -> (d,), if there is one.
        published: End values from the literature, at a time of their own.
        note: What makes the problem hard.
        source: Where it comes from.

    Raises:
        InputError: If these do not fit together.
    """

    name: str
    field: nn.Module
    y0: Tensor
    start: float
    end: float
    atol_factor: float = 1.0
    breaks: tuple[float, ...] = ()
    solution: Callable[[float], Tensor] | None = None
    published: Published | None = None
    note: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.y0.ndim != 1 or self.y0.dtype != torch.float64:
            raise InputError(f"{self.name}: y0 must be (d,) in float64, got {tuple(self.y0.shape)} in {self.y0.dtype}.")
        times = (self.start, *self.breaks, self.end)
        if not all(map(math.isfinite, times)) or any(a >= b for a, b in pairwise(times)):
            raise InputError(f"{self.name}: start, breaks and end must increase, got {times}.")
        if not 0 < self.atol_factor < math.inf:
            raise InputError(f"{self.name}: atol_factor must be positive, got {self.atol_factor}.")
        if self.published is not None and len(self.published.components) != len(self.published.values):
            raise InputError(f"{self.name}: there must be one published value for each component.")

    @property
    def dim(self) -> int:
        """The number of unknowns d."""
        return self.y0.shape[0]

    def atol(self, rtol: float) -> float:
        """The absolute tolerance that goes with a relative one."""
        return rtol * self.atol_factor

    def error(self, y: Tensor, truth: Tensor) -> Tensor:
        """max_i |y_i - truth_i| / (atol_factor + |truth_i|), (*batch,): the error in units of rtol."""
        return ((y - truth).abs() / (self.atol_factor + truth.abs())).amax(-1)


__all__ = ["Published", "StiffProblem"]
