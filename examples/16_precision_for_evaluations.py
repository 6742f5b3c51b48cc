"""Precision traded for time in a flow, after it was trained: what figure 3 of the Neural ODE paper shows.

A flow is trained in four parts; after each one the field is solved at tolerances from 1e-1 to 1e-7. Shown are the error
of log p against evaluations, time against evaluations, evaluations of the way back (the adjoint's) against those
forward, and how they grow with training. Beside every count stands how far off the way there and back was: a loose
tolerance is cheap because it does not integrate the field.

    python examples/16_precision_for_evaluations.py [FOLDER] [small|paper]
"""

import copy
import sys
import time
from pathlib import Path

import torch

import pdekit as pk
from pdekit.cli.progress import progress_bar
from pdekit.flows import CNF, fit_flow, toy
from pdekit.ode import odeint
from pdekit.report.style import FITTED, OBSERVED, add_legend, new_figure

PRESETS = {"small": (150, 256), "paper": (2500, 512)}  # steps of each part
PARTS = 4
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
STATES = 200
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Counted(torch.nn.Module):
    """A field that counts its calls."""

    def __init__(self, field: torch.nn.Module) -> None:
        super().__init__()
        self.field, self.calls = field, 0

    def forward(self, t, x):
        """The field's value."""
        self.calls += 1
        return self.field(t, x)


def forward_and_back(field: torch.nn.Module, x: torch.Tensor, rtol: float) -> tuple[int, int]:
    """Calls of the field there, and by the adjoint equation on the way back."""
    counted = Counted(field)
    gradient = pk.ode.Backsolve(parameters=tuple(field.parameters()))
    y = odeint(counted, x.clone().requires_grad_(), [0.0, 1.0], rtol=rtol, atol=rtol, gradient=gradient, check=False)
    there = counted.calls
    y.y[-1].square().sum().backward()
    return there, counted.calls - there


def main(folder: Path, preset: str = "small") -> None:
    """Prints the table and writes the picture to `folder`."""
    steps, batch = PRESETS[preset]
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, device=DEVICE), 1.0), 1)
    field = pk.nets.HollowNet(2, time=True, seed=0).to(DEVICE)
    flow = CNF(field, base, method=pk.ode.RK4(), control=pk.ode.Fixed(0.25))
    x = torch.from_numpy(toy("moons", STATES, seed=7)).to(DEVICE)
    canvas, axes = new_figure(nrows=2, ncols=2, wide=True, height=7.0)
    grown = []
    print(
        f"{'steps':>7s}{'rtol':>9s}{'evaluations':>14s}{'error of log p':>17s}{'there and back':>17s}{'seconds':>10s}"
    )
    for part in range(1, PARTS + 1):
        training = pk.Training(steps=steps, batch=batch, rate=5e-3)
        with progress_bar() as bar:
            fit_flow(flow, toy("moons", 20_000), training, seed=part, held_out=0.01, progress=bar.share)
        double = copy.deepcopy(field).double()
        law = CNF(double, torch.distributions.Independent(torch.distributions.Normal(torch.zeros_like(x[0]), 1.0), 1))
        counts, errors, seconds = [], [], []
        with torch.no_grad():
            truth = law.changed(rtol=1e-10, atol=1e-10).log_prob(x)
            for rtol in TOLERANCES:
                now = law.changed(rtol=rtol, atol=rtol)
                begun = time.perf_counter()
                passage = now.passage(x)
                seconds.append(time.perf_counter() - begun)
                error = float((now.base.log_prob(passage.start) + passage.log_volume - truth).abs().max())
                counts.append(passage.evaluations)
                errors.append(error)
                print(
                    f"{part * steps:7d}{rtol:9.0e}{passage.evaluations:14.1f}{error:17.1e}"
                    f"{passage.reconstruction_error:17.1e}{seconds[-1]:10.3f}",
                    flush=True,
                )
        label = f"{part * steps} steps"
        axes[0, 0].loglog(counts, errors, "o-", label=label)
        axes[0, 1].plot(counts, seconds, "o-", label=label)
        grown.append(counts[TOLERANCES.index(1e-5)])
    pairs = [forward_and_back(double, x, rtol) for rtol in TOLERANCES[1:]]
    print("calls there and back by the adjoint:", ", ".join(f"{a} / {b}" for a, b in pairs))
    axes[1, 0].plot(*zip(*pairs, strict=True), "o", color=FITTED)
    axes[1, 0].axline((0, 0), slope=1, linewidth=0.8, linestyle="--", color=OBSERVED)
    axes[1, 1].plot([steps * k for k in range(1, PARTS + 1)], grown, "o-")
    axes[0, 0].set(xlabel="evaluations", ylabel="greatest error of log p (nats)")
    axes[0, 1].set(xlabel="evaluations", ylabel=f"seconds for {STATES} states")
    axes[1, 0].set(xlabel="calls of the field, there", ylabel="and back, by the adjoint")
    axes[1, 1].set(xlabel="steps of training", ylabel="evaluations at rtol = 1e-5", ylim=(0, None))
    add_legend(axes[0, 0])
    canvas.savefig(folder / "16_precision_for_evaluations.png", dpi=150, facecolor="white")
    print(f"Picture: {folder / '16_precision_for_evaluations.png'}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(), given[1] if len(given) > 1 else "small")
