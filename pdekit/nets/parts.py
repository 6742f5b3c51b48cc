"""The parts that a network was built from, as JSON and back."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from pdekit.errors import InputError
from pdekit.nets import conditioners
from pdekit.nets.transformer import MLPTransformer


def catalogue() -> dict[str, Any]:
    """The options that a file may name: those of pdekit, no others."""
    found: dict[str, Any] = {name: getattr(conditioners, name) for name in conditioners.__all__}
    found["MLPTransformer"] = MLPTransformer
    return {name: kind for name, kind in found.items() if is_dataclass(kind)}


def described(part: Any) -> dict[str, Any]:
    """Name and options of a part; the options are None if it is not of pdekit, so that its name alone rebuilds nothing.

    Example:
        >>> described(MLPTransformer(hidden=(8,)))
        {'name': 'MLPTransformer', 'options': {'hidden': (8,), 'activation': 'sigmoid', 'gated': True}}
    """
    name = type(part).__name__
    known = is_dataclass(part) and not isinstance(part, type) and catalogue().get(name) is type(part)
    return {"name": name, "options": asdict(part) if known else None}  # type: ignore[arg-type]


def rebuilt(role: str, description: Mapping[str, Any]) -> Any:
    """The options that `described` was given.

    Raises:
        InputError: If the part was not of pdekit, or not of this version.
    """
    name, options = description["name"], description["options"]
    if options is None:
        raise InputError(
            f"The {role} of this network was a module of your own, {name}, which no file can rebuild. Build the "
            "network with it again, then take over the parameters with net.load_state(path)."
        )
    if name not in catalogue():
        raise InputError(f"This version of pdekit has no {role} called {name!r}. Use the version that wrote the file.")
    return catalogue()[name](**options)


def shown(description: Mapping[str, Any]) -> str:
    """A line for people."""
    if description["options"] is None:
        return f"{description['name']}, a module of your own"
    return f"{description['name']}({', '.join(f'{key}={value!r}' for key, value in description['options'].items())})"


__all__ = ["catalogue", "described", "rebuilt", "shown"]
