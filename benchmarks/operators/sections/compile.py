"""Every exact operator under torch.compile(fullgraph=True): the same values, and how much faster."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators import nets
from benchmarks.operators.measure import Way, duration, measure
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit import operators as ops
from pdekit.sde import SDE

TITLE = "Operators under torch.compile(fullgraph=True), float32"


def run(context: Context) -> list[Row]:
    """Eager time over compiled time; a compiled value that differs from the eager one fails."""
    dim, batch, width = (3, 4, 8) if context.quick else (64, 256, 128)
    rows = []
    for name, operator, arguments in _operators(dim, batch, width):
        rows.append(_row(name, operator, arguments, context))
        torch.compiler.reset()
    return rows


def _row(name: str, operator: Callable[..., Any], arguments: tuple[Any, ...], context: Context) -> Row:
    # The inductor backend needs a C++ compiler and half a minute per operator: a quick run looks at the graph only.
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager" if context.quick else "inductor")
    with torch.no_grad():
        right = operator(*arguments)  # the value itself is measured against float64 in the other sections
        begun = time.perf_counter()
        try:
            compiled(*arguments)
        except Exception as problem:  # a refusal is a result
            text = f"{type(problem).__name__}: {problem}".splitlines()[0]
            return Row(name, "failed", "", "compiles", False, text[:300])
        seconds = time.perf_counter() - begun
        ways = {
            "eager": Way(lambda: operator(*arguments)),
            "compiled": Way(lambda: compiled(*arguments), right),
        }
        found = measure(f"compile {name}", ways, context)
    eager, one = found["eager"], found["compiled"]
    if one.failure:
        return Row(name, "failed", "", "the eager value", False, one.failure)
    detail = one.story(f"eager {eager.story()}", f"compiled in {duration(seconds)}")
    return Row(name, eager.over(one), "times faster", detail=detail)


def _operators(dim: int, batch: int, width: int) -> list[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    x, t = nets.states(batch, dim), torch.tensor(0.3)
    field, hollow = nets.mlp(dim, dim, width=width), nets.hollow(nets.DEFAULT, dim)
    u, timed = nets.scalar(nets.mlp(dim, 1, width=width)), _timed(nets.mlp(dim + 1, 1, width=width))
    narrow = nets.scalar(nets.mlp(dim, 1, width=max(1, dim // 4)))
    low, small = nets.scalar(nets.mlp(3, 1, width=width)), nets.states(batch, 3)
    factor = torch.randn(dim, 5, generator=torch.Generator().manual_seed(7))
    sde = SDE(lambda t, x: field(x), lambda t, x: 1 + 0.1 * torch.tanh(x), dim=dim)
    return [
        ("dimwise_derivative, perceptron, order 2", ops.dimwise_derivative(field, 2), (x,)),
        ("dimwise_jet, hollow net, order 3", _stacked(ops.dimwise_jet(hollow, 3)), (x,)),
        ("jacobian_diagonal, perceptron", ops.jacobian_diagonal(field), (x,)),
        ("divergence, perceptron", ops.divergence(field), (x,)),
        ("divergence, hollow net", ops.divergence(hollow), (x,)),
        ("laplacian, perceptron", ops.laplacian(u), (x,)),
        ("laplacian, narrow perceptron", ops.laplacian(narrow), (x,)),
        ("second_order_operator, narrow factor", ops.second_order_operator(u, factor=factor), (x,)),
        ("biharmonic, d 3", ops.biharmonic(low), (small,)),
        ("generator", ops.generator(u, sde), (t, x)),
        ("fokker_planck_operator", ops.fokker_planck_operator(u, sde), (t, x)),
        ("log_fokker_planck_operator", ops.log_fokker_planck_operator(u, sde), (t, x)),
        ("fokker_planck_residual", ops.fokker_planck_residual(timed, sde), (t, x)),
        ("probability_current", ops.probability_current(u, sde), (t, x)),
        ("probability_flow", ops.probability_flow(u, sde), (t, x)),
    ]


def _stacked(operator: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda *arguments: torch.stack(operator(*arguments))


def _timed(net: torch.nn.Module) -> Callable[[Any, Tensor], Tensor]:
    return lambda t, x: net(torch.cat([x, t + torch.zeros_like(x[..., :1])], -1)).squeeze(-1)
