"""The SDE that every layer passes around: drift, diffusion and the kind of noise. It holds no solver."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

from pdekit.errors import ModelError

Field = Callable[[Any, Tensor], Tensor]
NoiseType = Literal["diagonal", "additive", "scalar", "general"]
Convention = Literal["ito", "stratonovich"]


@dataclass(frozen=True, eq=False)
class SDE:
    """A stochastic differential equation dX = f(t, X) dt + g(t, X) dW with all its parameters fixed.

    Args:
        drift: f(t, x) with x of shape (*batch, d); returns (*batch, d).
        diffusion: g(t, x), never g^2. Diagonal noise returns (*batch, d); every other `noise_type` (*batch, d, m).
        dim: The number of states d.
        noise_type: `"diagonal"`, `"additive"` (g does not depend on x), `"scalar"` (m = 1) or `"general"`, as in
            torchsde.
        sde_type: `"ito"` or `"stratonovich"`; always declared, never guessed.
        noise_dim: The number of Brownian motions m; by default d.
        separable: Whether g_i depends on x_i only (diagonal noise). Milstein and the order-1.5 scheme require it.
        autonomous: Whether neither coefficient depends on t.
        domain: (lower, upper) of each state; by default the whole real line.
        names: The names of the states, for messages, tables and axes.

    Raises:
        ModelError: If the declared properties contradict one another.

    Example:
        >>> import torch
        >>> from pdekit import SDE
        >>> ou = SDE(drift=lambda t, x: -x, diffusion=lambda t, x: torch.full_like(x, 0.5), dim=1)
        >>> ou.drift(0.0, torch.tensor([2.0]))
        tensor([-2.])
    """

    drift: Field
    diffusion: Field
    dim: int
    noise_type: NoiseType = "diagonal"
    sde_type: Convention = "ito"
    noise_dim: int | None = None
    separable: bool = False
    autonomous: bool = False
    domain: tuple[tuple[float, float], ...] = ()
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ModelError(f"An SDE has at least one state, got dim={self.dim}.")
        if self.noise_type not in get_args(NoiseType):
            raise ModelError(f"noise_type must be one of {get_args(NoiseType)}, got {self.noise_type!r}.")
        if self.sde_type not in get_args(Convention):
            raise ModelError(f"sde_type must be one of {get_args(Convention)}, got {self.sde_type!r}.")
        if self.separable and self.noise_type != "diagonal":
            raise ModelError(f"Only diagonal noise can be separable, got noise_type={self.noise_type!r}.")
        set_default = object.__setattr__
        if self.noise_dim is None:
            set_default(self, "noise_dim", 1 if self.noise_type == "scalar" else self.dim)
        if self.noise_type == "diagonal" and self.noise_dim != self.dim:
            raise ModelError(
                f"Diagonal noise has one Brownian motion per state ({self.dim}), got noise_dim={self.noise_dim}."
            )
        if not self.domain:
            set_default(self, "domain", ((float("-inf"), float("inf")),) * self.dim)
        if not self.names:
            set_default(self, "names", ("x",) if self.dim == 1 else tuple(f"x{i + 1}" for i in range(self.dim)))
        for label, values in (("domain", self.domain), ("names", self.names)):
            if len(values) != self.dim:
                raise ModelError(f"`{label}` must have one entry per state ({self.dim}), got {len(values)}.")

    @property
    def f(self) -> Field:
        """The drift under the name that torchsde expects."""
        return self.drift

    @property
    def g(self) -> Field:
        """The diffusion under the name that torchsde expects."""
        return self.diffusion
