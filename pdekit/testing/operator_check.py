"""`check_operator`: an operator against its definition, on functions that SymPy differentiates."""

from collections.abc import Callable
from typing import Any

import torch

from pdekit.errors import InputError
from pdekit.testing.checking import for_all, require_hypothesis
from pdekit.testing.comparison import DEFAULT_LIMIT, CheckFailure, Comparison, compare
from pdekit.testing.options import check_options, known
from pdekit.testing.specifications import Form, Specification, Trial


def check_operator(
    operator: Callable[..., Any],
    specification: Specification,
    *,
    examples: int = 100,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    forms: tuple[Form, ...] | None = None,
    limit: float = DEFAULT_LIMIT,
    compiled: bool = False,
    trial: Trial | None = None,
) -> Comparison:
    """Check an operator against its definition on drawn functions, equations and points.

    States are batches (n, d); for other shapes of batch see `check_rowwise`. A result may be off by `limit` units of
    eps sum|terms|, see `pdekit.symbolic.evaluation`.

    Args:
        operator: What is tried: for `testing.divergence` and its like f -> g with g(x), or g(t, x) if f takes a time;
            for operators of an equation (u, sde) -> g with g(t, x); for `testing.ito_drift` sde -> g.
        specification: Its definition: `testing.divergence`, `testing.dimwise_derivative(2)`, `testing.generator`, ...
        examples: How many trials of each form.
        seed: The same seed draws the same trials.
        dtype: The dtype of the state.
        device: Where it is computed.
        forms: `"columns"`, `"layered"` (a linear first layer), `"network"` (torch's modules), `"hollow"`; by default
            all that make sense.
        limit: The units that are allowed.
        compiled: Whether g is called through `torch.compile(fullgraph=True)`; some seconds a trial.
        trial: Try this one alone: what the message of a failure tells to do.

    Returns:
        The largest error found.

    Raises:
        InputError: If the specification or an option makes no sense.
        CheckFailure: With the simplest trial that fails, what was expected, what came, and a line that reproduces it.

    Example:
        >>> import torch
        >>> from pdekit import testing
        >>> def divergence(f):  # correct, and slow
        ...     jacobian = torch.func.vmap(torch.func.jacrev(f))
        ...     return lambda x: jacobian(x).diagonal(dim1=-2, dim2=-1).sum(-1)
        >>> first = testing.Trial(testing.vector("x1**2", "x1*x2"), x=[[0.5, 2.0]])
        >>> testing.check_operator(divergence, testing.divergence, trial=first).units
        0.0
        >>> unsummed = lambda f: lambda x: torch.func.vmap(torch.func.jacrev(f))(x).diagonal(dim1=-2, dim2=-1)
        >>> testing.check_operator(unsummed, testing.divergence, trial=first)
        Traceback (most recent call last):
        pdekit.testing.comparison.CheckFailure: divergence: expected shape (1,), got (1, 2)
        ...
    """
    if not isinstance(specification, Specification):
        raise InputError(
            "The second argument is a specification, such as testing.divergence or testing.dimwise_derivative(2), got "
            f"{getattr(specification, '__name__', specification)!r}."
        )
    check_options(dtype=dtype, device=device, limit=limit)
    worst = Comparison(0.0, 0, 0, 0.0, 0.0, 0.0)

    def attempt(trial: Trial) -> None:
        nonlocal worst
        found = judge(operator, specification, trial, dtype=dtype, device=device, limit=limit, compiled=compiled)
        worst = max(worst, found, key=lambda c: c.units)

    if trial is not None:
        attempt(trial)
        return worst
    known(forms or specification.forms, specification.forms, f"The forms that {specification.name} is tried on")
    if examples < 1:
        raise InputError(f"examples must be 1 at least, got {examples!r}.")
    require_hypothesis()
    from pdekit.testing.trials import trials

    for form in forms or specification.forms:
        for_all(trials(specification, form), attempt, examples=examples, seed=seed)
    return worst


def judge(
    operator: Callable[..., Any],
    specification: Specification,
    trial: Trial,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    limit: float = DEFAULT_LIMIT,
    compiled: bool = False,
) -> Comparison:
    """The error of an operator on one trial.

    Raises:
        CheckFailure: If it is larger than `limit` units, or the operator raises.
    """
    name = specification.name
    line = _reproduction(operator, specification, trial, dtype, device, limit, compiled)
    truth = specification.evaluate(trial)
    shape = (len(trial.x), *specification.shape(trial))
    try:
        applied = specification.prepared(operator, trial, dtype, device)
        if compiled:
            torch._dynamo.reset()  # each trial is another function: compiled ones would pile up to torch's limit
            applied = torch.compile(applied, fullgraph=True, backend="aot_eager")
        arguments = specification.arguments(trial, dtype, device)
        got = applied(*arguments)
    except Exception as cause:
        text = f"raised {type(cause).__name__}: {cause}\n  {_described(trial, 0, dtype)}"
        raise CheckFailure(name, text, reproduction=line) from cause
    if not torch.equal(arguments[-1], specification.arguments(trial, dtype, device)[-1]):
        raise CheckFailure(name, f"the state was overwritten\n  {_described(trial, 0, dtype)}", reproduction=line)
    try:
        found = compare(got, truth, dtype, shape)
    except CheckFailure as cause:
        message = str(cause).removeprefix("compare: ")
        raise CheckFailure(name, f"{message}\n  {_described(trial, 0, dtype)}", reproduction=line) from None
    if not found.within(limit):
        text = f"wrong by more than {limit:g} units\n  {_described(trial, found.row, dtype)}\n  {found}"
        raise CheckFailure(name, text, units=found.units, reproduction=line)
    return found


def _described(trial: Trial, row: int, dtype: torch.dtype) -> str:
    lines = []
    if trial.function is not None:
        lines.append(f"function   {trial.function}")
    if trial.equation is not None:
        eq = trial.equation.equation
        lines.append(f"equation   dX = {list(eq.drift)} dt + {eq.diffusion.tolist()} dW, {eq.convention}")
    if trial.coefficients is not None:
        lines.append(f"with       {trial.coefficients!r}")
    lines.append(f"at         x = {trial.x[row].tolist()}, t = {trial.t}, {str(dtype).removeprefix('torch.')}")
    return "\n  ".join(lines)


def _reproduction(
    operator: Any,
    specification: Specification,
    trial: Trial,
    dtype: torch.dtype,
    device: torch.device | str,
    limit: float,
    compiled: bool,
) -> str:
    name = str(getattr(operator, "__name__", ""))
    name = name if name.isidentifier() else "OPERATOR"  # a lambda, say: to be put in by hand
    options = f", dtype={dtype}" if dtype is not torch.float64 else ""
    options += f", device={str(device)!r}" if str(device) != "cpu" else ""
    options += f", limit={limit!r}" if limit != DEFAULT_LIMIT else ""
    options += ", compiled=True" if compiled else ""
    return f"testing.check_operator({name}, testing.{specification.name}, trial={trial!r}{options})"


__all__ = ["check_operator", "judge"]
