"""Whether series may be trusted with a function: checked once for each function, on two rows of its first state.

Series see the operations that a function makes of a state. Autograd sees what the function declares: custom backward
passes, blocks without gradients, branches on the type of the state. Where the two differ, autograd is right by
definition, and operators take the nested route.
"""

import weakref
from typing import Any

import torch
from torch import Tensor

from pdekit.operators.call import Call
from pdekit.operators.contract import identity, references_to, same_owners
from pdekit.operators.following import Refusal, follow
from pdekit.operators.nested import directional_jets
from pdekit.operators.propagation import Run

_VERDICTS: dict[Any, tuple[tuple[weakref.ref[Any], ...], Refusal | None]] = {}
_CAPACITY = 4096


def distrust(call: Call, order: int) -> Refusal | None:
    """Why series can't be used for the function of this call up to `order` (1 or 2), or None if they can."""
    if torch.compiler.is_compiling() or not isinstance(call.x, Tensor) or call.batch.numel() == 0:
        return None
    key, owners = identity(call.function)
    key = (order, call.x.dtype, *key)
    if key in _VERDICTS and same_owners(_VERDICTS[key][0], owners):
        return _VERDICTS[key][1]
    verdict = _compared(call, order)
    if len(_VERDICTS) > _CAPACITY:
        _VERDICTS.clear()
    references = references_to(owners)
    if references is not None:
        _VERDICTS[key] = (references, verdict)
    return verdict


def _compared(call: Call, order: int) -> Refusal | None:
    few = call.rows(slice(0, 2))
    with torch.enable_grad():
        try:
            few.at(few.x)
        except Exception:
            few = call
        x = few.x.detach()
        few = Call(few.function, few.leading, x, few.context, few.operator)
        direction = torch.cos(torch.arange(1.0, x.numel() + 1, dtype=x.dtype, device=x.device)).reshape(1, *x.shape)
        run = Run(order, directions=True, level=1)
        jet = follow(few, run, [direction, *[None] * (order - 1)])
        if isinstance(jet, Refusal):
            return jet
        try:
            output, derivatives, _ = directional_jets(few, direction, order)
        except Exception:
            return None
    pairs = [(jet.value, output)]
    for k, derivative in enumerate(derivatives, start=1):
        c = jet.full(k)
        pairs.append((torch.zeros_like(derivative) if c is None else k * c, derivative))
    if all(_close(a.detach(), b.detach()) for a, b in pairs):
        return None
    return Refusal(
        "autograd differentiates it otherwise than its operations say: a custom backward, a block without gradients, or "
        "a branch on the type of the state"
    )


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    finite = torch.isfinite(a) & torch.isfinite(b)
    if not bool(finite.any()):
        return True
    a, b = a[finite], b[finite]
    tolerance = 1e5 * torch.finfo(a.dtype).eps * (1 + float(b.abs().max()))
    return float((a - b).abs().max()) <= tolerance
