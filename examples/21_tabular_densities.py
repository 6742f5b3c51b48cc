"""Densities of tables by four flows: the layout of the tabular results of FFJORD.

`small` has two tables that need no download: six successive readings of a square-root process, whose density is known
in closed form, so that the figure of the true law stands in the table; and the first eight principal components of
the 1,797 digits that come with scikit-learn, a fifth of them held out. Every flow is trained for the same time and to
its end. The papers stop by validation; here the quick flows learn the small table by heart, which their losses in
training tell. `paper` takes the five tables of the papers from a folder (those that are there), and the settings that
FFJORD's authors give for MINIBOONE: two layers of 20 units for each column, batches of 1,000, a rate of 1e-3.

    python examples/21_tabular_densities.py [FOLDER] [small|paper] [DATA]
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.decomposition import PCA

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.errors import DataError
from pdekit.flows import CNF, TABLES, FlowFit, MaskedFlow, NormalizingFlow, digits, fit_flow, tabular
from pdekit.report.style import FITTED, OBSERVED, REFERENCE, add_legend, new_figure

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOWS = ("coupling", "MAF", "FFJORD", "Hollow-CNF")
PUBLISHED = {  # nats: MAF and FFJORD, Grathwohl et al. (2019)
    "power": (-0.24, -0.46),
    "gas": (-10.08, -8.59),
    "hepmass": (17.70, 14.92),
    "miniboone": (11.75, 10.43),
    "bsds300": (-155.69, -157.40),
}
KINETIC = 0.05  # keeps a training from profiting by the error of its four steps
RECORDS = 20  # of losses at the end of a training, a tenth of all
FAR = 20.0  # nats
SECONDS = 30.0  # of a training in the small preset
RATE, MEAN, NOISE, GAP, READINGS = 1.0, 2.0, 1.0, 0.5, 6  # dx = RATE (MEAN - x) dt + NOISE sqrt(x) dW


@dataclass(frozen=True)
class Preset:
    """Sizes of one run; units that are None depend on the columns."""

    training: pk.Training
    layers: int
    hidden: int | None
    tolerance: float | None


PRESETS = {
    "small": Preset(pk.Training(steps=10**6, batch=256, rate=2e-3), 5, 64, None),
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


@dataclass(frozen=True)
class Rows:
    """A table: what to train with and to judge by; log p of the latter where it is known, and what others found."""

    name: str
    x: np.ndarray
    judged: np.ndarray
    log_p: np.ndarray | None = None
    published: str = ""


def tables(preset: str, folder: Path):
    """Those that are there."""
    if preset == "small":
        x, _ = square_root_process(20_000, seed=1)
        judged, log_p = square_root_process(2_000, seed=2)
        yield Rows("square-root", x - MEAN, judged - MEAN, log_p)
        rows = np.random.default_rng(0).permutation(digits().images.astype(np.float64))
        cut = len(rows) // 5
        components = PCA(8).fit(rows[cut:])
        yield Rows("digits", components.transform(rows[cut:]), components.transform(rows[:cut]))
        return
    for name in TABLES:
        try:
            found = tabular(name, folder)
        except DataError as missing:
            print(missing)
            continue
        yield Rows(name, found.train, found.test, published="MAF {:.2f}, FFJORD {:.2f}".format(*PUBLISHED[name]))


def fitted(kind: str, x: np.ndarray, judged: np.ndarray, preset: Preset) -> FlowFit:
    """One flow, trained and judged."""
    d = x.shape[1]
    units = preset.hidden or 20 * d
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(d, device=DEVICE), 1.0), 1)
    steps = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.25)}
    if preset.tolerance:
        steps = {"rtol": preset.tolerance, "atol": preset.tolerance}
    if kind in ("coupling", "MAF"):
        way = "coupling" if kind == "coupling" else "autoregressive"
        flow = NormalizingFlow(MaskedFlow(d, way, preset.layers, (units, units), seed=0).to(DEVICE), base)
    elif kind == "FFJORD":
        field = pk.nets.ConcatSquashMLP(d, (units, units), "softplus", seed=0).to(DEVICE)
        flow = CNF(field, base, pk.Hutchinson(), **steps)
    else:
        conditioner = pk.nets.MaskedConditioner(hidden=(units, units))
        flow = CNF(pk.nets.HollowNet(d, conditioner, time=True, seed=0).to(DEVICE), base, **steps)
    training = preset.training if preset.tolerance else replace(preset.training, seconds=SECONDS)
    with progress_bar() as bar:
        kinetic = KINETIC if isinstance(flow, CNF) else 0.0
        return fit_flow(flow, x, training, held_out=judged, kinetic=kinetic, progress=bar.share)


def normal_law(rows: Rows) -> float:
    """The mean of -log p under the normal law of the rows."""
    return -float(stats.multivariate_normal(rows.x.mean(0), np.cov(rows.x.T)).logpdf(rows.judged).mean())


def above(fit: FlowFit, log_p: np.ndarray) -> str:
    """What the flow's -log p is above the true one, with the standard error of the paired difference."""
    gap = fit.held_out.cpu().numpy() + log_p
    return f"{gap.mean():.3f} ± {gap.std() / len(gap) ** 0.5:.3f}"


