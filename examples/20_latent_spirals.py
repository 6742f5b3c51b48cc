"""Spirals read at irregular times: a latent ODE against a recurrent network, as in table 2 of the Neural ODE paper.

A thousand spirals (`small`: two hundred), half of them clockwise, are read with noise at 30, 50 or 100 of the first
hundred times; both models then tell the next hundred. The root mean square is over those, against spirals without
noise.

    python examples/20_latent_spirals.py [FOLDER] [small|paper]
"""

import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import LatentODE, SeriesRNN, spirals
from pdekit.report.style import FITTED, OBSERVED, SIMULATED, add_legend, new_figure
from pdekit.training import train

# spirals, steps, batch, readings
PRESETS = {"small": (200, 2500, 64, (30,)), "paper": (1000, 5000, 256, (30, 50, 100))}
PUBLISHED = {30: (0.39, 0.16), 50: (0.32, 0.15), 100: (0.18, 0.13)}
TEST = 100
POINTS = 200
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def readings(n: int, count: int, seed: int):
    """Times and noisy readings of each, and what is to be told."""
    t, x, clean = spirals(n + TEST, points=POINTS, noise=0.1, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(POINTS // 2, generator=generator)[:count] for _ in range(n + TEST)])
    chosen = chosen.sort(1).values
    rows = torch.arange(n + TEST)[:, None]
    return tuple(found.to(DEVICE) for found in (t, t[chosen], x[rows, chosen], clean))


def trained(model, t, x, steps: int, batch: int):
    """The model, by the bound on its likelihood."""

    def loss(generator: torch.Generator, share: float) -> torch.Tensor:
        some = torch.randint(len(t), (batch,), generator=generator, device=generator.device)
        weight = min(1.0, 4 * share)
        return -model.elbo(t[some], x[some], generator, weight=weight).mean()

    training = pk.Training(steps=steps, batch=batch, rate=1e-2)
    with progress_bar() as bar:
        train(model, loss, training, seed=0, what=type(model).__name__, progress=bar.share)
    return model


def main(folder: Path, preset: str = "small") -> None:
    """Prints the table and writes the picture to `folder`."""
    n, steps, batch, counts = PRESETS[preset]
    canvas, axes = new_figure(ncols=4, wide=True, height=3.6)
    print(f"{'readings':>9s}{'RNN':>9s}{'latent ODE':>13s}   published, of other spirals: RNN, ODE (Chen et al. 2018)")
    for count in counts:
        grid, t, x, clean = readings(n, count, seed=1)
        later = grid[POINTS // 2 :].expand(TEST, -1)
        models = {
            "RNN": SeriesRNN(2, seed=0).to(DEVICE),
            "latent ODE": LatentODE(2, seed=0).to(DEVICE),
        }
        errors, told = {}, {}
        for name, model in models.items():
            trained(model, t[:n], x[:n], steps, batch)
            with torch.no_grad():
                told[name] = model(t[n:], x[n:], later)
            errors[name] = float((told[name] - clean[n:, POINTS // 2 :]).square().mean().sqrt())
        row = f"{count:9d}{errors['RNN']:9.3f}{errors['latent ODE']:13.3f}"
        print(f"{row}   {PUBLISHED[count][0]:.2f}, {PUBLISHED[count][1]:.2f}", flush=True)
    for k, ax in enumerate(axes):
        ax.plot(*clean[n + k].cpu().numpy().T, color=OBSERVED, linewidth=0.8, label="truth")
        ax.plot(*x[n + k].cpu().numpy().T, ".", color=OBSERVED, markersize=3)
        for name, color in (("RNN", SIMULATED), ("latent ODE", FITTED)):
            ax.plot(*told[name][k].cpu().numpy().T, color=color, label=name)
        ax.set(xticks=[], yticks=[], aspect="equal")
    axes[0].set_title(f"{counts[-1]} readings")
    add_legend(axes[0])
    canvas.savefig(folder / "20_latent_spirals.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '20_latent_spirals.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
