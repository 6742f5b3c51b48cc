"""Hollow nets: no bit of h_i moves with x_i, rows don't mix, operators' gradients are right to second order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st

from pdekit import nets, operators
from pdekit.testing import CheckFailure, check_gradients, check_hollow, check_rowwise, strategies
from pdekit.testing.checking import for_all
from pdekit.testing.matrix import Progress
from verification.evidence import Finding
from verification.level import Level

TITLE = "Hollow nets and gradients"

_SLOW, _LARGE = "laplacian of the sum", ("attention", "two-stream")
_OPERATORS: dict[str, Any] = {
    "divergence": operators.divergence,
    "dimwise_derivative(order=3)": partial(operators.dimwise_derivative, order=3),
    _SLOW: lambda f: operators.laplacian(lambda x: f(x).sum(-1)),
}


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """Drawn nets of every conditioner, in two dtypes; gradients on small ones."""
    found = []
    steps = [*(("hollow", dtype) for dtype in (torch.float64, torch.float32)), ("rowwise", torch.float64)]
    for number, (what, dtype) in enumerate(steps):
        progress(f"{what}, {dtype}", number, len(steps) + len(_OPERATORS))
        found.append(_drawn(what, dtype, level.nets, device))
    for number, (name, operator) in enumerate(_OPERATORS.items()):
        progress(f"gradients of {name}", len(steps) + number, len(steps) + len(_OPERATORS))
        # The two transformers take seconds a Laplacian: their gradients are checked in the cheap operators alone.
        small = [(label, net) for label, net in _small_nets() if name != _SLOW or label not in _LARGE]
        found += [_gradients(name, operator, label, net) for label, net in small]
    return found


def _drawn(what: str, dtype: torch.dtype, examples: int, device: str) -> Finding:
    drawn = st.tuples(strategies.dims(5), st.booleans()).flatmap(
        lambda shape: st.tuples(strategies.hollow_nets(*shape[:1], time=shape[1], dtype=dtype), st.just(shape))
    )

    def check(example: Any) -> None:
        net, (dim, timed) = example
        net, time = net.to(device), 0.5 if timed else None
        if what == "hollow":
            check_hollow(net, dim, time=time, dtype=dtype, device=device)
        else:
            check_rowwise(net, dim, time=time, dtype=dtype, device=device)
            check_rowwise(operators.divergence(net), dim, time=time, dtype=dtype, device=device)

    name = "no bit of h_i moves with x_i" if what == "hollow" else "rows don't see one another, any shape of batch"
    return _judged(
        name,
        f"all conditioners, {str(dtype).removeprefix('torch.')}",
        examples,
        lambda: for_all(drawn, check, examples=examples, seed=0),
    )


def _small_nets() -> list[tuple[str, torch.nn.Module]]:
    # Of two numbers LayerNorm makes signs, whose derivatives no difference quotient resolves: hence width 4.
    options = {
        "masked": nets.MaskedConditioner(features=2, hidden=(3,)),
        "scan": nets.ScanConditioner(features=2, width=2, hidden=2),
        "pooling": nets.PoolingConditioner(features=2, hidden=(3,)),
        "attention": nets.AttentionConditioner(features=2, width=4, heads=1),
        "two-stream": nets.HollowTransformerConditioner(features=2, width=4, heads=1),
        "convolution": nets.ConvolutionConditioner(shape=(3,), features=2, hidden=(3,), kernel=3),
    }
    transformer = nets.MLPTransformer(hidden=(3,))
    return [(name, nets.HollowNet(3, o, transformer, seed=0).double()) for name, o in options.items()]


def _gradients(name: str, operator: Any, label: str, net: torch.nn.Module) -> Finding:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return _judged(
        f"gradients of {name}",
        f"{label}, state and parameters, orders 1 and 2",
        1,
        lambda: check_gradients(operator, net, x),
    )


def _judged(subject: str, setting: str, trials: int, check: Callable[[], Any]) -> Finding:
    try:
        check()
    except CheckFailure as failure:
        return Finding(subject, setting, trials, "a fault", "none", False, str(failure))
    return Finding(subject, setting, trials, "no fault", "none", True)
