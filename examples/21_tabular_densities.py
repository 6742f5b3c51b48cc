"""Densities of tables by five flows: the layout of the tabular results of FFJORD.

`small` has two tables that need no download: six successive readings of a square-root process, whose density is known
in closed form, so that the least possible figure stands in the table; and the first eight principal components of the
1,797 digits that come with scikit-learn, a fifth of them held out. Every flow is trained for the same time. `paper`
takes the five tables of the papers from a folder (those that are there), and the settings that FFJORD's authors give
for MINIBOONE: two layers of 20 units for each column, batches of 1,000, a rate of 1e-3.

    python examples/21_tabular_densities.py [FOLDER] [small|paper] [DATA]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.decomposition import PCA

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.errors import DataError
from pdekit.flows import CNF, TABLES, FlowFit, MaskedFlow, NormalizingFlow, digits, fit_flow, tabular
from pdekit.report.style import new_figure

FLOWS = ("coupling", "MAF", "FFJORD", "Hollow-CNF")
PUBLISHED = {  # nats: MAF and FFJORD, Grathwohl et al. (2019)
    "power": (-0.24, -0.46),
    "gas": (-10.08, -8.59),
    "hepmass": (17.70, 14.92),
    "miniboone": (11.75, 10.43),
    "bsds300": (-155.69, -157.40),
}
RATE, MEAN, NOISE, GAP, READINGS = 1.0, 2.0, 1.0, 0.5, 6  # dx = RATE (MEAN - x) dt + NOISE sqrt(x) dW


@dataclass(frozen=True)
class Preset:
    """Sizes of one run; layers that are None depend on the columns."""

    training: pk.Training
    layers: int
    hidden: int | None
    tolerance: float | None


PRESETS = {
    "small": Preset(pk.Training(steps=10**6, batch=256, rate=2e-3, seconds=30.0), 5, 64, None),
    "paper": Preset(pk.Training(steps=30_000, batch=1000, rate=1e-3), 5, None, 1e-6),
}


def square_root_process(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of successive readings, the first from the stationary law, and log p of each by the closed form."""
    rng = np.random.default_rng(seed)
    shape, scale = 2 * RATE * MEAN / NOISE**2, NOISE**2 / (2 * RATE)
    decay = np.exp(-RATE * GAP)
    unit = NOISE**2 * (1 - decay) / (4 * RATE)
    x = np.empty((n, READINGS))
    x[:, 0] = rng.gamma(shape, scale, n)
    log_p = stats.gamma(shape, scale=scale).logpdf(x[:, 0])
    for k in range(1, READINGS):
        centre = x[:, k - 1] * decay / unit
        x[:, k] = unit * rng.noncentral_chisquare(2 * shape, centre)
        log_p += stats.ncx2(2 * shape, centre, scale=unit).logpdf(x[:, k])
    return x, log_p


def tables(preset: str, folder: Path):
    """Names, rows to train with and to judge by, and what is known of them."""
    if preset == "small":
        x, _ = square_root_process(20_000, seed=1)
        judged, log_p = square_root_process(2_000, seed=2)
        yield "square-root", x - MEAN, judged - MEAN, f"least possible: {-log_p.mean():.3f}"
        rows = np.random.default_rng(0).permutation(digits().images.astype(np.float64))
        cut = len(rows) // 5
        components = PCA(8).fit(rows[cut:])
        yield "digits", components.transform(rows[cut:]), components.transform(rows[:cut]), ""
        return
    for name in TABLES:
        try:
            found = tabular(name, folder)
        except DataError as missing:
            print(missing)
            continue
        yield name, found.train, found.test, "MAF {:.2f}, FFJORD {:.2f}".format(*PUBLISHED[name])


def fitted(kind: str, x: np.ndarray, judged: np.ndarray, preset: Preset) -> FlowFit:
    """One flow, trained and judged."""
    d = x.shape[1]
    units = preset.hidden or 20 * d
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(d), 1.0), 1)
    steps = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.25)}
    if preset.tolerance:
        steps = {"rtol": preset.tolerance, "atol": preset.tolerance}
    if kind in ("coupling", "MAF"):
        way = "coupling" if kind == "coupling" else "autoregressive"
        flow = NormalizingFlow(MaskedFlow(d, way, preset.layers, (units, units), seed=0), base)
    elif kind == "FFJORD":
        flow = CNF(pk.nets.ConcatSquashMLP(d, (units, units), "softplus", seed=0), base, pk.Hutchinson(), **steps)
    else:
        conditioner = pk.nets.MaskedConditioner(hidden=(units, units))
        flow = CNF(pk.nets.HollowNet(d, conditioner, time=True, seed=0), base, **steps)
    with progress_bar() as bar:
        return fit_flow(flow, x, preset.training, held_out=judged, progress=bar.share)


def normal_law(x: np.ndarray, judged: np.ndarray) -> float:
    """The mean of -log p under the normal law of the rows."""
    return -float(stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(judged).mean())


def main(folder: Path, preset: str = "small", source: Path = Path()) -> None:
    """Prints the table and writes the picture to `folder`."""
    shown = []
    print(f"{'NLL (nats)':14s}{'rows':>10s}{'columns':>9s}{'normal law':>12s}" + "".join(f"{f:>18s}" for f in FLOWS))
    for name, x, judged, known in tables(preset, source):
        line = f"{name:14s}{len(x):10,d}{x.shape[1]:9d}{normal_law(x, judged):12.3f}"
        print(line, end="", flush=True)
        fits = {}
        for kind in FLOWS:
            fits[kind] = fitted(kind, x.astype(np.float32), judged.astype(np.float32), PRESETS[preset])
            print(f"{f'{fits[kind].nll:.3f} ± {fits[kind].stderr:.3f}':>18s}", end="", flush=True)
        print(f"   {known}", flush=True)
        shown.append((name, fits, normal_law(x, judged), known))
    if not shown:
        return
    canvas, axes = new_figure(ncols=len(shown), wide=True, height=4.0)
    for ax, (name, fits, normal, known) in zip(np.atleast_1d(axes), shown, strict=True):
        for place, fit in enumerate(fits.values()):
            ax.errorbar(place, fit.nll, 2 * fit.stderr, fmt="o", capsize=4, color=f"C{place}")
        ax.axhline(normal, linewidth=0.8, linestyle="--", color="C5", label="normal law")
        if known.startswith("least"):
            ax.axhline(float(known.split()[-1]), linewidth=0.8, color="C7", label="least possible")
        ax.set_xticks(range(len(fits)), list(fits))
        ax.set(ylabel="held-out -log p (nats), ± 2 s.e.", title=name)
        ax.legend()
    canvas.savefig(folder / "21_tabular_densities.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '21_tabular_densities.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0]) if given else Path(),
        given[1] if len(given) > 1 else "small",
        Path(given[2]) if len(given) > 2 else Path(),
    )