def main(folder: Path, preset: str = "small", source: Path = Path()) -> None:
    """Prints the table and writes the picture to `folder`."""
    shown = []
    print(f"{'NLL (nats)':14s}{'rows':>10s}{'columns':>9s}{'normal law':>12s}" + "".join(f"{f:>18s}" for f in FLOWS))
    for rows in tables(preset, source):
        line = f"{rows.name:14s}{len(rows.x):10,d}{rows.x.shape[1]:9d}{normal_law(rows):12.3f}"
        print(line, end="", flush=True)
        fits = {}
        for kind in FLOWS:
            fits[kind] = fitted(kind, rows.x, rows.judged, PRESETS[preset])
            print(f"{f'{fits[kind].nll:.3f} ± {fits[kind].stderr:.3f}':>18s}", end="", flush=True)
        print(f"   {rows.published}", flush=True)
        learnt = "".join(f"{fit.history.losses[-RECORDS:].mean():18.3f}" for fit in fits.values())
        print(f"{'  loss in training':45s}{learnt}")
        if rows.log_p is not None:
            told = "".join(f"{above(fit, rows.log_p):>18s}" for fit in fits.values())
            print(f"{f'  above the true law, {-rows.log_p.mean():.3f}':45s}{told}")
        shown.append((rows, fits))
    if not shown:
        return
    canvas, axes = new_figure(ncols=len(shown), wide=True, height=4.0)
    for ax, (rows, fits) in zip(np.atleast_1d(axes), shown, strict=True):
        for place, fit in enumerate(fits.values()):
            ax.errorbar(place, fit.nll, 2 * fit.stderr, fmt="o", capsize=4, color=FITTED)
        ax.axhline(normal_law(rows), color=OBSERVED, label="normal law")
        if rows.log_p is not None:
            ax.axhline(-rows.log_p.mean(), linestyle="--", color=REFERENCE, label="true law")
        ax.set_xticks(range(len(fits)), list(fits))
        if np.ptp([fit.nll for fit in fits.values()]) > FAR:
            ax.set_yscale("symlog")  # what was learnt by heart is far off, and NLL may be negative
        ax.set(ylabel="held-out -log p (nats), ± 2 s.e.", title=f"{rows.name}: {rows.x.shape[1]} columns")
        add_legend(ax)
    canvas.savefig(folder / "21_tabular_densities.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '21_tabular_densities.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0]) if given else Path(),
        given[1] if len(given) > 1 else "small",
        Path(given[2]) if len(given) > 2 else Path(),
    )
