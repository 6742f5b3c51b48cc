"""How long does it take to get over a barrier? The density of a double well, and Kramers' rate.

dx = (x - x^3) dt + 0.4 dW starts in the left well. The Fokker-Planck equation gives the probability of the right half
at every time; Kramers' formula for weak noise gives it as (1 - exp(-2 r t)) / 2 with one number r.

    python examples/07_double_well_escape.py [FOLDER]
"""

import math
import sys
from pathlib import Path

import numpy as np

import pdekit as pk
from pdekit.report.style import PALETTE, REFERENCE, add_legend, new_figure

NOISE, SHOWN = 0.4, (1.0, 10.0, 40.0, 160.0)


def kramers_rate(noise: float) -> float:
    """sqrt(V''(-1) |V''(0)|) / (2 pi) exp(-2 (V(0) - V(-1)) / sigma^2) for V = x^4/4 - x^2/2.

    Source: H. A. Kramers, Physica 7 (1940) 284.
    """
    return math.sqrt(2.0) / (2 * math.pi) * math.exp(-0.5 / noise**2)


def main(folder: Path) -> None:
    """Solves, prints the rates and writes the picture to `folder`."""
    times = np.union1d(np.linspace(20.0, 160.0, 8), SHOWN)
    problem = pk.FokkerPlanckProblem(pk.SymbolicSDE("x", "x - x**3", str(NOISE)), initial=[-1.0])
    solution = problem.solve(times)
    crossed = np.array([float(solution.expectation(lambda x: (x[:, 0] > 0).double(), t)) for t in times])

    late = times >= 20
    measured = -np.polyfit(times[late], np.log(1 - 2 * crossed[late]), 1)[0] / 2
    print(solution)
    print(f"Rate out of a well: {measured:.5f} by the Fokker-Planck equation, {kramers_rate(NOISE):.5f} by Kramers")

    figure, (left, right) = new_figure(ncols=2, wide=True)
    x = np.linspace(-1.8, 1.8, 400)
    for t, color in zip(SHOWN, PALETTE, strict=False):
        left.plot(x, solution.pdf(t, x[:, None]), color=color, label=f"t = {t:g}")
    left.plot(x, problem.stationary().pdf(x[:, None]), "--", color=REFERENCE, label="at rest")
    left.set(xlabel="x", ylabel="density p(x)", ylim=(0, None))
    right.plot(times, crossed, color=PALETTE[0], label="Fokker-Planck equation")
    right.plot(times, 0.5 * (1 - np.exp(-2 * kramers_rate(NOISE) * times)), "--", color=REFERENCE, label="Kramers")
    right.set(xlabel="t", ylabel="probability of x > 0", ylim=(0, 0.5))
    for axes in (left, right):
        add_legend(axes)
    figure.savefig(folder / "07_double_well_escape.png", dpi=150)
    print(f"Picture: {folder / '07_double_well_escape.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
