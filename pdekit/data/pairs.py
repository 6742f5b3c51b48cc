"""Consecutive observations: what a likelihood of a Markov process is a product over."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_RELATIVE = 1e-9  # steps closer than this are one step
_ROUNDING = 4 * torch.finfo(torch.float64).eps  # ... as are steps that differ by the rounding of large times


@dataclass(frozen=True, eq=False)
class Pairs:
    """All transitions (t, x0) -> (t + dt, x1) of a data set, N in number, path after path.

    Attributes:
        t: Start times, (N,).
        dt: Steps, (N,), positive, in the data set's time unit.
        x0: States at the start, (N, d).
        x1: States at the end, (N, d).
        path: The index of the path that each transition belongs to, (N,), int64.
    """

    t: Tensor
    dt: Tensor
    x0: Tensor
    x1: Tensor
    path: Tensor

    def __len__(self) -> int:
        return len(self.dt)

    @property
    def dim(self) -> int:
        """The dimension d of the state."""
        return self.x0.shape[-1]

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The distinct steps, and which of them each transition makes.

        Steps within 1e-9 of one another (relative), or within the rounding of the times they were computed from, count
        as one, represented by their mean: 0.1 s sampled on a clock that reads 1.7e9 s is one step.

        Returns:
            values (K,), increasing, and index (N,), int64, with `values[index]` equal to `dt` up to the tolerance.

        Example:
            >>> from pdekit.data import Trajectories
            >>> pairs = Trajectories.from_arrays([0.0, 0.1, 0.2, 0.5], [1.0, 2.0, 4.0, 3.0]).pairs()
            >>> values, index = pairs.distinct()
            >>> [round(v, 12) for v in values.tolist()], index.tolist()
            ([0.1, 0.3], [0, 0, 1])
        """
        steps, inverse, counts = np.unique(self.dt.numpy(force=True), return_inverse=True, return_counts=True)
        rounding = _ROUNDING * float((self.t.abs() + self.dt).max())
        group, k, first = np.empty(len(steps), dtype=np.int64), -1, -np.inf
        for i, step in enumerate(steps):  # measured from the first of a group, lest many close steps chain into one
            if step - first > _RELATIVE * step + rounding:
                k, first = k + 1, step
            group[i] = k
        means = np.bincount(group, weights=steps * counts) / np.bincount(group, weights=counts)
        device = self.dt.device
        return torch.from_numpy(means).to(device), torch.from_numpy(group[inverse.ravel()]).to(device)
