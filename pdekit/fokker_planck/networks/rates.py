"""How fast a velocity field changes from place to place."""

from collections.abc import Callable

import torch
from torch import Tensor

_STATES = 120
_WIDTH, _ITERATIONS = 1e-5, 4  # of differences, in standard deviations; of the power iteration


def greatest_rate(velocity: Callable[[Tensor], Tensor], states: Tensor) -> float:
    """The greatest norm of its Jacobian at some states (n, d), one over time, by power iteration with differences.

    Each state is measured in standard deviations of its own, so that units make no difference.
    """
    y = spread_out(states, _STATES)
    width = y.std(0)
    width = torch.where(width > 0, width, torch.ones_like(width))
    v, size = torch.ones_like(y) / y.shape[1] ** 0.5, torch.zeros_like(y[:, :1])
    base = velocity(y) / width
    for _ in range(_ITERATIONS):
        change = (velocity(y + _WIDTH * v * width) / width - base) / _WIDTH
        size = change.norm(dim=1, keepdim=True)
        v = change / size.clamp_min(1e-300)
    return float(size.max())


def spread_out(states: Tensor, count: int) -> Tensor:
    """No more than so many of the states, evenly."""
    return states[torch.linspace(0, len(states) - 1, min(count, len(states))).long()]


__all__ = ["greatest_rate", "spread_out"]
