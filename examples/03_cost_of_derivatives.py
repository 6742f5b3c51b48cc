"""What does an exact divergence cost in d dimensions? Four routes, measured in forwards of the network itself.

For d from 4 to 1024 it times the divergence of a plain network (all d directions; directions of its first layer only;
one random direction) and of a hollow network, whose structure makes the cost independent of d.

    python examples/03_cost_of_derivatives.py [FOLDER]
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import pdekit as pk
from pdekit.report.style import add_legend, new_figure

DIMENSIONS = (4, 16, 64, 256, 1024)
BATCH = 64


def seconds(function: Callable[[], Any]) -> float:
    """The shortest of the calls that half a second holds, five at least, after one to warm up."""
    function()
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < 0.5:
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return min(taken)


def costs(dim: int) -> dict[str, float]:
    """The cost of value and divergence in forwards of the same network, for each route."""
    plain = pk.nets.MLP(dim, hidden=(128, 128))
    hollow = pk.nets.HollowNet(dim, seed=0)
    x = torch.randn(BATCH, dim, generator=torch.Generator().manual_seed(0))
    routes = {
        "plain network, all d directions": (plain, pk.Dense()),
        "plain network, compressed to its first layer": (plain, pk.Compressed()),
        "plain network, one random direction (not exact)": (plain, pk.Hutchinson(seed=0)),
        "hollow network": (hollow, pk.Hollow()),
    }
    with torch.no_grad():
        return {
            name: seconds(partial(pk.divergence(net, method), x)) / seconds(partial(net, x))
            for name, (net, method) in routes.items()
        }


def main(folder: Path) -> None:
    """Measures, prints the table and writes the picture to `folder`."""
    table = {dim: costs(dim) for dim in DIMENSIONS}
    names = list(table[DIMENSIONS[0]])
    for name in names:
        print(f"{name:50s}" + "".join(f"{table[dim][name]:9.1f}" for dim in DIMENSIONS))

    figure, axes = new_figure(wide=True)
    for name in names:
        axes.loglog(DIMENSIONS, [table[dim][name] for dim in DIMENSIONS], "o-", label=name)
    axes.set(xlabel="dimension d", ylabel="forwards for value and divergence")
    axes.set_xticks(DIMENSIONS, [str(dim) for dim in DIMENSIONS])
    add_legend(axes)
    figure.savefig(folder / "03_cost_of_derivatives.png", dpi=150)
    print(f"Picture: {folder / '03_cost_of_derivatives.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
