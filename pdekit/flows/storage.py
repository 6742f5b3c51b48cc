"""Parameters of fits in files: they are put into modules only if all of them fit."""

from typing import Any

from torch import Tensor, nn

from pdekit.errors import InputError

_PREFIX = "net."


def kept(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under the names that `fill` looks for."""
    return {f"{_PREFIX}{name}": value.clone() for name, value in module.state_dict().items()}


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Any, made: str, described: str) -> None:
    """Put the parameters of a file into a module.

    Args:
        module: What they are for.
        tensors: What the file holds.
        path: It, for messages.
        made: How what was saved is described in the file.
        described: The same of what they are to be put into.

    Raises:
        InputError: If anything differs; then nothing is changed.
    """
    own, found = module.state_dict(), {n[len(_PREFIX) :]: p for n, p in tensors.items() if n.startswith(_PREFIX)}
    same = own.keys() == found.keys() and all(own[name].shape == found[name].shape for name in own)
    if not same or made != described:
        raise InputError(
            f"The parameters in {path} don't fit: build the same thing, with the same options, first. The file is of\n"
            f"{made}\nand it was to be put into\n{described}"
        )
    module.load_state_dict(found)


__all__ = ["fill", "kept"]
