"""Results against the truth, in units of what the dtype allows, and how a failure reads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.symbolic.evaluation import Evaluation

DEFAULT_LIMIT = 100.0  # units: so many times eps sum|terms| may a result be off; sound code stays near 1


class CheckFailure(AssertionError):
    """A check found a fault.

    Attributes:
        check: The check that failed.
        units: The error in units of eps sum|terms|, where the check measures one; else infinite.
        reproduction: A line of Python that shows the fault again, or "".
    """

    def __init__(self, check: str, findings: str, *, units: float = float("inf"), reproduction: str = "") -> None:
        tail = f"\n  reproduce  {reproduction}" if reproduction else ""
        super().__init__(f"{check}: {findings}{tail}")
        self.check, self.units, self.reproduction = check, units, reproduction


@dataclass(frozen=True)
class Comparison:
    """The worst entry of a result.

    Attributes:
        units: |got - true| / (eps sum|terms|), infinite for NaN where there is a value.
        row: The index of the point.
        entry: The index of the entry.
        expected: The true value.
        got: What came.
        unit: eps sum|terms| of that entry.
    """

    units: float
    row: int
    entry: int
    expected: float
    got: float
    unit: float

    def within(self, limit: float) -> bool:
        """Whether the error is allowed."""
        return self.units <= limit

    def __str__(self) -> str:
        size = (
            f"{self.units:.3g} times eps sum|terms| = {self.unit:.3g}"
            if self.unit > 1e-300
            else "where every term is 0"
        )
        return (
            f"expected   {self.expected:.17g}\n  got        {self.got:.17g}\n"
            f"  error      {abs(self.got - self.expected):.3g}, {size}"
        )


def compare(got: Any, truth: Evaluation, dtype: torch.dtype, shape: tuple[int, ...]) -> Comparison:
    """The worst entry of a result against the truth.

    Args:
        got: A tensor, or a tuple of tensors that are stacked along a new last axis.
        truth: Values of k entries at n points.
        dtype: The dtype of the computation.
        shape: The shape a result must have; its size is n k.

    Raises:
        CheckFailure: If the result has another shape or is no tensor of floating-point numbers.
    """
    value = torch.stack(list(got), -1) if isinstance(got, tuple | list) and got else got
    if not isinstance(value, Tensor) or not value.is_floating_point():
        came = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise CheckFailure("compare", f"expected a floating-point tensor of shape {shape}, got {came}")
    if tuple(value.shape) != shape:
        raise CheckFailure("compare", f"expected shape {shape}, got {tuple(value.shape)}")
    if value.dtype != dtype:
        raise CheckFailure("compare", f"expected the state's dtype {dtype}, got {value.dtype}")
    found = value.detach().cpu().double().numpy().reshape(truth.value.shape)
    limits = torch.finfo(dtype)
    unit = limits.eps * truth.magnitude + limits.tiny + truth.error  # below `tiny` there is nothing but zero
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.abs(found - truth.value) / unit
    units = np.where(np.isfinite(units) & np.isfinite(unit), units, np.inf)
    if units.size == 0:
        return Comparison(0.0, 0, 0, 0.0, 0.0, 0.0)
    row, entry = np.unravel_index(int(np.argmax(units)), units.shape)
    return Comparison(
        float(units[row, entry]),
        int(row),
        int(entry),
        float(truth.value[row, entry]),
        float(found[row, entry]),
        float(unit[row, entry]),
    )


__all__ = ["DEFAULT_LIMIT", "CheckFailure", "Comparison", "compare"]
