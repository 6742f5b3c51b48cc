"""A learned SDE that keeps some of the states it was learned from."""

from typing import Any, Protocol

from torch import Tensor


class SampledSDE(Protocol):
    """What distillation asks of a learned SDE.

    Attributes:
        state_names: Names of the d states.
        diagonal: Whether G is diagonal.
        autonomous: Whether neither coefficient depends on the time.
        states: Some of the states it was learned from, (m, d).
        times: When they were, (m, 1).
        weight: What one of them stands for: time, and transitions.
    """

    state_names: tuple[str, ...]
    diagonal: bool
    autonomous: bool
    states: Tensor
    times: Tensor
    weight: tuple[float, float]

    @property
    def dim(self) -> int:
        """d."""
        ...

    def drift(self, t: Any, x: Tensor) -> Tensor:
        """f at states, (*batch, d)."""
        ...

    def noise(self, t: Any, x: Tensor) -> Tensor:
        """G at states, (*batch, d, d)."""
        ...


__all__ = ["SampledSDE"]
