"""One series, four ways up the ladder: kernels, a sparse formula, maximum likelihood and networks, compared.

dx = (x - x^3) dt + .5 dW, 20,000 steps of .01. The table judges every way on the last fifth of the record, which none
of them has seen; the picture shows the drift that each found, with its 95 % band, over the true one.

    python examples/11_ladder_of_fits.py [FOLDER]
"""

import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.fitting.display.curves import coefficient_curve
from pdekit.report import new_figure, style

WAYS = {
    "kernels": pk.KramersMoyal(),
    "sparse": pk.SparseSDE(),
    "likelihood": pk.models.double_well(),
    "networks": pk.NeuralSDE(hidden=(32,), ensemble=3, training=pk.Training(steps=400)),
}


def main(folder: Path) -> None:
    """Fits four times, prints the comparison and writes the picture to `folder`."""
    sde = pk.models.double_well().at(a=1.0, b=1.0, sigma=0.5)
    path = pk.simulate(sde, 1.0, torch.arange(20_001) / 100, seed=4)
    data = pk.Trajectories.from_arrays(path.times, path.values[:, 0])
    found = pk.compare(WAYS, data)
    print(found)
    print(f"The sparse search kept: {next(e for e in found.entries if e.name == 'sparse').fit.model}")

    canvas, axes = new_figure(ncols=2, nrows=2, wide=True, height=6.4, sharex=True, sharey=True)
    canvas.set_facecolor("white")
    for ax, entry in zip(axes.flat, found.entries, strict=True):
        curve = coefficient_curve(entry.fit.evidence, "drift")
        x = curve.x.numpy()
        if (band := curve.band()) is not None:
            ax.fill_between(x, *band, color=style.BAND, alpha=0.5, linewidth=0, label="95 % band")
        ax.plot(x, curve.value, color=style.FITTED, label="found")
        ax.plot(x, x - x**3, color=style.REFERENCE, linestyle="--", label="true")
        ax.set_title(entry.name)
        ax.set_ylim(-2.5, 2.5)
    for ax in axes[1]:
        ax.set_xlabel("x")
    for ax in axes[:, 0]:
        ax.set_ylabel("drift")
    axes[0, 0].legend(frameon=False)
    canvas.savefig(folder / "11_ladder_of_fits.png", dpi=150)
    print(f"Picture: {folder / '11_ladder_of_fits.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
