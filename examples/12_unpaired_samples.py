"""No state is seen twice: an equation from samples of a population, and what such data can't tell.

Five hundred cells at each of six times, other cells every time, leave one well of dx = (a x - b x^3) dt + sigma dW. The
law at the first time is carried through time by the Fokker-Planck equation, and its fit to the later samples gives a, b
and sigma. Samples of the law at rest are refused, because they fix the ratio of drift and noise only.

    python examples/12_unpaired_samples.py [FOLDER]
"""

import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.errors import DataError

TIMES = torch.linspace(0.0, 2.0, 6, dtype=torch.float64)
CELLS = 500


def main(folder: Path) -> None:
    """Fits both data sets, prints what comes out and writes the picture to `folder`."""
    sde = pk.models.double_well().at(a=1.0, b=1.0, sigma=0.5)
    start = -1.5 + 0.2 * torch.randn(
        len(TIMES) * CELLS, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    cloud = pk.simulate(sde, start, TIMES, seed=1).values
    moving = [cloud[k, CELLS * k : CELLS * (k + 1)] for k in range(len(TIMES))]
    fit = pk.fit(pk.models.double_well(), pk.Snapshots(TIMES, moving))
    print(fit.summary())

    resting = pk.FokkerPlanckProblem(pk.models.double_well().fix(a=1.0, b=1.0, sigma=0.5)).stationary()
    still = [resting.sample(CELLS, seed=k) for k in range(len(TIMES))]
    try:
        pk.fit(pk.models.double_well(), pk.Snapshots(TIMES, still))
    except DataError as refusal:
        print(f"Samples at rest are refused: {refusal}\n")
    held = pk.fit(pk.models.double_well(), pk.Snapshots(TIMES, still), fixed={"sigma": 0.5})
    print(f"With sigma held: {held}")

    fit.plot().savefig(folder / "12_unpaired_samples.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '12_unpaired_samples.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
