"""Networks without structure: the multilayer perceptron, and FFJORD's with concat-squash layers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pdekit.errors import ModelError
from pdekit.nets.activation import Activation, gain, initialise
from pdekit.nets.conditioners.checks import check_count, counts
from pdekit.nets.field import Field, seeded
from pdekit.nets.modulation import Modulation, ModulationKind


class _Perceptron(Field):
    """What both have: widths, the number of outputs, and how they are built again from a file."""

    def __init__(
        self, dim: int, hidden: Sequence[int], activation: str, out_dim: int | str | None, time: bool, context_dim: int
    ) -> None:
        super().__init__(dim, time=time, context_dim=context_dim)
        self.hidden, self.out_dim = counts("hidden", hidden), _outputs(out_dim, dim)
        self.activation = Activation(activation, guarded=False)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.dim, *self.hidden, self.out_dim or 1)

    def _shaped(self, a: Tensor) -> Tensor:
        return a if self.out_dim else a.squeeze(-1)

    def architecture(self) -> dict[str, Any]:
        """The arguments it was built with."""
        return {
            "dim": self.dim,
            "hidden": self.hidden,
            "activation": self.activation.name,
            "out_dim": self.out_dim,
            "time": self.time,
            "context_dim": self.context_dim,
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> Self:
        """A network with new parameters."""
        return cls(**architecture)

    def __repr__(self) -> str:
        """The arguments and the number of parameters."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.architecture().items())
        return f"{type(self).__name__}({arguments}), {self.size():,} parameters"


class MLP(_Perceptron):
    """A multilayer perceptron: a = phi(modulation(W a + b, z)) in each hidden layer, then a linear map.

    Args:
        dim: The number of states d.
        hidden: The number of units in each hidden layer.
        activation: Its name, see `Activation`.
        out_dim: The number of outputs, `dim` if None; 0 or `"scalar"` make a scalar field, (*batch,).
        time: Whether it takes a time.
        context_dim: The length of the context; 0 if it takes none.
        modulation: How z = (t, context) enters each hidden layer, `"film"` or `"concatenate"`.
        seed: Fixes the initial parameters, whatever torch's random state, which stays as it is.

    Call it as `f(x)`, `f(t, x)`, `f(x, context=c)` or `f(t, x, context=c)`, see `Field`.

    Raises:
        ModelError: If an option does not fit.
        InputError: If it is called with arguments of other shapes or types.

    Example:
        >>> energy = MLP(3, hidden=(32,), out_dim="scalar", time=True, seed=0)
        >>> energy(0.5, torch.zeros(10, 3)).shape
        torch.Size([10])
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        out_dim: int | Literal["scalar"] | None = None,
        *,
        time: bool = False,
        context_dim: int = 0,
        modulation: ModulationKind = "film",
        seed: int | None = None,
    ) -> None:
        super().__init__(dim, hidden, activation, out_dim, time, context_dim)
        self.modulation = modulation
        gains = [1.0] + [gain(activation)] * len(self.hidden)
        with seeded(seed):
            self.layers = nn.ModuleList(
                initialise(nn.Linear(*shape), g) for shape, g in zip(pairwise(self.widths), gains, strict=True)
            )
            self.modulations = nn.ModuleList(
                Modulation(width, self.conditioning_dim, modulation) for width in self.hidden
            )
        if seed is not None:
            self.to(torch.get_default_device())

    def forward(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """f(x), f(t, x), f(x, context=c) or f(t, x, context=c): (*batch, out_dim), or (*batch,) if it is scalar."""
        a, z = self.read(arguments, context)
        for layer, modulation in zip(self.layers, self.modulations, strict=False):
            a = self.activation(modulation(layer(a), z))
        return self._shaped(self.layers[-1](a))

    def architecture(self) -> dict[str, Any]:
        """The arguments it was built with."""
        return {**super().architecture(), "modulation": self.modulation}


class ConcatSquashMLP(_Perceptron):
    """FFJORD's network: layers a = phi((W a + b) * sigmoid(G z + g) + S z), the last one without phi.

    Args:
        dim: The number of states d.
        hidden: The number of units in each hidden layer.
        activation: Its name, see `Activation`.
        out_dim: The number of outputs, `dim` if None; 0 or `"scalar"` make a scalar field, (*batch,).
        time: Whether it takes a time.
        context_dim: The length of the context; 0 if it takes none.
        seed: Fixes the initial parameters, whatever torch's random state, which stays as it is.

    Call it as `f(t, x)`, `f(x, context=c)` or `f(t, x, context=c)`, see `Field`.

    Raises:
        ModelError: If an option does not fit, or if there is neither a time nor a context.
        InputError: If it is called with arguments of other shapes or types.

    Source: W. Grathwohl et al., FFJORD, ICLR 2019, arXiv 1810.01367.

    Example:
        >>> ConcatSquashMLP(3, hidden=(32,), seed=0)(0.5, torch.zeros(10, 3)).shape
        torch.Size([10, 3])
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        out_dim: int | Literal["scalar"] | None = None,
        *,
        time: bool = True,
        context_dim: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__(dim, hidden, activation, out_dim, time, context_dim)
        if self.conditioning_dim == 0:
            raise ModelError("ConcatSquashMLP needs a time or a context for its gates; without either use MLP.")
        gains = [1.0] + [gain(activation)] * len(self.hidden)
        with seeded(seed):
            self.layers = nn.ModuleList(
                ConcatSquashLayer(*shape, self.conditioning_dim, g)
                for shape, g in zip(pairwise(self.widths), gains, strict=True)
            )
        if seed is not None:
            self.to(torch.get_default_device())

    def forward(self, *arguments: Any, context: Tensor | None = None) -> Tensor:
        """f(t, x), f(x, context=c) or f(t, x, context=c): (*batch, out_dim), or (*batch,) if it is scalar."""
        a, z = self.read(arguments, context)
        *hidden, last = self.layers
        for layer in hidden:
            a = self.activation(layer(a, z))
        return self._shaped(last(a, z))


class ConcatSquashLayer(nn.Module):
    """(W a + b) * sigmoid(G z + g) + S z.

    Args:
        width_in: The length of a.
        width_out: The length of the value.
        conditioning_dim: The length of z.
        scale: The gain of the activation that a comes from.
    """

    def __init__(self, width_in: int, width_out: int, conditioning_dim: int, scale: float) -> None:
        super().__init__()
        # An open gate lets half through.
        self.linear = initialise(nn.Linear(width_in, width_out), 2 * scale)
        self.gate = initialise(nn.Linear(conditioning_dim, width_out))
        self.shift = initialise(nn.Linear(conditioning_dim, width_out, bias=False))

    def forward(self, a: Tensor, z: Tensor) -> Tensor:
        """Values (*batch, width_out) of a (*batch, width_in) and z (*batch, conditioning_dim)."""
        return self.linear(a) * torch.sigmoid(self.gate(z)) + self.shift(z)


def _outputs(out_dim: object, dim: int) -> int:
    if out_dim is None:
        return dim
    if out_dim == "scalar":
        return 0
    if isinstance(out_dim, str):
        raise ModelError(f"out_dim must be an integer, None for dim, or 'scalar', got {out_dim!r}.")
    check_count("out_dim", out_dim, least=0)
    return int(out_dim)  # type: ignore[call-overload]


__all__ = ["MLP", "ConcatSquashMLP"]
