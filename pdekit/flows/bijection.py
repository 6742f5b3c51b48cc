"""What all discrete layers of a flow share, and where their parameters come from: a context, or nowhere."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pdekit.errors import InputError
from pdekit.nets.conditioners.checks import check_count

_QUIET = 0.1  # of the usual initial weights: most flows begin near the identity


class Bijection(nn.Module, ABC):
    """An invertible map of vectors (*batch, d) with the logarithm of its volume change, given a context or not.

    Args:
        dim: d.
        context_dim: The length of the context, 0 without one.
    """

    def __init__(self, dim: int, context_dim: int = 0) -> None:
        super().__init__()
        check_count("dim", dim)
        check_count("context_dim", context_dim, least=0)
        self.dim, self.context_dim = dim, context_dim

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y (*batch, d) and log |det dy/dx| (*batch,)."""

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """x (*batch, d), with gradients."""

    def read(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """States (n, d) and their contexts (n, c).

        Raises:
            InputError: If the shapes do not fit.
        """
        if not isinstance(x, Tensor):
            raise InputError(f"x must be a tensor of states (*batch, {self.dim}), got {type(x).__name__}.")
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise InputError(f"x must be states (*batch, {self.dim}), got shape {tuple(x.shape)}.")
        own = next((p.dtype for p in self.parameters()), x.dtype)
        if x.dtype != own:
            raise InputError(f"x is {x.dtype}, the parameters are {own}: convert one, flow.to({x.dtype}) say.")
        if (context is None) != (self.context_dim == 0):
            wanted = f"a context (*batch, {self.context_dim})" if self.context_dim else "no context"
            raise InputError(f"{type(self).__name__} takes {wanted}, got {'none' if context is None else 'one'}.")
        if context is None:
            return x.reshape(-1, self.dim), None
        shape = (*x.shape[:-1], self.context_dim)
        try:
            if not isinstance(context, Tensor) or context.shape[-1:] != (self.context_dim,):
                raise RuntimeError("another length")
            return x.reshape(-1, self.dim), context.to(x).expand(shape).reshape(-1, self.context_dim)
        except RuntimeError as cause:
            raise InputError(
                f"The context must have shape {shape} for states {tuple(x.shape)}, got "
                f"{tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__}."
            ) from cause

    def extra_repr(self) -> str:
        """What it was built with."""
        names = ("dim", "kind", "layers", "rank", "context_dim")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if hasattr(self, name))

    def size(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.parameters())


class Amortised(nn.Module):
    """Numbers made from a context by a linear map; without a context they are parameters themselves.

    Args:
        context_dim: The length of the context, or 0.
        size: How many numbers.
    """

    def __init__(self, context_dim: int, size: int) -> None:
        super().__init__()
        if context_dim:
            self.linear: nn.Linear | None = nn.Linear(context_dim, size)
            with torch.no_grad():
                self.linear.weight.mul_(_QUIET)
                self.linear.bias.normal_(0.0, _QUIET)
        else:
            self.linear = None
            self.constant = nn.Parameter(_QUIET * torch.randn(size))

    def forward(self, context: Tensor | None) -> Tensor:
        """(n, size), or (1, size) without a context."""
        return self.constant[None] if self.linear is None else self.linear(context)


def solved(r1: Tensor, r2: Tensor, c: Tensor, y: Tensor) -> Tensor:
    """The root v of v + r1 tanh(r2 v + c) = y, entry by entry, for r1 r2 > -1, with gradients of first order.

    The left side grows with v, and v lies within |r1| of y.
    """
    with torch.no_grad():
        low, high = y - r1.abs(), y + r1.abs()
        for _ in range(_HALVINGS[y.dtype]):
            middle = (low + high) / 2
            below = middle + r1 * torch.tanh(r2 * middle + c) < y
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        v = (low + high) / 2
    # One step of Newton from the root is the root, and has its derivatives.
    value = torch.tanh(r2 * v + c)
    slope = (1 + r1 * r2 * (1 - value * value)).detach()
    return v - (v + r1 * value - y) / slope


_HALVINGS = {torch.float64: 56, torch.float32: 28}

__all__ = ["Amortised", "Bijection", "solved"]
