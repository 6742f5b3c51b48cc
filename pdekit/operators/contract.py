"""What every operator relies on, checked once for each function: rows don't see one another, and nothing is random.

The check calls the function, on plain tensors, on one row from the middle of the batch, and compares. It costs that
small call, and is remembered for the function.
"""

from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call
from pdekit.operators.memory import Memory
from pdekit.operators.propagation import Jet

_MEMORY = Memory()  # function -> whether it was checked with several rows


def check_rows(call: Call, output: Any) -> None:
    """Refuse a function whose rows see one another, that is random, or returns something else for plain tensors.

    Args:
        call: The call that was made.
        output: What it returned on the whole batch.

    Raises:
        OperatorError: If a row changes when the others do.
    """
    if torch.compiler.is_compiling() or isinstance(call.x, Jet) or isinstance(output, Jet) or output.numel() == 0:
        return
    count = call.batch.numel()
    entry = _MEMORY.about(call.function)
    if entry.known and (entry.value or count == 1) or not call.readable:
        return
    rows = output.detach().reshape(count, *output.shape[len(call.batch) :])
    finite = torch.isfinite(rows.reshape(count, -1)).all(-1)
    if not bool(finite[count // 2]):
        return
    with torch.enable_grad():  # functions that differentiate by themselves need it
        middle = slice(count // 2, count // 2 + 1)
        error = _difference(rows[middle], _alone(call, middle, rows))
        how = "it is evaluated again" if count == 1 else "it is evaluated by itself"
        if not error <= _tolerance(rows) and count > 1:
            # It may hold one value per row, or have been given a context that only looked like rows.
            error, how = _difference(rows[middle], _with_others_changed(call, middle)), "the other rows are changed"
    if not error <= _tolerance(rows):
        raise OperatorError(
            f"{call.operator}: each row of the output must depend on its own row of the state only, but a row changes by "
            f"{error:.3g} (values up to {float(rows[finite].abs().max()):.3g}) when {how}. Look for a mean or a norm over "
            "the batch, BatchNorm in training mode (call .eval()), or dropout and other randomness."
        )
    entry.keep(count > 1)


def _tolerance(rows: Tensor) -> float:
    # Rounding may differ with the number of rows. Half precision has few digits to spare: 0.1 still sees mixed rows.
    finite = rows[torch.isfinite(rows)]
    return min(1e4 * torch.finfo(rows.dtype).eps, 0.1) * (1 + float(finite.abs().max()))


def _difference(expected: Tensor, found: Tensor | None) -> float:
    return torch.inf if found is None else float((found - expected).abs().max())


def _alone(call: Call, middle: slice, rows: Tensor) -> Tensor | None:
    # A function that closes over one value per row can't be called on fewer rows; that is allowed.
    one = call.rows(middle)
    try:
        found = one.at(one.x)
    except Exception:  # noqa: BLE001 - any complaint means: judge it another way
        return None
    return found.detach() if isinstance(found, Tensor) and found.shape == rows[middle].shape else None


def _with_others_changed(call: Call, middle: slice) -> Tensor:
    flat = call.x.detach().reshape(-1, call.dim)
    others = 0.5 * flat.flip(0) + 0.25 * flat[middle]
    others[middle] = flat[middle]
    found = call.at(others.reshape(call.x.shape)).detach()
    return found.reshape(flat.shape[0], *found.shape[len(call.batch) :])[middle]
