"""Steps that keep nothing but their inputs, and are made again when gradients come back."""

import ctypes
import sys
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pdekit.ode.march import March
from pdekit.ode.nonlinear.memory import Memory
from pdekit.ode.stepper import Attempt

_LARGE = 2**16  # bytes of a state from which on the memory between steps is tended
_EVERY = 10


class Remade:
    """`plain_attempt` under a checkpoint: of each step the state and the history before it are kept."""

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self, march: March, h: np.ndarray, weights: Tensor) -> Attempt:
        """One attempt."""
        stepper, field, t, memory, tolerances = march.stepper, march.field, march.t, march.memory, march.tolerances
        known = [memory]  # the first time; later ones begin without it, and would spoil it

        def attempt(y: Tensor, *values: Any) -> Attempt:
            own = known.pop() if known else Memory(len(t))
            history = type(march.history)(zip(names, values, strict=True))
            # The weights are computed anew: they are as large as a state.
            return stepper.attempt(field, t, y, h, history, own, tolerances.weights(y))

        names = list(march.history)
        self._steps += 1
        if self._steps % _EVERY == 0 and march.y.device.type == "cpu" and march.y.nbytes >= _LARGE:
            give_back_free_memory()
        return checkpoint(attempt, march.y, *march.history.values(), use_reentrant=False)


def give_back_free_memory() -> None:
    """Free memory goes back to the system, where the C library is glibc.

    The nodes of the graph settle in the gaps that large temporary arrays leave, and glibc then has no gap left for the
    next array: the process grows by some twenty states for each one kept.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries than glibc have none
        if trim is not None:
            trim(0)


__all__ = ["Remade", "give_back_free_memory"]
