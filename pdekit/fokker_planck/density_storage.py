"""Densities as files: tables of log p as tensors, the problem and the times as JSON in the header."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pdekit.errors import InputError
from pdekit.fokker_planck.density import Density
from pdekit.fokker_planck.statement import Statement
from pdekit.fokker_planck.tabulated import TabulatedDensity, tabulate
from pdekit.ode.storage import complete, read, write
from pdekit.symbolic.model import SymbolicSDE

if TYPE_CHECKING:
    from pdekit.fokker_planck.solution import DensitySolution

_KIND = "density"


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
    problem = solution.problem
    tables = [tabulate(density, problem.domain) for density in solution.densities]
    tensors = {f"log_p.{k}": torch.as_tensor(table.log_p) for k, table in enumerate(tables)}
    tensors |= {
        f"nodes.{k}.{i}": torch.as_tensor(x) for k, table in enumerate(tables) for i, x in enumerate(table.nodes)
    }
    times = solution.times
    about = {
        "model": None if problem.model is None else problem.model.to_dict(),
        "dim": problem.sde.dim,
        "t0": problem.t0,
        "domain": [[None if np.isinf(end) else end for end in ends] for ends in _ends(problem)],
        "boundary": [list(sides) for sides in problem.domain.sides],
        "method": solution.method,
        "times": None if times is None else times.tolist(),
        "errors": [table.error for table in tables],
        "notes": {str(name): str(value) for name, value in solution.notes.items()},
    }
    write(path, _KIND, about, tensors)


def _ends(problem: Statement) -> list[tuple[float, float]]:
    return list(zip(problem.domain.lower, problem.domain.upper, strict=True))


def load_solution(path: Any, problem: Statement | None) -> Kept:
    """See `DensitySolution.load`."""
    about, tensors = read(path, _KIND)
    with complete(path):
        stated = _problem(about, problem, path)
        densities = []
        for k, error in enumerate(about["errors"]):
            nodes = tuple(tensors[f"nodes.{k}.{i}"].numpy() for i in range(about["dim"]))
            densities.append(TabulatedDensity(nodes, tensors[f"log_p.{k}"].numpy(), stated.domain, error))
        times = None if about["times"] is None else np.array(about["times"])
        return Kept(stated, about["method"], times, densities, about["notes"])


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
