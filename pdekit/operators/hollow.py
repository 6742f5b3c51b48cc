"""Hollow functions: f_i = tau(x_i, h_i) with h_i independent of x_i, known by two methods, not by a class."""

import math
from typing import Any

import torch
from torch import Tensor

from pdekit.errors import OperatorError
from pdekit.operators.call import Call, recording, rounding
from pdekit.operators.following import Refusal, follow
from pdekit.operators.memory import Memory
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Jet, Run
from pdekit.operators.tiling import joined, keep_freed_memory

_MEMORY = Memory()
_PAIRS = 2**15  # states and dimensions that go through a transformer together
_PROBES = 32  # dimensions that are tried


def is_hollow(function: Any) -> bool:
    """Whether a function declares itself hollow: it has `condition(*args, x)` and `transform(x, h)`."""
    return callable(getattr(function, "condition", None)) and callable(getattr(function, "transform", None))


def hollow_jet(call: Call, order: int, *, check: bool) -> tuple[Any, list[Any]]:
    """f and its dimension-wise derivatives up to `order`: one series along x through the transformer, h held.

    Raises:
        OperatorError: If the function has no such methods, or turns out not to be hollow.
    """
    if not is_hollow(call.function):
        raise OperatorError(
            f"{call.operator}: Hollow() needs a function with the methods condition(*args, x) -> h and transform(x, h) "
            f"such as pdekit.nets.HollowNet; got {type(call.function).__name__}. Use Exact() for other functions."
        )
    if check:
        _check_hollow(call)
    return _hollow_jet(call, order)


def _hollow_jet(call: Call, order: int) -> tuple[Any, list[Any]]:
    h = call.on(call.function.condition).at(call.x)  # type: ignore[attr-defined]
    keep_freed_memory(call.x)
    rows = max(1, _PAIRS // call.dim)
    if not _separable_in_rows(call, h) or call.batch.numel() <= rows:
        return _transformer_jet(call, call.x, h, order)
    # A few rows at a time: what the transformer holds for each state and dimension stays in the cache.
    tiles = zip(call.x.flatten(0, -2).split(rows), h.flatten(0, call.x.ndim - 2).split(rows), strict=True)
    parts = [_transformer_jet(call, x, h_of_rows, order) for x, h_of_rows in tiles]
    columns = zip(*(derivatives for _, derivatives in parts), strict=True)
    return joined(call, [output for output, _ in parts]), [joined(call, list(column)) for column in columns]


def _separable_in_rows(call: Call, h: Any) -> bool:
    if torch.compiler.is_compiling() or not isinstance(h, Tensor) or not isinstance(call.x, Tensor):
        return False
    return call.x.device.type == "cpu" and call.x.ndim > 1 and h.shape[: call.x.ndim] == call.x.shape


def _transformer_jet(call: Call, x: Any, h: Any, order: int) -> tuple[Any, list[Any]]:
    transform = Call(lambda x: call.function.transform(x, h), (), x, {}, call.operator)  # type: ignore[attr-defined]
    run = Run(order, directions=False, level=call.level)
    ones = torch.ones((1,) * x.ndim, dtype=x.dtype, device=x.device)
    jet = follow(transform, run, [ones, *[None] * (order - 1)])
    if isinstance(jet, Refusal):
        return _nested(transform, order)
    return jet.value, [_derivative(jet, k) for k in range(1, order + 1)]


def _derivative(jet: Jet, k: int) -> Any:
    c = jet.full(k)
    return torch.zeros_like(jet.value) if c is None else c if k == 1 else math.factorial(k) * c


def _nested(transform: Call, order: int) -> tuple[Any, list[Any]]:
    # The transformer acts on each dimension by itself: the direction (1, ..., 1) gives all derivatives at once.
    output, derivatives, _ = directional_jets(transform, torch.ones_like(transform.x).unsqueeze(0), order)
    return output, [d[0] for d in derivatives]


def _check_hollow(call: Call) -> None:
    """Refuses a function that is declared hollow and isn't; judged once for each function.

    One row is repeated, and each copy moved along another dimension i. Where h has an axis for dimensions, h_i must
    stay the same to the last bit. The derivatives claimed must be those of the function as a whole.
    """
    if torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or call.batch.numel() == 0:
        return
    entry = _MEMORY.about(call.function, call.x.dtype)
    if entry.known or not call.readable:
        return
    with recording():
        _judge(call.recordable())
    entry.keep(True)


def _judge(call: Call) -> None:
    # All dimensions of a small state, some of a large one, two of a huge one: each costs a forward of one row.
    most = max(2, min(_PROBES, 2**18 // call.dim))
    probed = sorted({i * (call.dim - 1) // (most - 1) for i in range(most)} | set(range(call.dim)[:most]))
    copies = call.rows([0] * len(probed))
    copies = copies.moved(copies.x.detach())
    r, i = torch.arange(len(probed), device=call.x.device), torch.tensor(probed, device=call.x.device)
    unit = torch.zeros_like(copies.x)
    unit[r, i] = 1.0
    _check_bits(copies, unit, r, i)
    output, (claimed,) = _hollow_jet(copies, 1)
    if output.shape[:2] != copies.x.shape:
        return  # the check of the output will refuse it
    claimed = claimed.detach()[r, i]
    true = directional_jets(copies, unit.unsqueeze(0), 1)[1][0][0].detach()[r, i]
    tolerance = min(1e4 * rounding(true), 0.1) * (1 + true.abs().amax())
    for k, error in enumerate((true - claimed).abs().reshape(len(probed), -1).amax(-1)):
        if error > tolerance:
            _refuse(call, f"d f_{probed[k]} / d x_{probed[k]} is off by {float(error):.3g}")


def _check_bits(copies: Call, unit: Tensor, r: Tensor, i: Tensor) -> None:
    condition = copies.on(copies.function.condition)  # type: ignore[attr-defined]
    moved = condition.at(copies.x + (1.0 + copies.x.abs()) * unit)
    h = condition.at(copies.x)
    if not isinstance(h, Tensor) or h.shape[:2] != copies.x.shape:
        return
    before, after = (z.detach()[r, i].nan_to_num().reshape(len(r), -1) for z in (h, moved))
    for k in range(len(r)):
        if not torch.equal(before[k], after[k]):
            change = float((after[k] - before[k]).abs().max())
            _refuse(copies, f"h_{int(i[k])} moves by {change:.3g} when x_{int(i[k])} changes")


def _refuse(call: Call, what: str) -> None:
    raise OperatorError(
        f"{call.operator}: {type(call.function).__name__} is declared hollow (it has condition and transform), but "
        f"{what}. h_i must not depend on x_i: look for a stack of two hollow layers, a sum minus its own term, or a "
        "normalisation over dimensions. To differentiate the function as it is, use method=Dense()."
    )
