"""What a gradient through an ODE layer keeps in memory, from few to many evaluations."""

import torch
from torch import Tensor

from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Memory of gradients through an ODE layer, from 20 to 2,000 evaluations"
FLAT = 1.05
_STEPS = (5, 50, 500)  # of four evaluations each


def run(context: Context) -> list[Row]:
    """Bytes that are kept for the way back, counted where autograd saves them."""
    import pdekit as pk
    from pdekit.flows import ODEBlock
    from pdekit.nets import MLP

    ways = {
        "adjoint": pk.ode.Backsolve(),
        "every step again": pk.ode.Discrete(checkpoint=True),
        "steps": pk.ode.Discrete(),
    }
    rows, counts = [], _STEPS[:2] if context.quick else _STEPS
    for name, gradient in ways.items():
        kept = []
        for steps in counts:
            field = MLP(8, (64,), time=True, seed=0).double()
            control = pk.ode.Fixed(1.0 / steps)
            block = ODEBlock(field, method=pk.ode.RK4(), control=control, gradient=gradient)
            kept.append(_saved(block, torch.randn(32, 8, dtype=torch.float64)))
        told = ", ".join(f"{4 * n:,} evaluations: {size / 1e6:.3g} MB" for n, size in zip(counts, kept, strict=True))
        metric = f"{name}: bytes kept, most over least evaluations"
        ratio = kept[-1] / kept[0]
        rows.append(at_most(metric, ratio, FLAT, detail=told) if name == "adjoint" else Row(metric, ratio, detail=told))
    return rows


def _saved(block: torch.nn.Module, x: Tensor) -> float:
    """Bytes of distinct tensors that the graph of a training step holds."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = block(x).square().mean()
    loss.backward()
    return float(sum(sizes.values()))
