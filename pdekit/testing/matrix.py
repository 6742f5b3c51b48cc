"""The matrix: every operator of pdekit by every method, eager and compiled, in each dtype, against SymPy."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from pdekit import operators
from pdekit.operators import Compressed, Dense, Exact, Hollow
from pdekit.symbolic.evaluation import Evaluation
from pdekit.testing import specifications as spec
from pdekit.testing.checking import for_all, require_hypothesis
from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure, compare
from pdekit.testing.specifications import FORMS, Form, Specification, Trial

Progress = Callable[[str, int, int], None]

# The methods of a group of operators, and the forms of functions that each can take.
_LINEAR: tuple[Form, ...] = ("layered", "network")
_Methods = dict[str, tuple[Any, tuple[Form, ...]]]
_LOG_FORM: _Methods = {"Exact": (Exact(), FORMS), "Dense": (Dense(), FORMS)}
_SECOND: _Methods = {
    **_LOG_FORM,
    "Dense(1)": (Dense(1), ("columns",)),
    "Compressed": (Compressed(), ("layered", "network")),
}
_FIRST: _Methods = {**_SECOND, "Hollow": (Hollow(), ("hollow",))}
_HIGHER = {name: method for name, method in _FIRST.items() if name != "Compressed"}
_AUTOGRAD = ("reverse", "nested forward")
_NONE = {"exact": (None, FORMS)}


@dataclass(frozen=True)
class Subject:
    """An implementation that is held against a specification.

    Args:
        specification: What it must give.
        method: How it computes, in words.
        operator: The implementation, as `check_operator` takes it.
        forms: The forms of functions it can take.
        compiles: Whether it works under `torch.compile(fullgraph=True)`.
        planned: Whether it returns an `OperatorResult` whose plan must be a series, not autograd: a wrong rule would
            make the operator fall back on autograd, and be right for the wrong reason.
    """

    specification: Specification
    method: str
    operator: Callable[..., Any]
    forms: tuple[Form, ...] = FORMS
    compiles: bool = True
    planned: bool = False


@dataclass
class Cell:
    """One cell of the matrix.

    Attributes:
        operator: The specification's name.
        method: The method.
        form: The form of the functions.
        mode: `"eager"` or `"compiled"`.
        dtype: The dtype, in words.
        trials: How many trials were made.
        units: The largest error, in units of eps sum|terms|.
        violations: How many trials were wrong by more than the limit, or raised.
        failure: The message of the first of these.
    """

    operator: str
    method: str
    form: str
    mode: str
    dtype: str
    trials: int = 0
    units: float = 0.0
    violations: int = 0
    failure: str = ""
    seconds: float = field(default=0.0, repr=False)

    @property
    def good(self) -> bool:
        """Whether it was tried and nothing was wrong."""
        return self.trials > 0 and self.violations == 0


def subjects() -> list[Subject]:
    """Every operator of pdekit by every exact method."""
    first = [
        (spec.divergence, operators.divergence),
        (spec.jacobian_diagonal, operators.jacobian_diagonal),
    ]
    higher = [
        (spec.dimwise_derivative(2), partial(operators.dimwise_derivative, order=2)),
        (spec.dimwise_jet(6), partial(operators.dimwise_jet, order=6)),
    ]
    second = [
        (spec.laplacian, operators.laplacian),
        (spec.vector_laplacian, operators.laplacian),
        (spec.biharmonic, operators.biharmonic),
        (spec.second_order_operator, operators.second_order_operator),
        (spec.generator, operators.generator),
        (spec.fokker_planck_operator, operators.fokker_planck_operator),
    ]
    log_form = [
        (spec.log_fokker_planck_operator, operators.log_fokker_planck_operator),
        (spec.fokker_planck_residual, operators.fokker_planck_residual),
    ]
    plain = [
        (spec.probability_current, operators.probability_current),
        (spec.probability_flow, operators.probability_flow),
        (spec.ito_drift, operators.ito_drift),
    ]
    found = []
    groups = ((first, _FIRST), (higher, _HIGHER), (second, _SECOND), (log_form, _LOG_FORM), (plain, _NONE))
    for group, methods in groups:
        for specification, operator in group:
            for name, (method, forms) in methods.items():
                tried: tuple[Form, ...] = tuple(f for f in forms if f in specification.forms)
                if tried:
                    given = {} if method is None else {"method": method, "full_output": True}
                    subject = partial(operator, **given)
                    found.append(Subject(specification, name, subject, tried, planned=bool(given)))
    return found


def run_matrix(
    tried: Sequence[Subject],
    *,
    examples: int = 200,
    compiled: int = 5,
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    device: torch.device | str = "cpu",
    seed: int = 0,
    limit: float = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> list[Cell]:
    """Hold implementations against SymPy; the truth of a trial is computed once for all of them.

    Args:
        tried: What is held against its specification.
        examples: Trials per specification and form.
        compiled: How many functions of each specification are compiled as well, by every method, in the first dtype.
        dtypes: The dtypes.
        device: Where it is computed.
        seed: Seed of the trials.
        limit: The error allowed, in units of eps sum|terms|.
        progress: Called with (what, done, all).

    Returns:
        One cell for each specification, method, form, mode and dtype.
    """
    groups = list(_groups(tried))
    cells: list[Cell] = []
    for number, (specification, form, members) in enumerate(groups):
        if progress is not None:
            progress(f"{specification.name}, {form}", number, len(groups))
        cells += _run_group(specification, form, members, examples, compiled, dtypes, device, seed, limit)
    if progress is not None:
        progress("", len(groups), len(groups))
    return cells


def _groups(tried: Sequence[Subject]) -> Iterator[tuple[Specification, Form, list[Subject]]]:
    by_name = {s.specification.name: s.specification for s in tried}
    for name, specification in by_name.items():
        for form in specification.forms:
            members = [s for s in tried if s.specification.name == name and form in s.forms]
            if members:
                yield specification, form, members


def _run_group(
    specification: Specification,
    form: Form,
    members: Sequence[Subject],
    examples: int,
    compiled: int,
    dtypes: Sequence[torch.dtype],
    device: torch.device | str,
    seed: int,
    limit: float,
) -> list[Cell]:
    cells: dict[tuple[str, str, torch.dtype], Cell] = {}
    count, each = 0, -(-compiled // len(specification.forms))

    def attempt(trial: Trial) -> None:
        nonlocal count
        count += 1
        truth = specification.evaluate(trial)
        for subject in members:
            for dtype in dtypes:
                compiles = subject.compiles and dtype == dtypes[0] and count <= each
                for mode in ("eager", "compiled") if compiles else ("eager",):
                    name = str(dtype).removeprefix("torch.")
                    cell = cells.setdefault(
                        (subject.method, mode, dtype), Cell(specification.name, subject.method, form, mode, name)
                    )
                    _try(cell, subject, trial, truth, dtype, device, limit)

    require_hypothesis()
    from pdekit.testing.trials import trials

    for_all(trials(specification, form), attempt, examples=examples, seed=seed, shrink=False)
    return list(cells.values())


def _try(
    cell: Cell,
    subject: Subject,
    trial: Trial,
    truth: Evaluation,
    dtype: torch.dtype,
    device: torch.device | str,
    limit: float,
) -> None:
    begun = time.perf_counter()
    cell.trials += 1
    specification = subject.specification
    try:
        applied = specification.prepared(subject.operator, trial, dtype, device)
        if cell.mode == "compiled":
            torch._dynamo.reset()
            applied = torch.compile(applied, fullgraph=True, backend="aot_eager")
        got = applied(*specification.arguments(trial, dtype, device))
        if subject.planned:
            _check_plan(got.plan)
            got = got.value
        found = compare(got, truth, dtype, (len(trial.x), *specification.shape(trial)))
        message = "" if found.within(limit) else f"{found}\n  {trial!r}"
        cell.units = max(cell.units, found.units)
    except CheckFailure as failure:
        message = f"{failure}\n  {trial!r}"
    except Exception as error:
        message = f"{type(error).__name__}: {error}\n  {trial!r}"
    if message:
        cell.violations += 1
        cell.failure = cell.failure or message
    cell.seconds += time.perf_counter() - begun


def _check_plan(plan: Any) -> None:
    if plan.route in _AUTOGRAD:
        raise CheckFailure("plan", f"series gave way to autograd ({plan.route}): {plan.reason}")


__all__ = ["Cell", "Progress", "Subject", "run_matrix", "subjects"]
