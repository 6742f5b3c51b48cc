"""What every conditioner is: a module from the state to hollow features."""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


class Conditioner(nn.Module, ABC):
    """Features h of shape (*batch, d, features) of which h_i depends on every x_j but x_i: dh_i/dx_i = 0, exactly.

    Args:
        dim: The number of states d.
        features: The number of features per dimension, d_h.
        conditioning_dim: The length of the vector z that carries time and context; 0 if there is none.
    """

    def __init__(self, dim: int, features: int, conditioning_dim: int = 0) -> None:
        super().__init__()
        self.dim, self.features, self.conditioning_dim = dim, features, conditioning_dim

    @abstractmethod
    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""


@runtime_checkable
class ConditionerOptions(Protocol):
    """Options that know how to build their conditioner once the dimension is known."""

    def build(self, dim: int, conditioning_dim: int = 0) -> Conditioner:
        """The module, with fresh parameters."""
        ...
