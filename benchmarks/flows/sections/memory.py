"""What a gradient through an ODE layer adds to the memory of its process, from few to many evaluations."""

import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor

from benchmarks.results import Row, at_most
from benchmarks.runner import Context

TITLE = "Memory of gradients through an ODE layer, from 20 to 2,000 evaluations"
FLAT = 1.1
_STEPS = (5, 50, 500)  # of four evaluations each
_BATCH, _HIDDEN = 1024, 128


def run(context: Context) -> list[Row]:
    """Peak memory of a process that takes one training step, less that of one that has only loaded its libraries."""
    rows, counts = [], _STEPS[:2] if context.quick else _STEPS
    for way, name in (("adjoint", "adjoint"), ("again", "steps made again"), ("steps", "steps kept")):
        grown = [_apart(way, steps) for steps in counts]
        told = ", ".join(f"{4 * n:,} evaluations: {size / 1e6:.4g} MB" for n, size in zip(counts, grown, strict=True))
        ratio, metric = grown[-1] / grown[0], f"{name}: memory, most over least evaluations"
        rows.append(at_most(metric, ratio, FLAT, detail=told) if way == "adjoint" else Row(metric, ratio, detail=told))
    return rows


def _apart(way: str, steps: int) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(grown, way, steps).result()


def grown(way: str, steps: int) -> float:
    """Bytes by which the peak memory of this process grows in one training step."""
    import torch

    import pdekit as pk
    from pdekit.flows import ODEBlock

    torch.set_num_threads(1)
    gradient = {
        "adjoint": pk.ode.Backsolve(),
        "again": pk.ode.Discrete(checkpoint=True),
        "steps": pk.ode.Discrete(),
    }[way]
    field = pk.nets.MLP(8, (_HIDDEN,), time=True, seed=0).double()
    control = pk.ode.Fixed(1.0 / steps)
    block = ODEBlock(field, method=pk.ode.RK4(), control=control, gradient=gradient)
    x = torch.randn(_BATCH, 8, dtype=torch.float64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    block(x).square().mean().backward()
    return 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
