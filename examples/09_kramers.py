"""Noise that acts on the velocity alone: Kramers' equation on a grid against the exact normal law.

dx = v dt, dv = (-gamma v - omega^2 x) dt + sqrt(2 gamma T) dW. The diffusion tensor is singular, so that position is
smoothed by motion only. The equation is linear: from a normal law the density stays normal, which shows how well the
grid does.

    python examples/09_kramers.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.distributions import MultivariateNormal

import pdekit as pk
from pdekit.fokker_planck import ClosedForm

VALUES = {"gamma": 0.5, "omega": 1.0, "T": 0.2}
TIMES = [1.0, 2.0, 4.0, 8.0]
GRID = pk.Grid(160, window=((-2.5, 2.5), (-2.5, 2.5)))


def main(folder: Path) -> None:
    """Solves twice, prints the differences and writes the picture to `folder`."""
    start = MultivariateNormal(torch.tensor([1.0, 0.0]).double(), 0.1 * torch.eye(2).double())
    problem = pk.FokkerPlanckProblem(pk.models.damped_oscillator().fix(**VALUES), initial=start)
    solution, exact = problem.solve(TIMES, GRID), problem.solve(TIMES, ClosedForm())

    axis = torch.linspace(-2.5, 2.5, 201, dtype=torch.float64)
    states = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    print(f"{'t':>5s}{'error':>12s}{'estimated':>12s}{'mean of x':>12s}{'exact':>12s}")
    for t, estimate in zip(TIMES, solution.error_estimate, strict=True):
        p, q = solution.pdf(t, states), exact.pdf(t, states)
        error = float((p - q).norm() / q.norm())
        means = (solution.moments(t).mean[0], exact.moments(t).mean[0])
        print(f"{t:5.1f}{error:12.1e}{estimate:12.1e}" + "".join(f"{mean:12.6f}" for mean in np.array(means)))

    solution.plot().savefig(folder / "09_kramers.png", dpi=150)
    print(f"Picture: {folder / '09_kramers.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
