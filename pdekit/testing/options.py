"""Options of checks that make no sense, refused before anything is blamed on what is checked."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from pdekit.errors import InputError


def check_options(*, dtype: Any = torch.float64, device: Any = "cpu", limit: float = 1.0) -> None:
    """Refuses what can't be a dtype of floating-point numbers, a device that computes here, or a limit.

    Raises:
        InputError: With what was expected.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"dtype must be a floating-point dtype such as torch.float64, got {dtype!r}.")
    if not (isinstance(limit, int | float) and math.isfinite(limit) and limit > 0):
        raise InputError(f"limit must be a positive number of units, got {limit!r}.")
    check_device(device)


def check_device(device: Any) -> torch.device:
    """The device, if it computes here.

    Raises:
        InputError: If torch has no such device, or it holds no numbers.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except Exception as cause:
        reason = str(cause).splitlines()[0]
        raise InputError(f"The device {str(device)!r} can't be used here: {reason}") from None
    return found


def known(names: Iterable[Any], allowed: Iterable[Any], what: str) -> None:
    """Refuses names that are not among those allowed.

    Raises:
        InputError: With the names that there are.
    """
    allowed, names = list(allowed), list(names)
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        came = repr(unknown[0]) if unknown else "nothing"
        raise InputError(f"{what} must be among {', '.join(map(str, allowed))}; got {came}.")


__all__ = ["check_device", "check_options", "known"]
