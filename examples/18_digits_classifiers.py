"""Digits told apart by a perceptron, a residual network, and an ODE in place of its blocks: table 1 of the paper.

`small` takes the 1,797 digits of 8 x 8 pixels that come with scikit-learn, the first fifth of them held out, and
networks with 32 channels; `paper` takes MNIST from a folder (or from OpenML, where there is a network) and the
paper's sizes.

    python examples/18_digits_classifiers.py [FOLDER] [small|paper] [DATA]
"""

import sys
from pathlib import Path

import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import CLASSIFIERS, digits, fit_classifier, image_classifier, mnist
from pdekit.report.style import add_legend, new_figure

PRESETS = {"small": (250, 64, 32), "paper": (75_000, 128, 64)}  # steps, batch, channels
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PUBLISHED = {
    "mlp": "1.60 % of MNIST, .24 M",
    "resnet": ".41 %, .60 M, memory O(L)",
    "rk-net": ".47 %, .22 M, memory O(L~)",
    "ode-net": ".42 %, .22 M, memory O(1)",
}


def data(preset: str, folder: Path):
    """Images and labels to train with and to judge by."""
    if preset == "small":
        d = digits()
        cut = len(d.images) // 5
        return d.shape, (d.images[cut:], d.labels[cut:]), (d.images[:cut], d.labels[:cut])
    d = mnist(folder, download=True)
    return d.shape, (d.images, d.labels), (d.test.images, d.test.labels)


def main(folder: Path, preset: str = "small", source: Path = Path()) -> None:
    """Prints the table and writes the picture to `folder`."""
    steps, batch, channels = PRESETS[preset]
    shape, (x, y), held_out = data(preset, source)
    canvas, axes = new_figure()
    head = f"{'network':10s}{'wrong':>16s}{'parameters':>12s}{'evaluations':>13s}{'seconds':>9s}"
    print(f"{head}   published (Chen et al. 2018, MNIST)")
    for kind in CLASSIFIERS:
        net = image_classifier(kind, shape, channels=channels).to(DEVICE)
        training = pk.Training(steps=steps, batch=batch, rate=3e-3)
        with progress_bar() as bar:
            fit = fit_classifier(net, x, y, training, held_out=held_out, progress=bar.share)
        wrong = f"{100 * fit.error:.2f} ± {100 * fit.stderr:.2f} %"
        count = "-" if kind in ("mlp", "resnet") else f"{fit.evaluations:.0f}"
        line = f"{kind:10s}{wrong:>16s}{fit.parameters:12,d}{count:>13s}{fit.history.seconds:9.0f}"
        print(f"{line}   {PUBLISHED[kind]}", flush=True)
        axes.semilogy(fit.history.steps, fit.history.losses, label=f"{kind}: {wrong} wrong", alpha=0.8)
    axes.set(xlabel="step", ylabel="cross-entropy (nats)")
    add_legend(axes)
    canvas.savefig(folder / "18_digits_classifiers.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '18_digits_classifiers.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        Path(given[0]) if given else Path(),
        given[1] if len(given) > 1 else "small",
        Path(given[2]) if len(given) > 2 else Path(),
    )
