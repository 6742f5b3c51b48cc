"""A diagonal that a user gives in closed form, compared with derivatives before it is relied on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.ode.field import Field, unseen

_ENTRIES, _SAMPLES = 32, 4  # how many are compared: each entry is one product with the Jacobian
_ROUNDING = 1e3  # times eps, beside the largest entry


def check_diagonal(field: Field, t: np.ndarray, y: Tensor) -> None:
    """Compare some entries of a diagonal in closed form, for some samples, with products of the Jacobian.

    Where autograd sees no derivative at all there is nothing to compare with.

    Raises:
        InputError: If it raises, has another form, or is not the diagonal.
    """
    if field.diagonal_of is None or not len(y):
        return
    rows = _spread(len(y), _SAMPLES)
    t, y = t[rows], y.detach()[torch.as_tensor(rows, device=y.device)]
    some = replace(field.take(rows), counts=field.counts.copy())  # the check's own costs count for nothing
    with torch.no_grad(), unseen():
        given = replace(some, diagonal_of=_in_form(field.diagonal_of)).diagonal(t, y)
        entries = _spread(y.shape[1], _ENTRIES)
        exact = _entries(some, t, y, entries)
    if exact is None:
        return
    given = given[:, torch.as_tensor(entries, device=y.device)]
    eps = torch.finfo(y.dtype).eps
    allowed = eps**0.5 * exact.abs() + _ROUNDING * eps * exact.abs().amax(-1, keepdim=True)
    wrong = torch.isfinite(exact) & ~((given - exact).abs() <= allowed)
    if bool(wrong.any()):
        row, entry = torch.nonzero(wrong)[0].tolist()
        raise InputError(
            f"closed_form is not the diagonal of the Jacobian: in component {entries[entry]} of sample "
            f"{field.rows[rows[row]]} it is {float(given[row, entry]):.9g} instead of "
            f"{float(exact[row, entry]):.9g}. Leave it out, and it is computed."
        )


def _spread(count: int, most: int) -> np.ndarray:
    """Some indices, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _entries(field: Field, t: np.ndarray, y: Tensor, entries: np.ndarray) -> Tensor | None:
    """Entries of the diagonal by products with the Jacobian, (n, entries); None where autograd sees none."""
    try:
        product, columns = field.product(t, y), []
        for i in entries:
            direction = torch.zeros_like(y)
            direction[:, i] = 1.0
            columns.append(product(direction))
    except (RuntimeError, NotImplementedError):
        return None
    if not any(bool(column.any()) for column in columns):
        return None
    return torch.stack([column.detach()[:, i] for column, i in zip(columns, entries, strict=True)], 1)


def _in_form(diagonal: Callable[..., Any]) -> Callable[..., Tensor]:
    """The same, refusing what is no diagonal."""

    def checked(t: Tensor, y: Tensor, **context: Tensor) -> Tensor:
        try:
            value = diagonal(t, y, **context)
        except Exception as cause:
            raise InputError(
                f"closed_form raises {type(cause).__name__} for a state of shape {tuple(y.shape)}: {cause}. It is "
                "called as the function itself is: (t, y) by odeint, (z) by solve_root, with context= where there is "
                "one."
            ) from cause
        if not isinstance(value, Tensor) or value.shape != y.shape or value.dtype != y.dtype:
            came = f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"closed_form must return the diagonal of the Jacobian, of the state's shape {tuple(y.shape)} and "
                f"dtype {y.dtype}, got {came}."
            )
        return value

    return checked


__all__ = ["check_diagonal"]
