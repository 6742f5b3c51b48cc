"""A fit as a folder, and back: everything needed to report on it, profile it or simulate from it again."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit import __version__
from pdekit.data import Trajectories
from pdekit.errors import InputError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.fitting.inference.bijection import Bijection
from pdekit.fitting.inference.likelihood import NegativeLogLikelihood
from pdekit.fitting.inference.maximum import Maximum
from pdekit.fitting.inference.optimise import Minimum
from pdekit.fitting.inference.uncertainty import Covariances
from pdekit.fitting.storage import read_document, write_document
from pdekit.symbolic import SymbolicSDE

if TYPE_CHECKING:
    from pdekit.fitting.result import Fit


def save_fit(fit: "Fit", folder: Path) -> None:
    """Writes `model.json` and `arrays.safetensors` into an existing folder."""
    maximum, minimum = fit.maximum, fit.maximum.minimum
    document = {
        "pdekit": __version__,
        "model": fit.model.to_dict(),
        "method": fit.method,
        "seed": fit.seed,
        "route": fit.route,
        "status": fit.status,
        "loglik": fit.loglik,
        "at_bound": list(maximum.at_bound),
        "evaluations": maximum.evaluations,
        "grid": _grid(fit),
        "params": {
            p.name: {"estimate": p.estimate, "stderr": p.stderr, "status": p.status} for p in fit.params.values()
        },
        "minimum": {"value": minimum.value, "decrement": _finite(minimum.decrement), "converged": minimum.converged},
        "data": {
            "ids": list(fit.data.ids),
            "names": list(fit.data.names),
            "time_unit": fit.data.time_unit,
            "origin": fit.data.origin,
            "notes": list(fit.data.notes),
        },
    }
    arrays: dict[str, Tensor] = {
        "theta": fit.theta,
        "start": maximum.start,
        "free": torch.from_numpy(maximum.free.astype(np.uint8)),
        "covariance.observed": torch.from_numpy(fit.covariances.observed),
        "covariance.sandwich": torch.from_numpy(fit.covariances.sandwich),
        "minimum.point": torch.from_numpy(minimum.point),
        "minimum.gradient": torch.from_numpy(minimum.gradient),
        "minimum.hessian": torch.from_numpy(minimum.hessian),
        "correction": torch.from_numpy(maximum.correction),
        "shift": torch.from_numpy(maximum.shift),
        "lengths": torch.tensor([len(t) for t in fit.data.times]),
        "times": torch.cat(list(fit.data.times)),
        "values": torch.cat(list(fit.data.values)),
    }
    write_document(folder, document, arrays)


def read_fit(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a saved `Fit`; its likelihood is built anew on the same grid.

    Raises:
        InputError: If the folder holds no fit, or a damaged one.
    """
    document, arrays = read_document(folder)
    try:
        model = SymbolicSDE.from_dict(document["model"])
        lengths = arrays["lengths"].tolist()
        data = Trajectories(
            times=arrays["times"].split(lengths), values=arrays["values"].split(lengths), **document["data"]
        )
        _check_params(document["params"], model.named(arrays["theta"]), folder)
        maximum = _maximum(model, data, document, arrays)
        covariances = Covariances(arrays["covariance.observed"].numpy(), arrays["covariance.sandwich"].numpy())
        return {
            "model": model,
            "data": data,
            "maximum": maximum,
            "covariances": covariances,
            "method": document["method"],
            "seed": int(document["seed"]),
        }
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"The saved fit in {folder} is incomplete or damaged ({error}). Fit the model again."
        ) from error


def _check_params(stated: dict[str, Any], theta: dict[str, float], folder: object) -> None:
    """The document repeats the estimates for readers; one that was edited must not be read as if it counted."""
    for name, value in theta.items():
        found = stated[name]["estimate"]
        if not (isinstance(found, float | int) and math.isclose(found, value, rel_tol=1e-12)) or len(stated) != len(
            theta
        ):
            raise InputError(
                f"The saved fit in {folder} says {name} = {found!r} where its arrays say {value:.6g}: one of them was "
                "changed. Fit again, with --fix or fixed={...} to hold a parameter at a value of your own."
            )


def _maximum(model: SymbolicSDE, data: Trajectories, document: dict[str, Any], arrays: dict[str, Tensor]) -> Maximum:
    theta, free = arrays["theta"], arrays["free"].numpy().astype(bool)
    pairs = data.pairs()
    if document["grid"] is None:
        density = transition_density(model, pairs, theta, document["method"])
    else:
        density = FokkerPlanckTransition.lay(model, pairs, theta, **document["grid"])
    bijection = Bijection([model.params[name] for name in model.param_names])
    decrement = document["minimum"]["decrement"]
    minimum = Minimum(
        point=arrays["minimum.point"].numpy(),
        value=float(document["minimum"]["value"]),
        gradient=arrays["minimum.gradient"].numpy(),
        hessian=arrays["minimum.hessian"].numpy(),
        decrement=float("inf") if decrement is None else float(decrement),
        evaluations=int(document["evaluations"]),
        converged=bool(document["minimum"]["converged"]),
    )
    return Maximum(
        theta=theta,
        loglik=float(document["loglik"]),
        objective=NegativeLogLikelihood(density, bijection, free, theta),
        minimum=minimum,
        correction=arrays["correction"].numpy(),
        free=free,
        at_bound=tuple(document["at_bound"]),
        shift=arrays["shift"].numpy(),
        evaluations=int(document["evaluations"]),
        start=arrays["start"],
    )


def _grid(fit: "Fit") -> dict[str, Any] | None:
    """The size of a likelihood that is one grid; other routes find theirs again by themselves."""
    density = fit.maximum.objective.density
    if isinstance(density, FokkerPlanckTransition):
        return {"cells": density.cells, "extrapolate": density.extrapolate}
    return None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
