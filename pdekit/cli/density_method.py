"""The method of `pdekit density`, from its flags."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pdekit.errors import InputError

if TYPE_CHECKING:
    from pdekit.fokker_planck import DensityMethod

# Which flags belong to which method.
METHODS = {
    "auto": (),
    "grid": ("cells",),
    "closed-form": (),
    "monte-carlo": ("paths",),
    "score": ("paths", "steps", "checkpoint"),
    "residual": (),
    "flow": ("paths", "steps", "checkpoint"),
}


def density_method(name: str, seed: int, **given: Any) -> "DensityMethod":
    """A method with its options; those that were not given keep their defaults.

    Raises:
        InputError: If there is no such method, or a flag belongs to another one.
    """
    from pdekit import fokker_planck

    if name not in METHODS:
        raise InputError(f"--method must be one of {', '.join(METHODS)}; got {name!r}.")
    options = {flag: value for flag, value in given.items() if value is not None}
    if name == "auto" and list(options) == ["cells"]:
        name = "grid"  # nothing else has cells
    for flag in options:
        if flag not in METHODS[name]:
            owners = " or ".join(f"--method {method}" for method, flags in METHODS.items() if flag in flags)
            raise InputError(f"--{flag} belongs to {owners}, not to {name}.")
    kind = getattr(fokker_planck, "".join(part.title() for part in name.split("-")))
    if name not in ("grid", "closed-form"):
        options["seed"] = seed
    training = {flag: options.pop(flag) for flag in ("steps", "checkpoint") if flag in options}
    if training:
        options["training"] = replace(kind.training, **training)
    return kind(**options)


__all__ = ["METHODS", "density_method"]
