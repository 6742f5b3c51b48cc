"""What the density of a flow costs in D dimensions: the complexities of FFJORD's section 3, measured.

A discrete flow without structure needs a determinant, (D H + D^3) L; a continuous flow with the trace by D products,
(D H + D^2) L~; FFJORD one product with random directions, (D H + D) L~, and an estimate; a hollow field the exact trace
for the price of one pass. All have H = 64 units; L = 4 layers and L~ = 8 evaluations. The picture shows seconds
against D for a batch of 64 states on one thread, and slopes between the last two dimensions are printed.

    python examples/17_time_and_dimension.py [FOLDER] [small|paper]
"""

import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import pdekit as pk
from pdekit.flows import CNF
from pdekit.report.style import add_legend, new_figure
from pdekit.threads import one_thread

PRESETS = {"small": (2, 8, 32, 128, 512), "paper": (2, 8, 32, 128, 512, 2048)}
HIDDEN, LAYERS, BATCH, REPEATS = 64, 4, 64, 3
DENSE_UP_TO = 512  # D products of a batch; beyond it takes minutes
EIGHT = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.5)}


class Unstructured(nn.Module):
    """x + W tanh(V x + b) in every layer, and the logarithm of its determinant from all of it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.ModuleList(nn.Linear(dim, HIDDEN) for _ in range(LAYERS))
        self.outer = nn.ModuleList(nn.Linear(HIDDEN, dim, bias=False) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """log p under a standard normal law at the end."""
        total = x.new_zeros(len(x))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            value = torch.tanh(inner(x))
            jacobian = torch.einsum("ih,nh,hj->nij", outer.weight, 1 - value * value, inner.weight)
            total = total + torch.linalg.slogdet(jacobian + torch.eye(x.shape[1]))[1]
            x = x + outer(value)
        return total - 0.5 * x.square().sum(-1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def densities(dim: int) -> dict:
    """log p of a batch by each kind of flow."""
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(dim), 1.0), 1)
    plain = pk.nets.ConcatSquashMLP(dim, (HIDDEN, HIDDEN), seed=0)
    hollow = pk.nets.HollowNet(dim, pk.nets.MaskedConditioner(hidden=(HIDDEN, HIDDEN)), time=True, seed=0)
    return {
        "NF, determinant": Unstructured(dim),
        "CNF, D products": CNF(plain, base, pk.Dense(), **EIGHT).log_prob,
        "FFJORD, one direction": CNF(plain, base, pk.Hutchinson(seed=0), **EIGHT).log_prob,
        "Hollow-CNF, exact": CNF(hollow, base, pk.Exact(), **EIGHT).log_prob,
    }


def seconds(log_prob, x: Tensor) -> float:
    """The best of a few runs."""
    best = math.inf
    with torch.no_grad(), one_thread(0):
        log_prob(x)
        for _ in range(REPEATS):
            begun = time.perf_counter()
            log_prob(x)
            best = min(best, time.perf_counter() - begun)
    return best


def main(folder: Path, preset: str = "small") -> None:
    """Prints the table and writes the picture to `folder`."""
    dims = PRESETS[preset]
    table: dict[str, list[float]] = {}
    for dim in dims:
        x = torch.randn(BATCH, dim, generator=torch.Generator().manual_seed(0))
        for name, log_prob in densities(dim).items():
            skipped = name.startswith("CNF") and dim > DENSE_UP_TO
            table.setdefault(name, []).append(math.nan if skipped else seconds(log_prob, x))
    print(f"{'seconds, batch of 64':24s}" + "".join(f"{f'D = {dim}':>12s}" for dim in dims) + f"{'slope':>8s}")
    canvas, axes = new_figure()
    for name, values in table.items():
        known = [(d, v) for d, v in zip(dims, values, strict=True) if not math.isnan(v)]
        (d0, v0), (d1, v1) = known[-2:]
        slope = math.log(v1 / v0) / math.log(d1 / d0)
        cells = "".join(f"{'-':>12s}" if math.isnan(v) else f"{v:12.4f}" for v in values)
        print(f"{name:24s}{cells}{slope:8.2f}")
        axes.loglog(*zip(*known, strict=True), "o-", label=name)
    print("In the paper: (D H + D^3) L, (D H + D^2) L~, (D H + D) L~; a hollow field was not among them.")
    axes.set(xlabel="dimension D", ylabel="seconds for 64 densities")
    add_legend(axes)
    canvas.savefig(folder / "17_time_and_dimension.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '17_time_and_dimension.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
