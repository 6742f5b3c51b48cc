"""Whether series may be trusted with a function: checked once for each function, on two rows of its first state.

Series see the operations that a function makes of a state. Autograd sees what the function declares: custom backward
passes, blocks without gradients, branches on the type of the state. Where the two differ, autograd is right by
definition, and operators take the nested route.
"""

import torch
from torch import Tensor

from pdekit.operators.call import Call, recording, rounding
from pdekit.operators.following import Refusal, follow
from pdekit.operators.memory import Memory
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Run

_MEMORY = Memory()  # function -> Refusal or None
_DIFFERENT = (
    "autograd differentiates it otherwise than its operations say: a custom backward, a block without gradients, or a "
    "branch on the type of the state"
)


def distrust(call: Call, order: int) -> Refusal | None:
    """Why series can't be used for the function of this call up to `order` (1 or 2), or None if they can."""
    if torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or call.batch.numel() == 0:
        return None
    entry = _MEMORY.about(call.function, order, call.x.dtype)
    if entry.known or not call.readable:
        return entry.value
    with recording():
        verdict = _compared(call.recordable(), order)
    entry.keep(verdict)
    return verdict


def _compared(call: Call, order: int) -> Refusal | None:
    few = _few_rows(call)
    x = few.x
    direction = torch.cos(torch.arange(1.0, x.numel() + 1, dtype=x.dtype, device=x.device)).reshape(1, *x.shape)
    run = Run(order, directions=True, level=1)
    jet = follow(few, run, [direction, *[None] * (order - 1)])
    if isinstance(jet, Refusal):
        return jet
    if not jet.dtype.is_floating_point:
        return None  # a check of the output will refuse it
    try:
        output, derivatives, _ = directional_jets(few, direction, order)
    except Exception:
        return None  # torch can't differentiate it at all: series are what there is
    pairs = [(jet.value, output)]
    for k, derivative in enumerate(derivatives, start=1):
        c = jet.full(k)
        pairs.append((torch.zeros_like(derivative) if c is None else k * c, derivative))
    return None if all(_close(a.detach(), b.detach()) for a, b in pairs) else Refusal(_DIFFERENT)


def _few_rows(call: Call) -> Call:
    whole = call.moved(call.x.detach())
    if call.batch.numel() <= 2:
        return whole
    few = whole.rows(slice(0, 2))
    try:
        few.at(few.x)
    except Exception:
        return whole
    return few


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    finite = torch.isfinite(a) & torch.isfinite(b)
    if not bool(finite.any()):
        return True
    a, b = a[finite], b[finite]
    tolerance = min(1e5 * rounding(a), 0.2) * (1 + float(b.abs().max()))
    return float((a - b).abs().max()) <= tolerance
