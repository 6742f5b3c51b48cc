"""What a derivative costs on top of a hollow net: value and divergence against the forward, and training with it."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Measured, Way, measure
from benchmarks.operators.rows import over, over_forward
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit.operators import Hutchinson, divergence

TITLE = "Hollow nets: divergence against forward, batch 256, float32"
FORWARD_LIMIT, STEP_LIMIT = 1.3, 1.5

_Found = dict[str, Measured]


def run(context: Context) -> list[Row]:
    """Every conditioner; the targets hold for the default one."""
    batch, rows = 8 if context.quick else 256, []
    for dim in (4,) if context.quick else (16, 64, 256):
        for name in nets.CONDITIONERS:
            net, x, label = nets.hollow(name, dim), nets.states(batch, dim), f"d {dim}: {name}"
            value, step = _values(net, x, label, context), _steps(net, x, f"{label}, training", context)
            rows += _rows(label, net, value, step, judged=name == nets.DEFAULT)
    return rows


def _values(net: nn.Module, x: Tensor, label: str, context: Context) -> _Found:
    exact, probe = divergence(net, full_output=True), Hutchinson(samples=1).fixed(x)
    stochastic = divergence(net, probe, full_output=True)
    few, reference = x[: truth.ROWS], truth.double(net)
    assert probe.noise is not None
    v = probe.noise[0][: truth.ROWS]
    ways = {
        "forward": Way(lambda: net(x), reference(few.double())),
        "exact": Way(lambda: exact(x), truth.divergence(reference, few), lambda result: result.value),
        "hutchinson": Way(
            lambda: stochastic(x), (v * truth.slopes(reference, few, v)).sum(-1), lambda result: result.value
        ),
    }
    with torch.no_grad():
        return measure(label, ways, context)


def _steps(net: nn.Module, x: Tensor, label: str, context: Context) -> _Found:
    exact = divergence(net, full_output=True)

    def plain() -> None:
        net.zero_grad()
        net(x).square().mean().backward()

    def with_divergence(x: Tensor = x) -> None:
        net.zero_grad()
        result = exact(x)
        (result.output.square().mean() + result.value.square().mean()).backward()

    generator = torch.Generator().manual_seed(2)
    direction = {name: torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}

    def slope(_: Any) -> Tensor:
        """The gradient on two rows along a direction that moves every parameter."""
        with_divergence(x[:2])
        terms = [(p.grad.double() * direction[name]).sum() for name, p in net.named_parameters() if p.grad is not None]
        return torch.stack(terms).sum()

    ways = {
        "plain": Way(plain),
        # The sum over parameters cancels, so its rounding error is larger than that of a term.
        "with divergence": Way(with_divergence, truth.loss_slope(net, x[:2], direction), slope, limit=1e-3),
    }
    return measure(label, ways, context)


def _rows(label: str, net: nn.Module, value: _Found, step: _Found, judged: bool) -> list[Row]:
    forward, about = value["forward"], nets.describe(net)
    told = f"forward {forward.story()}"
    return [
        over_forward(
            f"{label}: value and divergence", value["exact"], forward, FORWARD_LIMIT if judged else None, told, about
        ),
        over_forward(f"{label}: Hutchinson, one probe", value["hutchinson"], forward),
        over(
            f"{label}: training step with divergence",
            step["with divergence"],
            step["plain"],
            "x step without",
            STEP_LIMIT if judged else None,
            f"without {step['plain'].story()}",
        ),
    ]
