"""What every network that is called as f(x), f(t, x) or f(t, x, context=c) shares: reading its arguments, and files."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from pdekit.errors import InputError, ModelError
from pdekit.nets.conditioners.checks import check_count
from pdekit.nets.storage import read_network, write_network
from pdekit.seeds import check_seed


class Field(nn.Module, ABC):
    """A network called as `f(x)`, `f(t, x)`, `f(x, context=c)` or `f(t, x, context=c)`; rows don't see each other.

    Args:
        dim: The number of states d.
        time: Whether it takes a time t before the state.
        context_dim: The length of the context; 0 if it takes none.

    Shapes: x is (*batch, d); t is a number, a tensor of shape () or (*batch, 1); context is (*batch, context_dim) or
    (context_dim,).
    """

    def __init__(self, dim: int, *, time: bool = False, context_dim: int = 0) -> None:
        super().__init__()
        check_count("dim", dim)
        check_count("context_dim", context_dim, least=0)
        if not isinstance(time, bool):
            raise ModelError(f"time must be True or False, got {time!r}.")
        self.dim, self.time, self.context_dim = dim, time, context_dim

    @property
    def conditioning_dim(self) -> int:
        """The length of z = (t, context)."""
        return int(self.time) + self.context_dim

    def read(self, arguments: tuple[Any, ...], context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The state x and z = (t, context) of shape (*batch, conditioning_dim), or None if there is neither.

        Raises:
            InputError: If there are too few or too many arguments, or their shapes or types do not fit.
        """
        if len(arguments) != 1 + self.time:
            self._refuse_count(len(arguments))
        x = arguments[-1]
        self._check_state(x)
        parts = [self._time(arguments[0], x)] if self.time else []
        if self.context_dim or context is not None:
            parts.append(self._context(context, x))
        return x, torch.cat(parts, dim=-1) if parts else None

    def _refuse_count(self, count: int) -> None:
        name = type(self).__name__
        expected = f"{name} takes {'(t, x)' if self.time else '(x)'}, the state last, got {count} arguments"
        if self.time:
            raise InputError(f"{expected}. Give a time, or build it with time=False.")
        raise InputError(f"{expected}. Build it with time=True to give a time; context goes by keyword, context=c.")

    def _check_state(self, x: Any) -> None:
        if not _is_tensor(x) or not x.is_floating_point():
            got = x.dtype if _is_tensor(x) else type(x).__name__
            raise InputError(f"The state x must be a tensor of floating-point numbers, got {got}.")
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise InputError(f"The state x must have shape (*batch, {self.dim}), got {tuple(x.shape)}.")
        own = next((p.dtype for p in self.parameters()), x.dtype)
        if x.dtype != own and not _cast(x, own):
            raise InputError(
                f"The state x is {x.dtype}, the parameters of the network are {own}. Convert one of them: "
                f"net.to({x.dtype}) or x.to({own})."
            )

    def _time(self, t: Any, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], 1)
        if isinstance(t, int | float):
            return torch.full(shape, float(t), dtype=x.dtype, device=x.device)
        if not _is_tensor(t):
            raise InputError(f"The time t must be a number or a tensor, got {type(t).__name__}.")
        if t.ndim and t.shape != shape:
            raise InputError(
                f"The time t must be a number or have shape () or {shape} for x of shape {tuple(x.shape)}, "
                f"got {tuple(t.shape)}. For one time per row use t.unsqueeze(-1)."
            )
        return t.to(dtype=x.dtype, device=x.device).expand(shape)

    def _context(self, context: Any, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], self.context_dim)
        if not self.context_dim:
            raise InputError("This network takes no context. Build it with context_dim set to the context's length.")
        if context is None:
            raise InputError(f"This network needs context=c of shape {shape} or ({self.context_dim},), got none.")
        if not _is_tensor(context) or context.shape not in (shape, (self.context_dim,)):
            got = tuple(context.shape) if _is_tensor(context) else type(context).__name__
            raise InputError(
                f"The context must be a tensor of shape {shape} or ({self.context_dim},) for x of shape "
                f"{tuple(x.shape)}, got {got}."
            )
        return context.to(dtype=x.dtype, device=x.device).expand(shape)

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """The arguments that it was built with, as far as JSON can hold them."""

    @classmethod
    @abstractmethod
    def from_architecture(cls, architecture: Mapping[str, Any]) -> Self:
        """A network with new parameters from what `architecture` returned."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and parameters to one safetensors file; an existing file is replaced.

        Raises:
            InputError: If the file can't be written.
        """
        write_network(path, type(self).__name__, self.architecture(), self.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The network of a file that `save` wrote, in the dtype that it had, on torch's default device.

        Raises:
            InputError: If the file is no such network, or has a format that this version does not know.
        """
        architecture, tensors = read_network(path, cls.__name__)
        try:
            net = cls.from_architecture(architecture)
        except (KeyError, TypeError, ModelError, RuntimeError) as error:
            raise InputError(f"The network in {path} can't be rebuilt from its description: {error}") from error
        dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        net = net.to(dtypes.pop()) if len(dtypes) == 1 else net
        net._fill(path, tensors)
        return net

    def load_state(self, path: str | os.PathLike[str]) -> Self:
        """Take over the parameters of a file that `save` wrote for a network of the same architecture.

        Raises:
            InputError: If the file is no such network, or its parameters have other names or shapes.
        """
        _, tensors = read_network(path, type(self).__name__)
        self._fill(path, tensors)
        return self

    def _fill(self, path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
        try:
            self.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise InputError(f"The parameters in {path} don't fit this network. {error}") from error

    def size(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.parameters())


def _cast(x: Tensor, own: torch.dtype) -> bool:
    return torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, own)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Random numbers that depend on `seed` alone, the same on every device; torch's own generators stay as they were.

    With None the numbers come from torch's generator, as for any module.

    Raises:
        InputError: If the seed is none.
    """
    if seed is None:
        yield
        return
    check_seed(seed, 63)
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


def _is_tensor(z: Any) -> bool:
    # Also what stands in for a tensor and takes over torch functions, as the series of the operators do.
    return hasattr(type(z), "__torch_function__")


__all__ = ["Field", "seeded"]
