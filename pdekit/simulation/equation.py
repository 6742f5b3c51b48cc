"""What a scheme sees of an SDE, and what a scheme is."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from pdekit.sde import SDE, Convention, Field


@dataclass(frozen=True)
class Equation:
    """Coefficients ready for stepping: the noise term whatever the kind of noise, and stages kept inside the domain.

    Args:
        drift: f(t, x).
        diffusion: g(t, x).
        diagonal: Whether g returns (paths, d) rather than (paths, d, m).
        lower: Lower bounds of the domain (d,), or None if there is none.
        upper: Upper bounds of the domain (d,), or None if there is none.
    """

    drift: Field
    diffusion: Field
    diagonal: bool
    lower: Tensor | None = None
    upper: Tensor | None = None

    @classmethod
    def of(cls, sde: SDE, like: Tensor) -> "Equation":
        """The equation of `sde`, its bounds in the dtype and on the device of `like`."""
        lower, upper = (like.new_tensor(side) for side in zip(*(sde.domain or ()), strict=True))
        return cls(
            sde.drift,
            sde.diffusion,
            sde.noise_type == "diagonal",
            lower if bool(torch.isfinite(lower).any()) else None,
            upper if bool(torch.isfinite(upper).any()) else None,
        )

    @property
    def bounded(self) -> bool:
        """Whether any state has a finite bound."""
        return self.lower is not None or self.upper is not None

    def noise(self, g: Tensor, dw: Tensor) -> Tensor:
        """G dW, shape (paths, d)."""
        return g * dw if self.diagonal else (g * dw.unsqueeze(-2)).sum(-1)

    def euler(self, x: Tensor, f: Tensor, h: float, g: Tensor, dw: Tensor) -> Tensor:
        """x + f h + G dW, in as few passes over memory as torch allows."""
        moved = torch.add(x, f, alpha=h)
        # In place is safe for autograd too: addition saves nothing, and `moved` is nobody else's.
        return moved.addcmul_(g, dw) if self.diagonal else moved.add_(self.noise(g, dw))

    def inside(self, x: Tensor) -> Tensor:
        """An intermediate stage moved to the nearest point of the domain, where the coefficients are defined."""
        return x.clamp(self.lower, self.upper) if self.bounded else x


class Scheme(Protocol):
    """One step of a numerical method. Implementations are small frozen dataclasses.

    Attributes:
        order: Strong order for the noise it is made for.
        integrals: Whether a step needs `dz` besides `dw`.
        convention: The kind of equation whose solution the scheme converges to.
        needs_separable: Whether it assumes that g_i depends on x_i only.
    """

    order: ClassVar[float]
    integrals: ClassVar[bool]
    convention: ClassVar[Convention]
    needs_separable: ClassVar[bool]

    def step(self, eq: Equation, t: Any, x: Tensor, h: float, dw: Tensor, dz: Tensor | None) -> Tensor:
        """The state at t + h given the state x (paths, d) at t and the increments over the step."""
        ...
