"""Bounds of parameters, domains of states, and the checks of values against them."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from pdekit.errors import ModelError
from pdekit.symbolic.parser import check_name

Bounds = tuple[float | None, float | None] | None


def read_bounds(params: Mapping[str, Bounds]) -> dict[str, tuple[float, float]]:
    """The bounds of every parameter as floats, infinite where there is none.

    Raises:
        ModelError: If bounds are not a pair in increasing order.
    """
    if not isinstance(params, Mapping):
        raise ModelError(f"`params` must map names to (lower, upper) or None, got {type(params).__name__}.")
    return {
        check_name(str(name), "parameter"): _interval(bounds, f"bounds of {name}") for name, bounds in params.items()
    }


def read_domain(domain: Any, states: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """The interval of every state; one state may give its interval without a list around it.

    Raises:
        ModelError: If there isn't one interval per state.
    """
    if domain is None:
        domain = [None] * len(states)
    elif len(states) == 1 and len(domain) == 2 and not any(isinstance(d, list | tuple) for d in domain):
        domain = [domain]
    if len(domain) != len(states):
        raise ModelError(f"`domain` must have one (lower, upper) per state ({', '.join(states)}), got {len(domain)}.")
    return tuple(_interval(bounds, f"domain of {name}") for name, bounds in zip(states, domain, strict=True))


def _interval(bounds: Any, what: str) -> tuple[float, float]:
    if bounds is None:
        return -math.inf, math.inf
    try:
        lower, upper = bounds
        lower = -math.inf if lower is None else float(lower)
        upper = math.inf if upper is None else float(upper)
    except (TypeError, ValueError):
        raise ModelError(f"The {what} must be (lower, upper), with None for no bound; got {bounds!r}.") from None
    if not lower < upper:
        raise ModelError(f"The {what} must be in increasing order, got ({lower:g}, {upper:g}).")
    return lower, upper


def unknown_names(known: Mapping[str, object], given: Iterable[str]) -> None:
    """Raises a `ModelError` if a name is not a parameter, suggesting a close one."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ModelError(f"Unknown parameter {name!r}; the model has {', '.join(known) or 'none'}.{hint}")


def check_values(params: Mapping[str, tuple[float, float]], values: Mapping[str, Any], what: str) -> dict[str, float]:
    """A finite value within its bounds for every parameter, in the order of `params`.

    Raises:
        ModelError: If a name is missing or unknown, or a value is not a number within its bounds.
    """
    unknown_names(params, values)
    if missing := [name for name in params if name not in values]:
        raise ModelError(f"The {what} lack {', '.join(missing)}; expected {', '.join(params)}.")
    checked = {}
    for name, (lower, upper) in params.items():
        value = values[name]
        try:
            number = float(value.detach() if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError):
            raise ModelError(f"{name} must be one number, got {value!r}.") from None
        if not math.isfinite(number):
            raise ModelError(f"{name} must be finite, got {number}.")
        if not lower <= number <= upper:
            raise ModelError(f"{name} = {number:g} is outside its bounds ({lower:g}, {upper:g}).")
        checked[name] = number
    return checked
