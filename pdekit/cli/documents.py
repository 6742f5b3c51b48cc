"""What commands print for machines: JSON without NaN or infinity, which JSON does not have."""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pdekit.cli.keeping import Profiles
    from pdekit.data import Trajectories
    from pdekit.fitting import Fit
    from pdekit.symbolic import SymbolicSDE

_PACKAGES = ("pdekit", "torch", "numpy", "scipy", "sympy")


def print_json(document: Mapping[str, Any]) -> None:
    """Prints one JSON document on stdout."""
    typer.echo(json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value with every number that JSON lacks replaced by null.

    Example:
        >>> plain({"bounds": (0.0, float("inf"))})
        {'bounds': [0.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """Python's and the packages' that a result depends on."""
    return {"python": python_version(), **{name: version(name) for name in _PACKAGES}}


def fit_document(fit: "Fit", profiles: "Profiles", notes: tuple[str, ...], folder: str | None) -> dict[str, Any]:
    """A fit: estimates with error bars, how they were found, and what is suspicious."""
    from pdekit.symbolic import SymbolicSDE

    return {
        "model": fit.model.to_dict()
        if isinstance(fit.model, SymbolicSDE)
        else {"kind": type(fit.model).__name__, "states": fit.data.names},
        "coefficients": None if fit.params else fit.to_dataframe().reset_index().to_dict("records"),
        "status": fit.status,
        "params": {name: _parameter(fit, name, profiles) for name in fit.params},
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "n": fit.n,
        "route": fit.route,
        "method": fit.method,
        "convention": fit.model.convention,
        "flags": [
            {"severity": f.severity, "title": f.title, "detail": f.detail, "action": f.action, "value": f.value}
            for f in fit.flags
        ],
        "data": data_document(fit.data),
        "notes": notes,
        "seed": fit.seed,
        "versions": versions(),
        "out": folder,
    }


def _parameter(fit: "Fit", name: str, profiles: "Profiles") -> dict[str, Any]:
    parameter = fit.params[name]
    intervals: dict[str, Any] = {"wald": parameter.wald(), "robust": parameter.wald(robust=True)}
    if profiles:
        intervals["profile"] = profiles.get(name)
    return {
        "estimate": parameter.estimate,
        "stderr": parameter.stderr,
        "robust_stderr": parameter.robust_stderr,
        "intervals_95": intervals,
        "bounds": parameter.bounds,
        "status": parameter.status,
    }


def data_document(data: "Trajectories") -> dict[str, Any]:
    """What was read."""
    return {
        "columns": data.names,
        "observations": data.n_observations,
        "paths": data.n_paths,
        "duration": data.duration,
        "time_unit": data.time_unit,
        "origin": data.origin,
        "notes": data.notes,
    }


def model_document(name: str, model: "SymbolicSDE") -> dict[str, Any]:
    """A model of the catalogue under the name that --model takes."""
    return {
        "model": name,
        **model.to_dict(),
        "separable": model.separable,
        "noise_type": model.noise_type,
        "autonomous": model.autonomous,
    }
