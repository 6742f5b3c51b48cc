"""What every operator relies on, checked once for each function: rows don't see one another, and nothing is random.

The check calls the function on plain tensors once more, and on one row from the middle of the batch, and compares. The
outcome is remembered for the function.
"""

from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, recording, rounding
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
    entry = _MEMORY.about(call.function, *call.by_row)
    if (entry.known and (entry.value or count == 1)) or not call.readable:
        return
    rows = output.detach().reshape(count, -1)
    finite = torch.isfinite(rows).all(-1)
    i = count // 2
    if not bool(finite[i]):
        return
    # Rounding may differ with the number of rows. Half precision has few digits to spare: 0.1 still sees mixed rows.
    scale = float(rows[finite].abs().max())
    tolerance = min(1e4 * rounding(rows), 0.1) * (1 + scale)
    with recording():
        error, how = _judged(call.recordable(), rows, i, tolerance)
    if not error <= tolerance:
        raise OperatorError(
            f"{call.operator}: each row of the output must depend on its own row of the state only, but a row changes "
            f"by {error:.3g} (values up to {scale:.3g}) when {how}. Look for a mean or a norm over the batch, "
            "BatchNorm in training mode (call .eval()), or dropout and other randomness."
        )
    entry.keep(count > 1)


def _judged(call: Call, rows: Tensor, i: int, tolerance: float) -> tuple[float, str]:
    """How much the output changes, in all rows or in row i, and on what occasion."""

    def change(call: Call, *row: int) -> float | None:
        try:
            found = call.at(call.x).detach().reshape(call.batch.numel(), -1)
        except Exception:
            return None
        found, expected = (found[row], rows[i]) if row else (found, rows)
        finite = torch.isfinite(expected)
        return float((found - expected)[finite].abs().max()) if found.shape == expected.shape else None

    again = change(call)
    if (again is not None and not again <= tolerance) or len(rows) == 1:
        return again or 0.0, "it is evaluated again"
    flat = call.x.detach().reshape(-1, call.dim)
    alone = change(call.rows(slice(i, i + 1)), 0)
    if alone is not None and alone <= tolerance and not bool((flat == flat[i]).all()):
        return alone, ""
    # It may hold one value per row, or have been given a context that only looks like rows.
    others = 0.5 * flat.flip(0) + 0.25 * flat[i] + 0.1
    others[i] = flat[i]
    changed = change(call.moved(others.reshape(call.x.shape)), i)
    if changed is not None:
        return changed, "the other rows are changed"
    return alone or 0.0, "it is evaluated by itself"
