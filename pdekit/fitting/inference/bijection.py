"""Maps between bounded parameters theta and unbounded ones eta, in which optimisers may move freely."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

# An exponential map beyond this range would leave double precision.
_LIMIT = 300.0
# A value on its bound has no image; it is taken for this distance from it.
_NEAREST = 1e-12


@dataclass(frozen=True)
class Bijection:
    """theta(eta), one parameter at a time: identity, lower + exp(eta), upper - exp(-eta), or a scaled logistic.

    Args:
        bounds: (lower, upper) of each parameter; infinite where there is none.

    Example:
        >>> import torch
        >>> from pdekit.fitting.inference.bijection import Bijection
        >>> positive = Bijection([(0.0, float("inf"))])
        >>> positive.forward(positive.inverse(torch.tensor([2.5], dtype=torch.float64)))
        tensor([2.5000], dtype=torch.float64)
    """

    bounds: Sequence[tuple[float, float]]

    def forward(self, eta: Tensor) -> Tensor:
        """theta(eta), shape (k,) -> (k,)."""
        return torch.stack([_forward(e, *bounds) for e, bounds in zip(eta.unbind(), self.bounds, strict=True)])

    def inverse(self, theta: Tensor) -> Tensor:
        """eta(theta); a parameter on its bound is moved inside by 1e-12."""
        return torch.tensor(
            [_inverse(float(v), *bounds) for v, bounds in zip(theta, self.bounds, strict=True)], dtype=torch.float64
        )

    def slope(self, eta: Tensor) -> Tensor:
        """d theta / d eta, shape (k,)."""
        with torch.enable_grad():
            eta = eta.detach().requires_grad_()
            return torch.autograd.grad(self.forward(eta).sum(), eta)[0]


def _forward(eta: Tensor, lower: float, upper: float) -> Tensor:
    if math.isfinite(lower) and math.isfinite(upper):
        return lower + (upper - lower) * torch.exp(logsigmoid(eta))
    if math.isfinite(lower):
        return lower + torch.exp(eta.clamp(max=_LIMIT))
    if math.isfinite(upper):
        return upper - torch.exp((-eta).clamp(max=_LIMIT))
    return eta


def _inverse(theta: float, lower: float, upper: float) -> float:
    if math.isfinite(lower) and math.isfinite(upper):
        share = min(max((theta - lower) / (upper - lower), 1e-12), 1.0 - 1e-12)
        return math.log(share) - math.log1p(-share)
    if math.isfinite(lower):
        return math.log(theta - lower if theta > lower else _NEAREST)
    if math.isfinite(upper):
        return -math.log(upper - theta if theta < upper else _NEAREST)
    return theta
