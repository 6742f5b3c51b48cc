"""The ladder at work: which solver an implicit method needs as a hollow network's coupling grows.

y' = -k (y - c H(y)) with 64 states, rates k from 1 to 10,000 and a HollowNet H. The exact diagonal of the Jacobian
costs about one evaluation. For weak coupling c the Jacobi-Newton iteration is all it takes; as c grows, its contraction
rate does, and the ladder climbs to Anderson acceleration. The rung above, Newton's method with a dense Jacobian at 64
evaluations each, is there for what resists; here nothing does.

    python examples/06_ladder_on_a_hollow_net.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdekit as pk
from pdekit.report.style import add_legend, new_figure

STATES = 64
COUPLINGS = (0.1, 0.3, 1.0, 3.0, 10.0)
RUNGS = ("JacobiNewton", "Anderson", "Newton")
COLOURS = ("C0", "C1", "C2")


class Coupled(torch.nn.Module):
    """-k (y - c H(y)): a hollow function, since H is one."""

    def __init__(self, coupling: float) -> None:
        super().__init__()
        self.net = pk.nets.HollowNet(STATES, seed=0).double()
        self.rates = torch.logspace(0, 4, STATES, dtype=torch.float64)
        self.coupling = coupling

    def condition(self, t: Any, y: Tensor) -> Tensor:
        """The network's features, the rates beside them."""
        h = self.net.condition(y)
        return torch.cat([h, self.rates.expand(y.shape).unsqueeze(-1)], -1)

    def transform(self, y: Tensor, h: Tensor) -> Tensor:
        """Each entry from its own state and its features."""
        return -h[..., -1] * (y - self.coupling * self.net.transform(y, h[..., :-1]))

    def forward(self, t: Any, y: Tensor) -> Tensor:
        """y'."""
        return self.transform(y, self.condition(t, y))


def main(folder: Path) -> None:
    """Prints the table and writes the picture to `folder`."""
    y0 = torch.randn(STATES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares, work = [], []
    for coupling in COUPLINGS:
        with torch.no_grad():
            solution = pk.odeint(Coupled(coupling), y0, [0.0, 1.0], method=pk.ode.Kvaerno5(), rtol=1e-4, atol=1e-6)
        solved = [solution.rungs.get(name, 0) for name in RUNGS]
        shares.append([n / sum(solved) for n in solved])
        work.append(int(solution.counts.equivalents.sum()))
        print(f"coupling {coupling:4g}: {work[-1]:6d} evaluations; {solution.rungs}")

    figure, _ = new_figure(wide=True)
    figure.clear()
    left, right = figure.subplots(1, 2)
    bottom = [0.0] * len(COUPLINGS)
    labels = [f"{c:g}" for c in COUPLINGS]
    for k, (name, colour) in enumerate(zip(RUNGS, COLOURS, strict=True)):
        heights = [share[k] for share in shares]
        if not any(heights):
            continue
        left.bar(labels, heights, bottom=bottom, label=name, color=colour)
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    left.set(xlabel="coupling", ylabel="share of the systems solved")
    left.set_ylim(0, 1.25)  # room for the legend
    add_legend(left, ncols=3)
    right.plot(labels, work, "o-")
    right.set(xlabel="coupling", ylabel="evaluations (field, diagonal, products)", ylim=(0, None))
    figure.savefig(folder / "06_ladder_on_a_hollow_net.png", dpi=150)
    print(f"Picture: {folder / '06_ladder_on_a_hollow_net.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
