"""Where a time lies among others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Between:
    """A time t between two others.

    Args:
        before: The number of the time before.
        after: The number of the time after; the same if there is one time only.
        share: (t - before) / (after - before), a number or a tensor that derivatives by t go through.
        scaled: t as networks take it: 0 at the first time, 1 at the last.
    """

    before: int
    after: int
    share: Any
    scaled: Any

    def mixed(self, a: Tensor, b: Tensor) -> Tensor:
        """What belongs to t, from what belongs to the times before and after."""
        return b if self.before == self.after else a + self.share * (b - a)

    def mixed_factors(self, a: Tensor, b: Tensor) -> Tensor:
        """The same of C = L L^T, for lower triangular L, (..., d, d).

        A law that spreads by noise has a C that grows steadily; L would be far too large in between.
        """
        return b if self.before == self.after else torch.linalg.cholesky(self.mixed(a @ a.mT, b @ b.mT))


@dataclass(frozen=True, eq=False)
class Times:
    """Times at which something is known.

    Args:
        known: (k,), increasing.
    """

    known: np.ndarray

    def at(self, t: Any, near: float | None = None) -> Between:
        """Where t lies; beyond the last time it is extrapolated.

        Args:
            t: A number, or a tensor of one element.
            near: t as a number, where it can't be read from a tensor because derivatives are taken.
        """
        if len(self.known) == 1:
            return Between(0, 0, 0.0, 0.0)
        number = float(t) if near is None else near
        k = int(np.clip(np.searchsorted(self.known, number), 1, len(self.known) - 1))
        a, b = self.known[k - 1], self.known[k]
        shape = isinstance(t, torch.Tensor)
        t = t.reshape(()) if shape and t.numel() == 1 else t
        return Between(k - 1, k, (t - a) / (b - a), (t - self.known[0]) / (self.known[-1] - self.known[0]))


__all__ = ["Between", "Times"]
