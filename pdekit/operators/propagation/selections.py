"""Rules of functions that choose among entries: where, maxima, sorting. The choice itself has no derivative."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.propagation.coefficient import Diagonal, aligned
from pdekit.operators.propagation.jet import Jet, Run, Unsupported
from pdekit.operators.propagation.registry import rule
from pdekit.operators.propagation.series import system_of
from pdekit.operators.propagation.shapes import gather, innermost_value, promoted

Selected = namedtuple("Selected", ["values", "indices"])


@rule(torch.where)
def where(run: Run, condition: Any, input: Any, other: Any) -> Any:
    """One of two series, entry by entry."""
    if run.owns(condition):
        raise Unsupported("a condition with derivatives")
    a, b = promoted(run, input, other)
    value = torch.where(condition, *(z.value if run.owns(z) else z for z in (a, b)))
    return _chosen(run, condition, a, b, value)


@rule(Tensor.where)
def where_method(run: Run, x: Any, condition: Any, other: Any) -> Any:
    """The same as a method."""
    return torch.where(condition, x, other)


@rule("masked_fill")
def masked_fill(run: Run, x: Any, mask: Any, value: Any) -> Any:
    """Entries replaced by one value."""
    return torch.where(mask, value, x)


def _chosen(run: Run, condition: Any, a: Any, b: Any, value: Any) -> Jet:
    # Not mask * a + (1 - mask) * b: what is not chosen may be infinite.
    system = system_of(run, [z for z in (a, b) if run.owns(z)])
    coefficients: list[Any] = []
    for k in range(1, run.order + 1):
        parts = [z.coefficients[k - 1] if run.owns(z) else None for z in (a, b)]
        sparse = _diagonal_choice(condition, parts, [a, b], value) if k == 1 else None
        if sparse is not None or all(c is None for c in parts):
            coefficients.append(sparse)
            continue
        dense = [
            0.0 if c is None else aligned(z.dense(k), run.lead(k), value.ndim)
            for c, z in zip(parts, (a, b), strict=True)
        ]
        coefficients.append(torch.where(condition, *dense))
    return run.jet(value, coefficients, system)


def _diagonal_choice(condition: Any, parts: list[Any], operands: list[Any], value: Any) -> Diagonal | None:
    """The choice between coefficients that move one feature each, if it is again such a one."""
    moved = [(c, z) for c, z in zip(parts, operands, strict=True) if c is not None]
    if not moved or not all(isinstance(c, Diagonal) and z.shape[-1] == value.shape[-1] for c, z in moved):
        return None
    first = moved[0][0]
    if any((c.start, c.count) != (first.start, first.count) for c, _ in moved):
        return None
    keep = condition if condition.ndim and condition.shape[-1] == 1 else first.of(condition.expand(value.shape))
    one = torch.ones(1, dtype=value.dtype, device=value.device)
    scales = [0.0 if c is None else one if c.scale is None else c.scale for c in parts]
    return Diagonal(first.count, first.start, torch.where(keep, *scales))


def _extremum_of_two(function: Callable[..., Any], takes_first: Callable[[Any, Any], Any], *names: str) -> None:
    @rule(*names)
    def follow(run: Run, a: Any, b: Any) -> Jet:
        a, b = promoted(run, a, b)
        plain = [z.value if run.owns(z) else z for z in (a, b)]
        return _chosen(run, takes_first(*(innermost_value(z) for z in plain)), a, b, function(*plain))


_extremum_of_two(torch.maximum, lambda a, b: a >= b, "maximum")
_extremum_of_two(torch.minimum, lambda a, b: a <= b, "minimum")
_extremum_of_two(torch.fmax, lambda a, b: (a >= b) | torch.isnan(b), "fmax")
_extremum_of_two(torch.fmin, lambda a, b: (a <= b) | torch.isnan(b), "fmin")


def _picked(run: Run, x: Jet, dim: int, selected: Any) -> Any:
    """The series behind `selected`, values and indices that torch chose along an axis."""
    dim, index = dim % max(1, x.ndim), selected[1]
    if x.ndim == 0:
        return x, index
    reduced = index.ndim < x.ndim
    picked = gather(run, x, dim, index.unsqueeze(dim) if reduced else index)
    return picked.squeeze(dim) if reduced else picked, index


@rule("max")
def max_(run: Run, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest entry of all or of an axis, with its index; the larger of two series."""
    return _largest(run, torch.max, torch.maximum, x, dim, keepdim)


@rule("min")
def min_(run: Run, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest entry of all or of an axis, with its index; the smaller of two series."""
    return _largest(run, torch.min, torch.minimum, x, dim, keepdim)


def _largest(run: Run, function: Any, of_two: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    if isinstance(dim, Tensor | Jet):
        return of_two(x, dim)
    if dim is None:
        return function(x.reshape(-1), 0)[0]
    return Selected(*_picked(run, x, dim, function(innermost_value(x), dim, keepdim)))


@rule("amax")
def amax(run: Run, x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The largest entry of axes."""
    return _over_axes(torch.max, x, dim, keepdim)


@rule("amin")
def amin(run: Run, x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The smallest entry of axes."""
    return _over_axes(torch.min, x, dim, keepdim)


def _over_axes(function: Any, x: Any, dim: Any, keepdim: bool) -> Any:
    dims = (dim,) if isinstance(dim, int) else tuple(dim) or tuple(range(x.ndim))
    for d in sorted((d % max(1, x.ndim) for d in dims), reverse=True):
        x = function(x, d, keepdim)[0]
    return x


def _selection(name: str, before: int, default: int | None) -> None:
    """Registers a function of (x, ..., dim, ...) with `before` arguments between, which returns values and indices."""
    function = getattr(torch, name)

    @rule(name)
    def follow(run: Run, x: Any, *args: Any, **kwargs: Any) -> Selected:
        dim = kwargs.get("dim", args[before] if len(args) > before else default)
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise Unsupported(f"{name} of all entries, or spelled in an unusual way")
        return Selected(*_picked(run, x, dim, function(innermost_value(x), *args, **kwargs)))


_selection("sort", 0, -1)
_selection("topk", 1, -1)
_selection("kthvalue", 1, -1)
_selection("median", 0, None)
_selection("cummax", 0, None)
_selection("cummin", 0, None)
