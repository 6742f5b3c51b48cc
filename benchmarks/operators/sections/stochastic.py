"""Whether the confidence intervals of Hutchinson's estimator hold the truth as often as they say."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators import nets, truth
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit.operators import Hutchinson, divergence, laplacian

TITLE = "Coverage of 95 % intervals by Hutchinson's estimator, 100 probes, float64"
LOW, HIGH = 93.0, 97.0  # per cent; the binomial standard deviation of 1,000 seeds is .7
_SEEDS, _PROBES = 1000, 100

Function = Callable[[Tensor], Tensor]


def run(context: Context) -> list[Row]:
    """Share of seeds whose interval holds the truth, for ten functions at one state each."""
    seeds = range(context.count(_SEEDS, full=10 * _SEEDS))
    rows = []
    for number, (name, function, dim) in enumerate(_laplacians()):
        rows.append(_covered(f"laplacian of {name}", laplacian, truth.laplacian, function, dim, number, seeds))
    for number, (name, function, dim) in enumerate(_divergences()):
        rows.append(_covered(f"divergence of {name}", divergence, truth.divergence, function, dim, number, seeds))
    return rows


def _covered(
    metric: str, operator: Any, reference: Any, function: Function, dim: int, number: int, seeds: range
) -> Row:
    distribution = ("rademacher", "gaussian")[number % 2]
    x = nets.states(1, dim).double()[0]
    right = float(reference(function, x.unsqueeze(0))[0])
    hits = 0
    with torch.no_grad():
        for seed in seeds:
            method = Hutchinson(_PROBES, distribution, seed=seed)  # type: ignore[arg-type]
            low, high = operator(function, method, full_output=True)(x).interval()
            hits += bool(low <= right <= high)
    share = 100 * hits / len(seeds)
    detail = f"{hits} of {len(seeds)} seeds, d {dim}, {distribution} probes; truth {right:.4g}"
    return Row(metric, share, "%", f"{LOW:g} to {HIGH:g}", LOW <= share <= HIGH, detail)


def _laplacians() -> list[tuple[str, Function, int]]:
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(10, 10, generator=generator, dtype=torch.float64)
    centres = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    net = nets.scalar(truth.double(nets.mlp(16, 1, width=32, depth=2)))
    return [
        ("a quadratic form", lambda x: (x * (x @ matrix)).sum(-1), 10),
        ("a sum of products of squares", lambda x: 0.5 * ((x**2).sum(-1) ** 2 - (x**4).sum(-1)), 8),
        ("a log mixture of Gaussians", lambda x: torch.logsumexp(-((x.unsqueeze(-2) - centres) ** 2).sum(-1), -1), 5),
        ("a tanh perceptron", net, 16),
        ("a chain of sines", lambda x: torch.sin(x[..., 1:] * x[..., :-1]).sum(-1), 12),
    ]


def _divergences() -> list[tuple[str, Function, int]]:
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(10, 10, generator=generator, dtype=torch.float64)
    net = truth.double(nets.mlp(16, 16, width=32, depth=2))
    return [
        ("a linear field", lambda x: x @ matrix, 10),
        ("a tanh perceptron", net, 16),
        ("Kuramoto's oscillators", lambda x: torch.sin(x.unsqueeze(-2) - x.unsqueeze(-1)).mean(-1), 10),
        ("a normalised field", lambda x: x / (1 + (x**2).sum(-1, keepdim=True)), 6),
        ("Lotka and Volterra's food web", lambda x: x * (1 - x @ matrix[:8, :8]), 8),
    ]
