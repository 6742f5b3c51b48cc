"""Models as dictionaries for JSON, and back."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sympy import MatrixBase

from pdekit.errors import ModelError
from pdekit.symbolic.printer import write_expression

if TYPE_CHECKING:
    from pdekit.symbolic.model import SymbolicSDE

FORMAT = 1
_REQUIRED = ("state", "drift", "diffusion", "params", "convention")
_OPTIONAL = ("time", "domain", "boundary", "name", "description", "closed_forms", "defaults")


def write_record(model: "SymbolicSDE") -> dict[str, Any]:
    """The dictionary of a model: lists, text and numbers only, and None for no bound, since JSON has no infinity."""
    names = (*model.state_names, model.time.name, *model.params)

    def text(expression: Any) -> str:
        return write_expression(expression, names)

    diffusion = model.diffusion
    if isinstance(diffusion, MatrixBase):
        noise: list[Any] = [[text(g) for g in diffusion.row(i)] for i in range(model.dim)]
    else:
        noise = [text(g) for g in diffusion]
    return {
        "format": FORMAT,
        "name": model.name,
        "description": model.description,
        "state": list(model.state_names),
        "time": model.time.name,
        "convention": model.convention,
        "drift": [text(f) for f in model.drift],
        "diffusion": noise,
        "params": {name: _finite(bounds) for name, bounds in model.params.items()},
        "domain": [_finite(bounds) for bounds in model.domain],
        "boundary": model.boundary,
        "closed_forms": {key: text(e) for key, e in model.closed_forms.items()},
        "defaults": dict(model.defaults),
    }


def read_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `SymbolicSDE` in a dictionary that `write_record` made.

    Raises:
        ModelError: If the format is unknown, or a key is missing, unknown or holds something that is not plain data.
    """
    if not isinstance(record, Mapping):
        raise ModelError(f"A model is read from a dictionary, got {type(record).__name__}.")
    if record.get("format") != FORMAT:
        raise ModelError(
            f"Expected a model of format {FORMAT}, got {record.get('format')!r}; it may come from a newer version."
        )
    known = {"format", *_REQUIRED, *_OPTIONAL}
    if missing := [key for key in _REQUIRED if key not in record]:
        raise ModelError(f"The model lacks {', '.join(missing)}.")
    if unknown := [str(key) for key in record if key not in known]:
        raise ModelError(f"The model has unknown entries: {', '.join(unknown)}.")
    for key in ("state", "drift", "diffusion"):
        if not isinstance(record[key], list):
            raise ModelError(f"{key!r} of the model must be a list, got {type(record[key]).__name__}.")
    for key in ("params", "closed_forms", "defaults"):
        if not isinstance(record.get(key, {}), Mapping):
            raise ModelError(f"{key!r} of the model must be a dictionary, got {type(record[key]).__name__}.")
    return {key: record[key] for key in (*_REQUIRED, *_OPTIONAL) if key in record}


def _finite(bounds: tuple[float, float]) -> list[float | None]:
    return [None if math.isinf(bound) else bound for bound in bounds]
