"""A small task that tells conditioners apart: how much of what a dimension owes to the others does a field learn?

    f_i(x) = sin(x_{i-1} x_{i+1}) + tanh(sum over j != i of x_j / sqrt(d - 1)) - sin(2 x_i),        x ~ N(0, I)

The first term is sharp (a product of the two neighbours; at the ends, where one is missing, it is 0), the second one
is spread over all dimensions, and both have a root mean square near 0.6. The third is the dimension's own, and bounded
on purpose: the tails of a cubic would be most of any mean square and hide the rest.

Example:
    >>> import torch
    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> field = ConditionedField(dim=8, conditioner=NothingKnown(8, 1))
    >>> round(train_and_score(field, steps=300, rows=64), 1)  # no conditioner, nothing learned about the others
    1.0
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from pdekit.nets.conditioners.base import Conditioner


def from_others(x: Tensor) -> Tensor:
    """What f_i owes to x_j, j != i: shape (n, d)."""
    product = torch.zeros_like(x)
    product[:, 1:-1] = torch.sin(x[:, :-2] * x[:, 2:])
    others = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return product + torch.tanh(x @ others / math.sqrt(max(1, x.shape[1] - 1)))


def targets(x: Tensor) -> Tensor:
    """The field f of the task, (n, d), at points (n, d)."""
    return from_others(x) - torch.sin(2 * x)


def relative_error(field: nn.Module, x: Tensor) -> float:
    """RMS of field(x) - f(x) over the RMS of what f owes to the others: 1 if nothing of that was learned."""
    with torch.no_grad():
        return float((field(x) - targets(x)).square().mean().sqrt() / from_others(x).square().mean().sqrt())


def train_and_score(
    field: nn.Module,
    seed: int = 0,
    steps: int = 2000,
    *,
    rows: int = 256,
    learning_rate: float = 0.02,
    held_out: int = 4096,
) -> float:
    """Trains a field by Adam on fresh points, and returns its relative error on points it has not seen.

    The rate rises over the first tenth of the steps and then falls to zero along a cosine. Points depend on `seed`
    alone; the field's own parameters are the caller's matter. Compare fields each at the best of a few rates.

    Args:
        field: A module from (n, d) to (n, d) with an attribute `dim`; trained in place.
        seed: Of the points.
        steps: How many steps of Adam.
        rows: Points per step.
        learning_rate: The largest rate.
        held_out: Points in the score.
    """
    dim, generator = cast(int, field.dim), torch.Generator().manual_seed(seed)
    unseen = torch.randn(held_out, dim, generator=generator)
    optimizer = torch.optim.Adam(field.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warm_cosine(step / steps))
    for _ in range(steps):
        x = torch.randn(rows, dim, generator=generator)
        loss = (field(x) - targets(x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return relative_error(field, unseen)


def _warm_cosine(done: float, warm: float = 0.1) -> float:
    return (done + 1e-3) / warm if done < warm else 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))


class ConditionedField(nn.Module):
    """f_i = v_i . tanh(w_i x_i + A_i h_i + b_i) + c_i: the same plain head for every conditioner.

    Args:
        dim: The number of dimensions.
        conditioner: Gives h (n, d, features).
        hidden: The number of hidden units of the head, whose weights are each dimension's own.
    """

    def __init__(self, dim: int, conditioner: Conditioner, hidden: int = 32) -> None:
        super().__init__()
        features = conditioner.features
        self.dim, self.conditioner = dim, conditioner
        self.w = nn.Parameter(torch.randn(dim, hidden))
        self.A = nn.Parameter(torch.randn(dim, features, hidden) / math.sqrt(features))
        self.b = nn.Parameter(torch.randn(dim, hidden))
        self.v = nn.Parameter(torch.randn(dim, hidden) / math.sqrt(hidden))
        self.c = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """The field (n, d) at points (n, d)."""
        from_h = torch.bmm(self.conditioner(x).transpose(0, 1), self.A).transpose(0, 1)
        return (torch.tanh(from_h + x.unsqueeze(-1) * self.w + self.b) * self.v).sum(-1) + self.c


class NothingKnown(Conditioner):
    """h = 0: the score of a head alone, near 1."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Zeros (n, d, features)."""
        return x.new_zeros(*x.shape, self.features)


class AllKnown(Conditioner):
    """h = the very term that is to be learned: the score that the head and the training allow at best."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """The term (n, d, 1), repeated over the features."""
        return from_others(x).unsqueeze(-1).expand(*x.shape, self.features)


__all__ = [
    "AllKnown",
    "ConditionedField",
    "NothingKnown",
    "from_others",
    "relative_error",
    "targets",
    "train_and_score",
]
