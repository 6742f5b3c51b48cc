"""A linear map for each of a few entries that sees all entries but its own."""

import torch
from torch import Tensor, nn


class OtherEntries(nn.Module):
    """a_c = sum over c' != c of W_cc' x_c', with weights W_cc' in R^features of variance 1 / (entries - 1).

    The entry x_c is left out when the others are gathered; no weight multiplies it, not even a zero.

    Args:
        entries: How many there are, at least 2; cost and weights grow with its square.
        features: The number of features per entry.
    """

    others: Tensor

    def __init__(self, entries: int, features: int) -> None:
        super().__init__()
        others = [[other for other in range(entries) if other != own] for own in range(entries)]
        self.register_buffer("others", torch.tensor(others), persistent=False)
        self.weight = nn.Parameter(torch.randn(entries, entries - 1, features) / (entries - 1) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., entries, features) of x (..., entries)."""
        return torch.einsum("...co,cof->...cf", x[..., self.others], self.weight)


__all__ = ["OtherEntries"]
