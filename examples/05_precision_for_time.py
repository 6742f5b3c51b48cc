"""Precision traded for time: what each digit costs on a stiff problem and on one that is not.

The Oregonator, a chemical oscillator whose rates differ by a factor of a million, and a pair of predators and prey are
integrated at tolerances from 1e-3 to 1e-7. The picture shows the error at the end against evaluations of the field
(Jacobian-vector products counted as such): explicit methods win where nothing is stiff, and pay for stability, not for
accuracy, where something is.

    python examples/05_precision_for_time.py [FOLDER]
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdekit as pk
from pdekit.report.style import add_legend, new_figure

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
METHODS = {
    "Tsit5": pk.ode.Tsit5(),
    "Kvaerno5": pk.ode.Kvaerno5(),
    "Radau IIA 5": pk.ode.RadauIIA5(),
}


def oregonator(t: Any, y: Tensor) -> Tensor:
    """Three concentrations; R. J. Field and R. M. Noyes, J. Chem. Phys. 60 (1974) 1877."""
    a, b, c = y.unbind(-1)
    return torch.stack([77.27 * (b + a * (1 - 8.375e-6 * a - b)), (c - (1 + a) * b) / 77.27, 0.161 * (a - c)], -1)


def lotka_volterra(t: Any, y: Tensor) -> Tensor:
    """Prey and predators."""
    prey, predators = y.unbind(-1)
    return torch.stack([1.5 * prey - prey * predators, prey * predators - 3 * predators], -1)


PROBLEMS = {
    "Oregonator (stiff)": (oregonator, [1.0, 2.0, 3.0], 30.0, ("Kvaerno5", "Radau IIA 5")),
    "Lotka-Volterra (not stiff)": (lotka_volterra, [1.0, 1.0], 10.0, ("Tsit5", "Kvaerno5", "Radau IIA 5")),
}


def work_and_error(field: Any, start: list[float], end: float, method: Any, truth: Tensor) -> tuple[list, list]:
    """Evaluations and relative errors at every tolerance."""
    work, errors = [], []
    for rtol in TOLERANCES:
        y0 = torch.tensor(start, dtype=torch.float64)
        solution = pk.odeint(field, y0, [0.0, end], method=method, rtol=rtol, atol=rtol * 1e-3)
        work.append(int(solution.counts.equivalents.sum()))
        errors.append(float(((solution.y[-1] - truth) / truth).abs().max()))
    return work, errors


def main(folder: Path) -> None:
    """Prints the table and writes the picture to `folder`."""
    figure, _ = new_figure(wide=True)
    figure.clear()
    for axes, (name, (field, start, end, methods)) in zip(figure.subplots(1, 2), PROBLEMS.items(), strict=True):
        y0 = torch.tensor(start, dtype=torch.float64)
        truth = pk.odeint(field, y0, [0.0, end], method=pk.ode.SciPy("LSODA"), rtol=1e-11, atol=1e-14).y[-1]
        for label in methods:
            work, errors = work_and_error(field, start, end, METHODS[label], truth)
            print(f"{name:28s}{label:14s}" + "".join(f"{n:9d} {e:.0e}" for n, e in zip(work, errors, strict=True)))
            axes.loglog(errors, work, "o-", color=f"C{list(METHODS).index(label)}", label=label)
        axes.invert_xaxis()
        axes.set(title=name, xlabel="relative error at the end", ylabel="evaluations")
        add_legend(axes)
    figure.savefig(folder / "05_precision_for_time.png", dpi=150)
    print(f"Picture: {folder / '05_precision_for_time.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
