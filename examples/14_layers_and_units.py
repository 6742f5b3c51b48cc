"""Planar layers against a planar field: K discrete layers and M continuous units, as in figures 4 and 5 of the paper.

Matching: a flow from a normal law is brought near a density that is known up to its constant, by the gradient of
KL(q | p) = E_q[log q + U] + log Z, with log Z by quadrature. Likelihood: both kinds learn two circles and two moons
from samples. `paper` takes 10,000 steps for either kind.

    python examples/14_layers_and_units.py [FOLDER] [small|paper]
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import CNF, ContinuousFlow, NormalizingFlow, PlanarField, PlanarFlow, density_in_plane, fit_flow, toy
from pdekit.report.style import FITTED, SIMULATED, add_legend, new_figure
from pdekit.training import train

PRESETS = {"small": (600, 256, (2, 8, 32)), "paper": (10_000, 512, (2, 8, 32))}
LEARNT = {"small": 8, "paper": 64}  # layers and units that learn from samples
JUDGED = 20_000
KINETIC = 0.05  # keeps a training from profiting by the error of its four steps
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
STEPS = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.25)}


def base() -> torch.distributions.Distribution:
    """The standard normal law in the plane."""
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, device=DEVICE), 1.0), 1)


def energy(z: Tensor) -> Tensor:
    """U(z): a ring of radius 2 with two heavy sides (Rezende and Mohamed 2015, table 1)."""
    ring = 0.5 * ((z.norm(dim=-1) - 2) / 0.4).square()
    sides = [-0.5 * ((z[..., 0] + side) / 0.6).square() for side in (-2.0, 2.0)]
    return ring - torch.logaddexp(*sides)


def log_normaliser() -> float:
    """log of the integral of exp(-U), by the midpoint rule."""
    node = torch.linspace(-7.99, 7.99, 800, dtype=torch.float64)
    return float((-energy(torch.cartesian_prod(node, node))).logsumexp(0)) + 2 * float((node[1] - node[0]).log())


def match(kind: str, size: int, steps: int, batch: int) -> tuple[float, float, torch.nn.Module]:
    """KL(q | p) after the training, by fresh samples, its standard error, and what was trained."""
    net = (PlanarFlow(2, size, seed=0) if kind == "NF" else PlanarField(2, size, seed=0)).to(DEVICE)

    def divergence(n: int, generator: torch.Generator, judged: bool = False) -> Tensor:
        start = torch.randn(n, 2, generator=generator, device=generator.device)
        if isinstance(net, PlanarFlow):
            z, change = net(start)
        else:
            # Coarse steps would let the training exploit their error: the end is judged by tolerance.
            z, change = ContinuousFlow(net, net.with_divergence, **(TOLERANCE if judged else STEPS))(start)
        return base().log_prob(start) - change + energy(z)

    with progress_bar() as bar:
        train(
            net,
            lambda generator, share: divergence(batch, generator).mean(),
            pk.Training(steps=steps, batch=batch, rate=1e-2),
            seed=0,
            what=f"{kind} {size}",
            progress=bar.share,
        )
    with torch.no_grad():
        values = divergence(JUDGED, torch.Generator(DEVICE).manual_seed(1), judged=True)
    return float(values.mean()) + log_normaliser(), float(values.std()) / JUDGED**0.5, net


def learn(kind: str, name: str, size: int, steps: int, batch: int):
    """Maximum likelihood from samples."""
    if kind == "NF":
        flow = NormalizingFlow(PlanarFlow(2, size, seed=0).to(DEVICE), base())
    else:
        field = PlanarField(2, size, seed=0).to(DEVICE)
        flow = CNF(field, base(), field.with_divergence, **STEPS)
    training = pk.Training(steps=steps, batch=batch, rate=1e-2)
    with progress_bar() as bar:
        kinetic = KINETIC if kind == "CNF" else 0.0
        return fit_flow(flow, toy(name, 20_000), training, held_out=0.1, kinetic=kinetic, progress=bar.share)


def main(folder: Path, preset: str = "small") -> None:
    """Prints both tables and writes the picture to `folder`."""
    steps, batch, sizes = PRESETS[preset]
    canvas, axes = new_figure(ncols=3, nrows=2, wide=True, height=7.6)
    print(f"log Z = {log_normaliser():.4f}; KL(q | p) in nats, K layers (NF) and M units (CNF)")
    print(f"{'':6s}" + "".join(f"{n:>18d}" for n in sizes))
    for kind, color in (("NF", FITTED), ("CNF", SIMULATED)):
        values, cells = [], []
        for size in sizes:
            value, error, net = match(kind, size, steps, batch)
            values.append(value)
            cells.append(f"{value:.3f} ± {error:.3f}")
            if size == sizes[-1]:
                _draw_samples(axes[0, 1 + (kind == "CNF")], kind, size, net)
        print(f"{kind:6s}" + "".join(f"{cell:>18s}" for cell in cells), flush=True)
        axes[0, 0].loglog(sizes, values, "o-", color=color, label=kind)
    axes[0, 0].set(xlabel="layers K, units M", ylabel="KL(q | p) (nats)", title="matching a known density")
    axes[0, 0].set_xticks(sizes, [str(size) for size in sizes])
    axes[0, 0].minorticks_off()
    add_legend(axes[0, 0])
    size = LEARNT[preset]
    print(f"\n{'':12s}{f'NF, K = {size}':>18s}{f'CNF, M = {size}':>18s}   held-out NLL in nats")
    for name, row in (("circles", 0), ("moons", 1)):
        fits = {kind: learn(kind, name, size, steps, batch) for kind in ("NF", "CNF")}
        print(f"{name:12s}" + "".join(f"{f.nll:10.3f} ± {f.stderr:.3f}" for f in fits.values()), flush=True)
        if row:
            for ax, (kind, fit) in zip(axes[1], fits.items(), strict=False):
                _draw_density(ax, fit.flow, f"{name}, {kind} of {size}: {fit.nll:.3f} nats")
        else:
            _draw_density(axes[1, 2], fits["CNF"].flow, f"{name}, CNF of {size}: {fits['CNF'].nll:.3f} nats")
    canvas.savefig(folder / "14_layers_and_units.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '14_layers_and_units.png'}")


def _draw_samples(ax, kind: str, size: int, net: torch.nn.Module) -> None:
    start = torch.randn(4000, 2, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    with torch.no_grad():
        z = net(start)[0] if isinstance(net, PlanarFlow) else CNF(net, base(), net.with_divergence).carried(start)
    ax.plot(*z.cpu().numpy().T, ".", markersize=2, alpha=0.4)
    ax.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal", title=f"samples of {kind} with {size}")


def _draw_density(ax, flow, title: str) -> None:
    extent, density = density_in_plane(flow, 90, 4.5)
    ax.imshow(density.T**0.5, origin="lower", extent=extent, cmap="viridis")
    ax.set(xticks=[], yticks=[], title=title)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
