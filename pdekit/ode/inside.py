"""The error between the ends of a step.

For stiff components nothing else controls it: a stiff method may reach its next state in one long step, past whatever
happens in between.
"""

import numpy as np
import torch
from torch import Tensor

from pdekit.ode.field import Field, unseen
from pdekit.ode.nonlinear.equation import column, weighted_norm, where_rows


@torch.no_grad()
@unseen()
def defect(field: Field, t: np.ndarray, y: Tensor, h: np.ndarray, polynomial: Tensor, theta: float) -> Tensor:
    """h (f(t + theta h, P) - P'), P being the continuous extension y + sum_k P_k theta^k, (n, d).

    With M^-1, M = 1 - s h J, s times this is about the error of P where f is stiff, and of its order elsewhere.
    """
    powers = np.arange(1, polynomial.shape[1] + 1)
    rise, slope = (
        torch.einsum("k,nkd->nd", torch.as_tensor(w, dtype=y.dtype, device=y.device), polynomial.detach())
        for w in (theta**powers, powers * theta ** (powers - 1.0))
    )
    return column(h, y) * field(t + theta * h, y.detach() + rise) - slope


def larger(one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """For each sample the larger of two errors."""
    return where_rows(weighted_norm(one, weights) >= weighted_norm(other, weights), one, other)


__all__ = ["defect", "larger"]
