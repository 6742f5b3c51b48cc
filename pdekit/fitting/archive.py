"""A fit as a folder, and back: everything needed to report on it, profile it or simulate from it again."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit import __version__
from pdekit.data import Snapshots, Trajectories
from pdekit.errors import InputError
from pdekit.fitting.coefficients import Model
from pdekit.fitting.estimate import Estimate
from pdekit.fitting.learned_estimate import LearnedEstimate
from pdekit.fitting.maximum_likelihood import MaximumLikelihood
from pdekit.fitting.snapshot_likelihood import SnapshotLikelihood
from pdekit.fitting.storage import read_document, write_document
from pdekit.symbolic import SymbolicSDE

if TYPE_CHECKING:
    from pdekit.fitting.result import Fit


def save_fit(fit: "Fit", folder: Path) -> None:
    """Writes `model.json` and `arrays.safetensors` into an existing folder."""
    record, arrays = fit.estimate.to_record()
    document = {
        "pdekit": __version__,
        "model": fit.model.to_dict() if isinstance(fit.model, SymbolicSDE) else None,
        "method": fit.method,
        "seed": fit.seed,
        "route": fit.route,
        "status": fit.status,
        "loglik": fit.loglik,
        "params": {
            p.name: {"estimate": p.estimate, "stderr": p.stderr, "status": p.status} for p in fit.params.values()
        },
        "estimate": {"kind": fit.estimate.kind, **record},
        "data": {"names": list(fit.data.names), "time_unit": fit.data.time_unit, "notes": list(fit.data.notes)},
    }
    if isinstance(fit.data, Snapshots):
        own: dict[str, Tensor] = {
            "lengths": torch.tensor([len(x) for x in fit.data.samples]),
            "times": fit.data.times,
            "values": torch.cat(list(fit.data.samples)),
        }
    else:
        document["data"] |= {"ids": list(fit.data.ids), "origin": fit.data.origin}
        own = {
            "lengths": torch.tensor([len(t) for t in fit.data.times]),
            "times": torch.cat(list(fit.data.times)),
            "values": torch.cat(list(fit.data.values)),
        }
    write_document(folder, document, {**own, **{f"estimate.{name}": value for name, value in arrays.items()}})


def read_fit(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a saved `Fit`; its likelihood is built anew on the same grid.

    Raises:
        InputError: If the folder holds no fit, or a damaged one.
    """
    document, arrays = read_document(folder)
    try:
        record, lengths = document["estimate"], arrays["lengths"].tolist()
        if "ids" not in document["data"]:
            return _read_snapshots(document, arrays, lengths)
        data = Trajectories(
            times=arrays["times"].split(lengths), values=arrays["values"].split(lengths), **document["data"]
        )
        found = {name.removeprefix("estimate."): v for name, v in arrays.items() if name.startswith("estimate.")}
        if record["kind"] == LearnedEstimate.kind:
            learned = LearnedEstimate.from_record(record, found, data.pairs())
            model: Model = learned.model
            estimate: Estimate = learned
        elif record["kind"] == MaximumLikelihood.kind:
            model = SymbolicSDE.from_dict(document["model"])
            _check_params(document["params"], model.named(found["theta"]), folder)
            estimate = MaximumLikelihood.from_record(record, found, model, data.pairs())
        else:
            raise InputError(f"The saved fit in {folder} is of a kind that is not known, {record['kind']!r}.")
        return {
            "model": model,
            "data": data,
            "estimate": estimate,
            "method": str(document["method"]),
            "seed": int(document["seed"]),
        }
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"The saved fit in {folder} is incomplete or damaged ({error}). Fit the model again."
        ) from error


def _read_snapshots(document: dict[str, Any], arrays: dict[str, Tensor], lengths: list[int]) -> dict[str, Any]:
    found = {name.removeprefix("estimate."): v for name, v in arrays.items() if name.startswith("estimate.")}
    record = document["estimate"]
    if record["kind"] == LearnedEstimate.kind:
        learned = LearnedEstimate.from_record(record, found, None)
        model: Model = learned.model
        estimate: Estimate = learned
    else:
        model = SymbolicSDE.from_dict(document["model"])
        estimate = SnapshotLikelihood.from_record(record, found, model)
    return {
        "model": model,
        "data": Snapshots(arrays["times"], arrays["values"].split(lengths), **document["data"]),
        "estimate": estimate,
        "method": str(document["method"]),
        "seed": int(document["seed"]),
    }


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
