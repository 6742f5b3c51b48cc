"""Autoencoders of digits with six posteriors, from a normal law to a hollow flow: the table of the HollowNets paper.

`small` takes the 1,797 digits of 8 x 8 pixels that come with scikit-learn, the first fifth of them held out, and
equal time for every posterior; `paper` takes MNIST and, where it is found, Omniglot from a folder, with 64 latent
entries, gated convolutions and 5,000 samples for the likelihood.

    python examples/19_digits_autoencoders.py [FOLDER] [small|paper] [DATA]
"""

import math
import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.errors import DataError
from pdekit.flows import POSTERIORS, Images, VAEFit, digits, fit_vae, mnist, omniglot, vae_with
from pdekit.report.style import add_legend, new_figure

PRESETS = {
    "small": {"seconds": 60.0, "batch": 128, "samples": 200, "latent": 8, "context": 32, "layers": 4, "hidden": 64},
    "paper": {
        "seconds": None,
        "batch": 100,
        "samples": 5000,
        "latent": 64,
        "context": 256,
        "layers": 16,
        "hidden": 512,
    },
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 500_000  # `paper`: 833 epochs of MNIST
PUBLISHED = {
    "none": "-86.55   82.14   -104.28   97.25",
    "planar": "-86.06   81.91   -102.65   96.04",
    "iaf": "-84.20   80.79   -102.41   96.08",
    "sylvester": "-83.32   80.22    -99.00   93.77",
    "ffjord": "-82.82       -    -98.33       -",
    "hollow-cnf": "-82.37   80.22    -97.42   93.90",
}


def sets(preset: str, folder: Path) -> list[Images]:
    """What there is to learn."""
    if preset == "small":
        return [digits()]
    found = [mnist(folder, download=True)]
    try:
        found.append(omniglot(folder))
    except DataError as missing:
        print(missing)
    return found


def fitted(images: Images, posterior: str, preset: str) -> VAEFit:
    """One autoencoder."""
    p = PRESETS[preset]
    vae = vae_with(
        posterior,
        images.shape,
        p["latent"],
        context_dim=p["context"],
        layers=p["layers"],
        hidden=p["hidden"],
    ).to(DEVICE)
    cut = len(images.images) // 5
    kept, held = (images.images[cut:], images.images[:cut])
    if images.test is not None:
        kept, held = images.images, images.test.images
    training = pk.Training(
        steps=STEPS, batch=p["batch"], rate=3e-3 if preset == "small" else 5e-4, seconds=p["seconds"]
    )
    with progress_bar() as bar:
        return fit_vae(vae, kept, training, held_out=held, samples=p["samples"], progress=bar.share)


def main(folder: Path, preset: str = "small", source: Path = Path()) -> None:
    """Prints the table and writes the picture to `folder`."""
    for images in sets(preset, source):
        canvas, axes = new_figure(ncols=3, nrows=2, wide=True, height=7.0)
        print(f"{images}, in nats; published: MNIST ELBO and NLL, Omniglot ELBO and NLL (Chen and Duvenaud 2019)")
        print(f"{'posterior':12s}{'ELBO':>17s}{'NLL':>16s}{'evaluations':>13s}{'there and back':>16s}   published")
        for posterior, ax in zip(POSTERIORS, axes.flat, strict=True):
            fit = fitted(images, posterior, preset)
            continuous = math.isfinite(fit.evaluations)
            cost = f"{fit.evaluations:13.0f}{fit.reconstruction_error:16.1g}" if continuous else f"{'-':>13s}{'-':>16s}"
            elbo, nll = (
                f"{value:.2f} ± {error:.2f}" for value, error in zip((fit.elbo, fit.nll), fit.stderr, strict=True)
            )
            print(f"{posterior:12s}{elbo:>17s}{nll:>16s}{cost}   {PUBLISHED[posterior]}", flush=True)
            ax.plot(fit.history.steps, fit.history.losses, label="training")
            ax.axhline(-fit.elbo, linewidth=0.8, linestyle="--", label="held out")
            ax.set(title=f"{posterior}: NLL {fit.nll:.2f}", xlabel="step", ylabel="-ELBO (nats)")
            add_legend(ax)
        name = "19_digits_autoencoders" if images.name in ("digits", "MNIST") else f"19_{images.name.lower()}"
        canvas.savefig(folder / f"{name}.png", dpi=150, facecolor="white")
        print(f"Picture: {folder / f'{name}.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0]) if given else Path(),
        given[1] if len(given) > 1 else "small",
        Path(given[2]) if len(given) > 2 else Path(),
    )
