"""Jacobians whose zeros are known, from fewer products than columns.

Columns without a row in common are computed by one product together. The zeros are those of an earlier dense Jacobian,
never a promise: each compressed Jacobian is checked by one product with a random vector, and made anew if it fails.

Source: A. R. Curtis, M. J. D. Powell and J. K. Reid, On the estimation of sparse Jacobian matrices, J. Inst. Maths
Applics 13 (1974) 117.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_WORTH = 4  # times fewer products than columns, or it is left alone
_SLACK = 1e3  # times eps: how exactly the check has to hold


class Sparsity:
    """Where Jacobians of a field have been non-zero, as far as they were seen."""

    def __init__(self) -> None:
        self._pattern: np.ndarray | None = None
        self._groups: np.ndarray | None = None

    @property
    def products(self) -> int | None:
        """How many products a compressed Jacobian takes, its check included; None where there is nothing to gain."""
        return None if self._groups is None else int(self._groups.max()) + 2

    def learn(self, jacobian: Tensor) -> None:
        """Takes note of the zeros that all samples, (n, d, d), have in common with all that came before."""
        if not torch.isfinite(jacobian).all():
            return
        seen = (jacobian != 0).any(0).cpu().numpy()
        pattern = seen if self._pattern is None else seen | self._pattern
        if self._pattern is None or (pattern != self._pattern).any():
            self._pattern = pattern
            groups = group_columns(pattern)
            self._groups = groups if _WORTH * (groups.max() + 2) <= len(groups) else None

    def compressed(self, products: Callable[[Tensor], Tensor], y: Tensor) -> Tensor | None:
        """The Jacobians (n, d, d) by few products; None if they have entries where none were seen before.

        Args:
            products: Vectors (k, d) -> J v for each sample and vector, (k, n, d).
            y: The states, (n, d).
        """
        if self._groups is None or self._pattern is None:
            raise ValueError("nothing is known of zeros")
        groups = torch.as_tensor(self._groups, device=y.device)
        pattern = torch.as_tensor(self._pattern, device=y.device)
        seeds = torch.nn.functional.one_hot(groups).T.to(y.dtype)
        generator = torch.Generator().manual_seed(0)
        probe = (torch.rand(y.shape[1], generator=generator, dtype=y.dtype) + 0.5).to(y.device)
        found = products(torch.cat([seeds, probe.unsqueeze(0)]))
        jacobian = torch.where(pattern, found[:-1].movedim(0, -1)[..., groups], 0.0)
        if not torch.isfinite(jacobian).all():
            return None
        allowed = _SLACK * torch.finfo(y.dtype).eps * (jacobian.abs() @ probe)
        return jacobian if bool(((jacobian @ probe - found[-1]).abs() <= allowed).all()) else None


def group_columns(pattern: np.ndarray) -> np.ndarray:
    """A group for each column, greedily, such that no two columns of a group share a row.

    Example:
        >>> group_columns(np.eye(3) + np.eye(3, k=1) > 0)
        array([1, 0, 1])
    """
    clash = pattern.T.astype(np.float32) @ pattern.astype(np.float32) > 0
    groups = np.full(len(clash), -1)
    # Columns with many entries first: they are the hardest to place.
    for column in np.argsort(-pattern.sum(0), kind="stable"):
        taken = np.unique(groups[clash[column]])
        taken = taken[taken >= 0]
        free = np.flatnonzero(taken != np.arange(len(taken)))
        groups[column] = free[0] if len(free) else len(taken)
    return groups


__all__ = ["Sparsity", "group_columns"]
