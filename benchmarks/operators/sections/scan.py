"""Whether the scan conditioner stays linear in the number of dimensions: value and divergence, time per dimension."""

from typing import Any

import torch

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Measured, Way, duration, measure
from benchmarks.operators.rows import over_forward
from benchmarks.results import Row, at_most
from benchmarks.runner import Context
from pdekit.operators import OperatorResult, divergence, jacobian_diagonal

TITLE = "Scan conditioner: time per dimension, batch 4, float32"
LIMIT = 1.5
_BATCH = 4


def run(context: Context) -> list[Row]:
    """Time per dimension at the largest d over that at the smallest."""
    dims = (50, 200) if context.quick else (1_000, 10_000, 100_000)
    found = {dim: _measured(dim, context) for dim in dims}
    each = {dim: one["exact"].median / dim for dim, one in found.items()}
    about = nets.describe(nets.hollow("scan", dims[0]))
    rows = [
        over_forward(
            f"d {dim:,}: value and divergence",
            one["exact"],
            one["forward"],
            None,
            f"{duration(each[dim])} per dimension; forward {one['forward'].story()}",
        )
        for dim, one in found.items()
    ]
    metric = f"time per dimension at d {dims[-1]:,} over that at {dims[0]:,}"
    return [*rows, at_most(metric, each[dims[-1]] / each[dims[0]], LIMIT, detail=f"at d {dims[0]:,} {about}")]


def _measured(dim: int, context: Context) -> dict[str, Measured]:
    net, x = nets.hollow("scan", dim), nets.states(_BATCH, dim)
    operator = divergence(net, full_output=True)
    spots = [0, 1, dim // 3, dim // 2, dim - 1]
    right, check = _truth(net, x, spots)
    with torch.no_grad():
        ways = {"forward": Way(lambda: net(x)), "exact": Way(lambda: operator(x), right, check)}
        return measure(f"scan d {dim:,}", ways, context)


def _truth(net: Any, x: torch.Tensor, spots: list[int]) -> tuple[torch.Tensor, Any]:
    """The divergence by autograd through the transformer, and single entries of the diagonal by the whole function."""
    reference = truth.double(net)
    total = truth.through_transformer(reference, 1, x.double())[1].detach().sum(-1)
    entries = torch.stack([truth.along_dimension(reference, x, i, 1)[1] for i in spots])
    entry_scale, diagonal = entries.abs().max(), jacobian_diagonal(net)
    total_scale = total.abs().max()

    def check(result: OperatorResult) -> torch.Tensor:
        found = diagonal(x)[:, spots].t() / entry_scale
        return torch.cat([result.value.unsqueeze(0) / total_scale, found])

    return torch.cat([total.unsqueeze(0) / total_scale, entries / entry_scale]), check
