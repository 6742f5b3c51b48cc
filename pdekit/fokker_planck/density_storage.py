"""Densities as files: tables, mixtures and networks as tensors, the rest as JSON in the header."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.fokker_planck.density import Density
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.networks.learned import LearnedScore
from pdekit.fokker_planck.networks.potential_density import PotentialDensity
from pdekit.fokker_planck.networks.stored import packed_density, packed_model, unpacked_density, unpacked_model
from pdekit.fokker_planck.statement import Statement
from pdekit.fokker_planck.tabulated import TabulatedDensity, tabulate
from pdekit.ode.storage import complete, read, write
from pdekit.symbolic.model import SymbolicSDE

if TYPE_CHECKING:
    from pdekit.fokker_planck.solution import DensitySolution

_KIND = "density"
_MIXTURE = ("weights", "means", "covariances")


@dataclass(frozen=True)
class Kept:
    """What a file holds.

    Args:
        problem: Stated again, without the initial law.
        method: How it was solved.
        times: When, or None.
        densities: One for each time.
        notes: What the method had to say.
    """

    problem: Statement
    method: str
    times: np.ndarray | None
    densities: Sequence[Density]
    notes: dict[str, Any]


def save_solution(solution: "DensitySolution", path: Any) -> None:
    """See `DensitySolution.save`."""
    problem, times, tensors = solution.problem, solution.times, {}
    parts: list[dict[str, Any]] = []
    model: dict[str, Any] | None = None
    for k, density in enumerate(solution.densities):
        if isinstance(density, PotentialDensity):
            if model is None:
                model, found = packed_model(density.model)
                tensors |= {f"model.{name}": value for name, value in found.items()}
            kind, (about, found) = "learned", packed_density(density)
        elif isinstance(density, GaussianMixture):
            kind, about, found = "mixture", {"error": density.error}, _mixture(density)
        else:
            table = tabulate(density, problem.domain)
            kind, about, found = "table", {"error": table.error, "powers": table.powers}, _table(table)
        parts.append({"kind": kind} | about)
        tensors |= {f"{k}.{name}": value for name, value in found.items()}
    about = {
        "model": None if problem.model is None else problem.model.to_dict(),
        "dim": problem.sde.dim,
        "t0": problem.t0,
        "domain": [[None if np.isinf(end) else end for end in ends] for ends in _ends(problem)],
        "boundary": [list(sides) for sides in problem.domain.sides],
        "method": solution.method,
        "times": None if times is None else times.tolist(),
        "densities": parts,
        "learned": model,
        "notes": {str(name): str(value) for name, value in solution.notes.items()},
    }
    write(path, _KIND, about, tensors)


def _mixture(density: GaussianMixture) -> dict[str, Tensor]:
    return {name: torch.as_tensor(getattr(density, name)) for name in _MIXTURE}


def _table(table: TabulatedDensity) -> dict[str, Tensor]:
    nodes = {f"nodes.{i}": torch.as_tensor(x) for i, x in enumerate(table.nodes)}
    return {"log_p": torch.as_tensor(table.log_p)} | nodes


def _ends(problem: Statement) -> list[tuple[float, float]]:
    return list(zip(problem.domain.lower, problem.domain.upper, strict=True))


def load_solution(path: Any, problem: Statement | None) -> Kept:
    """See `DensitySolution.load`."""
    about, tensors = read(path, _KIND)
    with complete(path):
        stated = _problem(about, problem, path)
        model = None if about["learned"] is None else unpacked_model(about["learned"], _under(tensors, "model."))
        densities = [
            _density(stated, model, part, _under(tensors, f"{k}.")) for k, part in enumerate(about["densities"])
        ]
        times = None if about["times"] is None else np.array(about["times"])
        return Kept(stated, about["method"], times, densities, about["notes"])


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _density(
    problem: Statement, model: LearnedScore | None, about: dict[str, Any], tensors: dict[str, Tensor]
) -> Density:
    if about["kind"] == "learned" and model is not None:
        return unpacked_density(model, about, tensors)
    if about["kind"] == "mixture":
        weights, means, covariances = (tensors[name].numpy() for name in _MIXTURE)
        return GaussianMixture(weights, means, covariances, about["error"])
    nodes = tuple(tensors[f"nodes.{i}"].numpy() for i in range(problem.sde.dim))
    powers = about.get("powers")  # files of before know none
    powers = None if powers is None else tuple((low, high) for low, high in powers)
    return TabulatedDensity(nodes, tensors["log_p"].numpy(), problem.domain, about["error"], powers)


def _problem(about: dict[str, Any], given: Statement | None, path: Any) -> Statement:
    if given is not None:
        if given.sde.dim != about["dim"]:
            raise InputError(f"{path} holds densities of {about['dim']} states, problem= has {given.sde.dim}.")
        return given
    if about["model"] is None:
        raise InputError(f"{path} holds no equation, as it was not stated with symbols: give load(path, problem=...).")
    model = SymbolicSDE.from_dict(about["model"])
    boundary = [tuple(sides) for sides in about["boundary"]]
    return Statement(model, None, about["t0"], [tuple(ends) for ends in about["domain"]], boundary)


__all__ = ["Kept", "load_solution", "save_solution"]
