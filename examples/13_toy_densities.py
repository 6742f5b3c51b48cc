"""Eight laws in the plane, each by a hollow flow with the exact trace, and the way from the base to one of them.

Every flow is trained for the same number of steps, four of Runge and Kutta each, and judged by an adaptive solver on
samples that it has not seen: nats, evaluations, and how far off the way back and forth was. `paper` has the number of
steps of Grathwohl et al. (2019); on two cores that takes hours.

    python examples/13_toy_densities.py [FOLDER] [small|paper]
"""

import sys
from pathlib import Path

import numpy as np
import torch

import pdekit as pk
from pdekit.flows import CNF, TOYS, FlowFit, density_in_plane, fit_flow, toy
from pdekit.report.style import new_figure

PRESETS = {"small": (150, 256), "paper": (10_000, 512)}
REACH, POINTS = 4.5, 90
FILM = "pinwheel"
FRAMES = (0.25, 0.5, 0.75)


def trained(name: str, preset: str) -> FlowFit:
    """A flow for this law."""
    steps, batch = PRESETS[preset]
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
    field = pk.nets.HollowNet(2, time=True, seed=0)
    flow = CNF(field, base, method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
    x = toy(name, 20_000, seed=0)
    return fit_flow(flow, x, pk.Training(steps=steps, batch=batch, rate=5e-3), held_out=0.05)


def main(folder: Path, preset: str = "small") -> None:
    """Trains all eight, prints their table and writes the picture to `folder`."""
    canvas, axes = new_figure(nrows=3, ncols=4, wide=True, height=8.0)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    print(f"{'law':14s}{'NLL (nats)':>18s}{'evaluations':>14s}{'back and forth':>17s}")
    for name, ax in zip(TOYS, axes.flat, strict=False):
        fit = trained(name, preset)
        nll = f"{fit.nll:.3f} ± {fit.stderr:.3f}"
        print(f"{name:14s}{nll:>18s}{fit.evaluations:14.0f}{fit.reconstruction_error:17.1g}", flush=True)
        _draw(ax, fit.flow, name)
        if name == FILM:
            film = fit.flow
    for share, ax in zip((*FRAMES, 1.0), axes[2], strict=True):
        _draw(ax, film.changed(times=(0.0, share)), f"{FILM}, t = {share:g}")
    canvas.savefig(folder / "13_toy_densities.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '13_toy_densities.png'}")


def _draw(ax, flow: CNF, title: str) -> None:
    extent, density = density_in_plane(flow, POINTS, REACH)
    ax.imshow(np.sqrt(density.T), origin="lower", extent=extent, cmap="viridis")
    ax.set_title(title)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
