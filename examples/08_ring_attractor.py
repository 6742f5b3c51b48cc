"""A noisy limit cycle: a density that rests while probability goes round and round.

The normal form of a Hopf bifurcation with noise has a ring for its stationary density, known in closed form whatever
the speed of rotation. The current is not in the density: it is what the drift and the score leave. Through any half
line from the middle it carries omega / (2 pi).

    python examples/08_ring_attractor.py [FOLDER]
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch

import pdekit as pk

VALUES = {"a": 0.5, "omega": 2.0, "sigma": 0.4}


def main(folder: Path) -> None:
    """Solves, compares with formulas and writes the picture to `folder`."""
    solution = pk.FokkerPlanckProblem(pk.models.hopf().fix(**VALUES)).stationary(pk.Grid(160))
    print(solution)

    r = np.linspace(0.0, 1.6, 161)
    ring = np.exp((VALUES["a"] * r**2 - r**4 / 2) / VALUES["sigma"] ** 2)
    exact = ring / (2 * math.pi * np.trapezoid(ring * r, r))
    states = torch.as_tensor(np.stack([r, np.zeros_like(r)], -1))
    error = np.abs(solution.pdf(states).numpy() - exact).max() / exact.max()
    turns = np.trapezoid(solution.current(states)[:, 1].numpy(), r)
    print(f"Largest error of the density: {error:.1e} of its peak")
    print(f"Turns in a unit of time: {turns:.5f}, expected omega / (2 pi) = {VALUES['omega'] / (2 * math.pi):.5f}")
    print(solution.report())

    solution.plot().savefig(folder / "08_ring_attractor.png", dpi=150)
    print(f"Picture: {folder / '08_ring_attractor.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
