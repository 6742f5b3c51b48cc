"""All dimension-wise derivatives up to an order in one pass, beside nested autograd."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Measured, Way, measure
from benchmarks.operators.rows import over_forward
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit.operators import dimwise_jet

TITLE = "Dimension-wise derivatives of orders 1 to 6, batch 256, float32"
LIMITS = {64: 4.0, 256: 6.0}  # times the forward, for order 6 and hence all below


def run(context: Context) -> list[Row]:
    """Orders 1 to 6 against the forward of the same net."""
    batch, rows = 8 if context.quick else 256, []
    for dim in (4,) if context.quick else (16, *LIMITS):
        found = _measured(dim, batch, range(1, 3 if context.quick else 7), context)
        forward = found["forward"]
        about = f"{nets.DEFAULT}, {nets.describe(nets.hollow(nets.DEFAULT, dim))}; forward {forward.story()}"
        for name, one in found.items():
            if name.startswith("order"):
                rows.append(over_forward(f"d {dim}: {name}", one, forward, LIMITS.get(dim), about))
            elif name != "forward":
                rows.append(over_forward(f"d {dim}: {name}", one, forward))
    return rows


def _measured(dim: int, batch: int, orders: range, context: Context) -> dict[str, Measured]:
    net, x = nets.hollow(nets.DEFAULT, dim), nets.states(batch, dim)
    few, dims = x[:2], sorted({0, dim // 2, dim - 1})
    right = torch.stack([truth.along_dimension(truth.double(net), few, i, max(orders)) for i in dims])
    scale = right.abs().amax((0, 2), keepdim=True)  # of each order

    def checked(order: int) -> tuple[Tensor, Any]:
        def entries(jet: Any) -> Tensor:
            return torch.stack([d[:2, dims].double() for d in jet]).permute(2, 0, 1) / scale[:, : order + 1]

        return right[:, : order + 1] / scale[:, : order + 1], entries

    ways = {"forward": Way(_without_grad(lambda: net(x)))}
    for order in orders:
        jet = dimwise_jet(net, order)
        ways[f"order {order}"] = Way(_without_grad(lambda jet=jet: jet(x)), *checked(order))
        nested = lambda order=order: truth.through_transformer(net, order, x)  # noqa: E731
        ways[f"nested autograd, order {order}"] = Way(nested, *checked(order))
    return measure(f"orders d {dim}", ways, context)


def _without_grad(function: Any) -> Any:
    return torch.no_grad()(function)
