"""The exact trace against Hutchinson's in training: the same hollow network, the same steps, judged exactly.

The loss of a training with the exact trace is the likelihood itself; with random directions it is an estimate whose
scatter the gradient inherits. The field that comes of it may be easier or harder to solve. Shown over the training are
the loss and the evaluations that a density takes at rtol = atol = 1e-5, and at its end the scatter of log p by one
direction. On this law, at these sizes.

    python examples/15_exact_and_stochastic_trace.py [FOLDER] [small|paper]
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import CNF, fit_flow, toy
from pdekit.report.style import add_legend, new_figure

PRESETS = {"small": (300, 256), "paper": (10_000, 512)}
LAW = "2spirals"
TRACES = {"exact": pk.Exact(), "Hutchinson": pk.Hutchinson(), "Hutchinson, 4 directions": pk.Hutchinson(4)}
DRAWS = 20
KINETIC = 0.05  # keeps a training from profiting by the error of its four steps
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Watched:
    """Counts what a density takes as the training goes on, and the seconds that the counting takes.

    Args:
        flow: What is trained.
        x: States whose density is asked for.
        told: Is told how far the training is.
    """

    def __init__(self, flow: CNF, x: torch.Tensor, told) -> None:
        self.flow = flow.changed(trace=pk.Exact(), control=pk.ode.StepControl(), rtol=1e-5, atol=1e-5)
        self.x, self.told = x, told
        self.shares, self.evaluations, self.seconds = [], [], 0.0

    def __call__(self, what: str, share: float) -> None:
        """At every twentieth of the training."""
        self.told(what, share)
        if share >= len(self.shares) / 20:
            begun = time.monotonic()
            with torch.no_grad():
                self.evaluations.append(self.flow.passage(self.x).evaluations)
            self.seconds += time.monotonic() - begun
            self.shares.append(share)


def main(folder: Path, preset: str = "small") -> None:
    """Prints the table and writes the picture to `folder`."""
    steps, batch = PRESETS[preset]
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, device=DEVICE), 1.0), 1)
    canvas, (left, middle, right) = new_figure(ncols=3, wide=True, height=4.2)
    x = torch.from_numpy(toy(LAW, 200, seed=2**41)).float().to(DEVICE)
    print(f"{'trained by':28s}{'NLL (nats)':>18s}{'evaluations':>14s}{'scatter of log p':>19s}{'seconds':>10s}")
    for name, trace in TRACES.items():
        conditioner = pk.nets.MaskedConditioner(hidden=(16,), activation="tanh")
        transformer = pk.nets.MLPTransformer(hidden=(32, 32, 32), activation="tanh")
        field = pk.nets.HollowNet(2, conditioner, transformer, time=True, seed=0).to(DEVICE)
        flow = CNF(field, base, trace, method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
        training = pk.Training(steps=steps, batch=batch, rate=5e-3)
        with progress_bar() as bar:
            watched = Watched(flow, x, bar.share)
            # Fresh samples at every step: what differs is the trace alone.
            fit = fit_flow(flow, lambda n, seed: toy(LAW, n, seed=seed), training, kinetic=KINETIC, progress=watched)
        with torch.no_grad():
            draws = torch.stack([fit.flow.changed(trace=pk.Hutchinson(seed=k)).log_prob(x) for k in range(DRAWS)])
        scatter = float(draws.var(0).mean().sqrt())
        nll = f"{fit.nll:.3f} ± {fit.stderr:.3f}"
        print(
            f"{name:28s}{nll:>18s}{fit.evaluations:14.1f}{scatter:19.3f}{fit.history.seconds - watched.seconds:10.1f}",
            flush=True,
        )
        smooth = np.convolve(fit.history.losses, np.ones(10) / 10, mode="valid")
        left.plot(fit.history.steps[9:], smooth, label=name)
        middle.plot(watched.shares, watched.evaluations, ".-", label=name)
        right.hist(draws.std(0).cpu().numpy(), bins=30, histtype="step", label=name)
    left.set(xlabel="step", ylabel="loss, mean of ten records (nats)", title=LAW)
    middle.set(xlabel="share of the training", ylabel="evaluations of a density", ylim=(0, None))
    right.set(xlabel="standard deviation of log p by one direction (nats)", ylabel="states of 200")
    add_legend(left)
    canvas.savefig(folder / "15_exact_and_stochastic_trace.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '15_exact_and_stochastic_trace.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
