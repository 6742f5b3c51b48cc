"""Functions without a rule of their own: nested forward mode through that function alone, exact and slower.

A scan of the functions that torch's own tests know (474 of them, torch 2.13) against reverse mode found wrong second
forward derivatives for those that `linear_algebra` and `composites` replace or refuse, and no others.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.propagation.jet import OTHERWISE, Jet, Run, Unsupported
from pdekit.operators.propagation.products import weighed
from pdekit.operators.propagation.series import system_of

_REFUSED = ("backward", "numpy", "tolist", "item", "cpu_", "share_memory_", "register_hook", "data_ptr")


def follow_otherwise(run: Run, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The series of any torch function that returns one tensor, through derivatives of s -> function(args(s)).

    Raises:
        Unsupported: If it works in place, returns something else than one tensor, or has no forward derivative.
    """
    name = getattr(function, "__name__", str(function))
    if torch.compiler.is_compiling():
        raise Unsupported(f"torch function {name} in a compiled graph")
    mutates = (name.endswith("_") and not name.endswith("__")) or (name.startswith("__i") and name != "__invert__")
    if (
        mutates
        or kwargs.get("out") is not None
        or kwargs.get("inplace")
        or name in (*_REFUSED, "__setitem__", "__set__", "__get__", "__delitem__")
    ):
        raise Unsupported(f"torch function {name}")
    jets = [z for z in (*args, *kwargs.values()) if run.owns(z)]
    if not jets or any(not isinstance(z.value, Tensor) for z in jets):
        raise Unsupported(f"torch function {name} with series in a list, or nested")

    def evaluate(*values: Tensor) -> Tensor:
        replace = iter(values)
        inner = [next(replace) if run.owns(z) else z for z in args]
        named = {key: next(replace) if run.owns(z) else z for key, z in kwargs.items()}
        return function(*inner, **named)

    values = tuple(z.value for z in jets)
    value = evaluate(*values)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise Unsupported(f"torch function {name}, which returns no floating tensor")
    if name not in run.nested:
        run.nested.append(name)
    system = system_of(run, jets)
    return run.jet(value, _coefficients(run, evaluate, jets, values, run.metrics[system]), system)


def _jvp(function: Callable[..., Any], point: tuple[Any, ...], along: tuple[Any, ...]) -> tuple[Any, Any]:
    value, slope = torch.func.jvp(function, point, along)[:2]
    return value, slope


def _coefficients(
    run: Run, evaluate: Callable[..., Tensor], jets: list[Jet], values: tuple[Tensor, ...], metric: Any
) -> list[Any]:
    order = run.order
    count = _directions(run, jets)
    columns = [[_filled(z, k, count) for k in range(1, order + 1)] for z in jets]
    if not run.directions:
        return _along(evaluate, values, columns, order)
    if not run.collapsed:
        along = torch.vmap(lambda c: tuple(_along(evaluate, values, c, order)))
        return [None] * order if count == 0 else list(along(columns))
    _, drift = _jvp(evaluate, values, tuple(column[1] for column in columns))
    if count == 0:
        return [None, drift]
    # c_2 is half the sum of second derivatives along a_r and b_r, plus the derivative along the given c_2.
    a = tuple(column[0] for column in columns)
    b = tuple(weighed(metric, z) for z in a)
    first, second = torch.vmap(lambda v, w: _pair(evaluate, values, v, w))(a, b)
    return [first, 0.5 * second.sum(0) + drift]


def _pair(evaluate: Callable[..., Tensor], values: Any, v: Any, w: Any) -> tuple[Tensor, Tensor]:
    """The derivative along v, and the second derivative along v and w."""
    derivative = torch.func.jvp(lambda *z: torch.func.jvp(evaluate, z, v)[1], values, w)
    return derivative[0], derivative[1]


def _directions(run: Run, jets: list[Jet]) -> int:
    """The number of directions; 0 if nothing moves along any."""
    for jet in jets:
        for k in range(1, run.order + 1):
            c = jet.dense(k) if run.lead(k) else None
            if c is not None:
                return c.shape[0]
    return 0


def _filled(jet: Jet, k: int, count: int) -> Tensor:
    # vmap needs the axis of directions everywhere.
    c = jet.full(k)
    if c is not None:
        return c
    lead = (count,) if jet.run.lead(k) else ()
    return torch.zeros((*lead, *jet.shape), dtype=jet.dtype, device=jet.device)


def _along(evaluate: Callable[..., Tensor], values: Any, columns: list[Any], order: int) -> list[Tensor]:
    """Taylor coefficients 1..order of s -> evaluate(value + c_1 s + c_2 s^2 + ...) at s = 0."""

    def curve(s: Tensor) -> Tensor:
        points = []
        for value, coefficients in zip(values, columns, strict=True):
            point = value
            for k, c in enumerate(coefficients, start=1):
                point = point + c * s**k
            points.append(point)
        return evaluate(*points)

    derivatives = _derivatives(curve, order)(torch.zeros((), dtype=values[0].dtype, device=values[0].device))
    return [c / math.factorial(k) for k, c in enumerate(derivatives[1:], start=1)]


def _derivatives(curve: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], list[Tensor]]:
    """s -> [curve(s), curve'(s), ...], each derivative by forward mode of all that comes before it."""
    if order == 0:
        return lambda s: [curve(s)]
    lower = _derivatives(curve, order - 1)

    def extended(s: Tensor) -> list[Tensor]:
        values, slopes = _jvp(lower, (s,), (torch.ones_like(s),))
        return [*values, slopes[-1]]

    return extended


OTHERWISE.append(follow_otherwise)
