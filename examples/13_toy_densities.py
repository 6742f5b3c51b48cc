"""Eight laws in the plane, each by a hollow flow with the exact trace; a film of the way from the base to all of them.

Every flow is trained for the same number of steps, four of Runge and Kutta each, and judged by an adaptive solver on
samples that it has not seen: nats, evaluations, and how far off the way back and forth was. A small penalty on |v|^2
keeps a training from profiting by the error of its few steps. `paper` has the number of steps of Grathwohl et al.
(2019); on two cores that takes hours.

    python examples/13_toy_densities.py [FOLDER] [small|paper]
"""

import sys
from pathlib import Path

import numpy as np
import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import CNF, TOYS, FlowFit, density_in_plane, fit_flow, toy
from pdekit.report.style import new_figure

PRESETS = {"small": (500, 256), "paper": (10_000, 512)}
REACH, POINTS = 4.5, 90
FILM = "pinwheel"
SHARES = (0.25, 0.5, 0.75)
FRAMES, FPS = 16, 8
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def trained(name: str, preset: str) -> FlowFit:
    """A flow for this law."""
    steps, batch = PRESETS[preset]
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, device=DEVICE), 1.0), 1)
    conditioner = pk.nets.MaskedConditioner(hidden=(16,), activation="tanh")
    transformer = pk.nets.MLPTransformer(hidden=(32, 32, 32), activation="tanh")
    field = pk.nets.HollowNet(2, conditioner, transformer, time=True, seed=0).to(DEVICE)
    flow = CNF(field, base, method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
    x = toy(name, 20_000, seed=0)
    training = pk.Training(steps=steps, batch=batch, rate=5e-3)
    with progress_bar() as bar:
        return fit_flow(flow, x, training, held_out=0.05, kinetic=0.05, progress=bar.share)


def main(folder: Path, preset: str = "small") -> None:
    """Trains all eight, prints their table and writes the picture to `folder`."""
    flows = {}
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
        flows[name] = fit.flow
    for share, ax in zip((*SHARES, 1.0), axes[2], strict=True):
        _draw(ax, flows[FILM].changed(times=(0.0, share)), f"{FILM}, t = {share:g}")
    canvas.savefig(folder / "13_toy_densities.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '13_toy_densities.png'}", flush=True)
    film(flows, folder / "13_toy_densities.gif", FRAMES)
    print(f"Film: {folder / '13_toy_densities.gif'}")


def film(flows: dict[str, CNF], path: Path, frames: int) -> None:
    """The eight densities at equal times from the base to the end."""
    from matplotlib.animation import PillowWriter

    canvas, axes = new_figure(nrows=2, ncols=4, wide=True, height=6.4)
    canvas.set_facecolor("white")
    writer = PillowWriter(fps=FPS)
    with progress_bar() as bar, writer.saving(canvas, str(path), dpi=60):
        shares = (*np.linspace(0.02, 1.0, frames), *[1.0] * (FPS // 2))
        for k, share in enumerate(shares):
            bar.share(f"picture {k + 1} of {len(shares)}", k / len(shares))
            for (name, flow), ax in zip(flows.items(), axes.flat, strict=True):
                ax.clear()
                ax.set_xticks([])
                ax.set_yticks([])
                # While it is on its way a loose solve is good enough to look at.
                now = flow.changed(times=(0.0, float(share)), rtol=1e-3, atol=1e-3)
                _draw(ax, now, f"{name}, t = {share:.2f}", points=POINTS // 2)
            writer.grab_frame()


def _draw(ax, flow: CNF, title: str, points: int | None = None) -> None:
    extent, density = density_in_plane(flow, points or POINTS, REACH)
    ax.imshow(np.sqrt(density.T), origin="lower", extent=extent, cmap="viridis")
    ax.set_title(title)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
