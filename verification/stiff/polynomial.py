"""Hollow functions whose every component is a polynomial in its own state."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PolynomialField(nn.Module):
    """f_i(t, x) = sum_k c_ik x_i^k, where the coefficients c_i(t, x) = `condition` don't depend on x_i.

    The Jacobian's diagonal is sum_k k c_ik x_i^(k - 1): it costs about as much as f itself.
    """

    def condition(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The coefficients c, (*batch, d, degree + 1)."""
        raise NotImplementedError

    def transform(self, x: Tensor, h: Tensor) -> Tensor:
        """Horner's rule at each x_i by itself, (*batch, d)."""
        *lower, value = h.unbind(-1)
        for c in reversed(lower):
            value = value * x + c
        return value

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """The rates of change, (*batch, d)."""
        return self.transform(x, self.condition(t, x))


def coefficients(like: Tensor, terms: Sequence[Tensor | float]) -> Tensor:
    """(c_0, c_1, ...), each of the shape of `like` or broadcast to it -> (*shape, degree + 1)."""
    return torch.stack([torch.as_tensor(c, dtype=like.dtype, device=like.device).expand_as(like) for c in terms], -1)


__all__ = ["PolynomialField", "coefficients"]
