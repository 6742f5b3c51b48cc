"""What was sampled at each time, against the law that the fitted equation carries there."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.data.times import plural
from pdekit.errors import PdekitError
from pdekit.fitting.display.snapshot_fields import field_figures
from pdekit.fitting.learned import LearnedSDE
from pdekit.fokker_planck import FokkerPlanckProblem, Grid, MonteCarlo
from pdekit.report import Figure, add_legend, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pdekit.fitting.result import Fit

_SHOWN = 6
_VISIBLE = 0.02  # relative error of a density
_BINS = 40


def snapshot_overview(fit: "Fit") -> "Canvas":
    """Histograms of the first state at up to six times, with the fitted density."""
    return _canvas(fit, 0)[0]


def snapshot_figures(fit: "Fit") -> tuple[Figure, ...]:
    """One figure for each state; of learned coefficients these too."""
    figures = []
    for component, name in enumerate(fit.data.names):
        canvas, remark = _canvas(fit, component)
        caption = f"Bars: the samples of each snapshot. {remark}"
        figures.append(Figure.from_matplotlib(canvas, f"Snapshots of {name}", caption, wide=True))
    return (*figures, *field_figures(fit)) if isinstance(fit.model, LearnedSDE) else tuple(figures)


def _canvas(fit: "Fit", component: int) -> "tuple[Canvas, str]":
    data = fit.data
    chosen = np.unique(np.linspace(0, len(data.times) - 1, _SHOWN).round().astype(int))
    canvas, axes = new_figure(nrows=2, ncols=3, wide=True, height=5.2, sharex=True)
    values = [data.samples[k][:, component] for k in chosen]  # type: ignore[attr-defined]
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    x = torch.linspace(low, high, 161, dtype=torch.float64)
    lines, remark = _densities(fit, component, chosen, x)
    for ax, k, v, line in zip(axes.flat, chosen, values, lines, strict=False):
        ax.hist(v.numpy(), bins=_BINS, range=(low, high), density=True, alpha=0.4, label="samples")
        if line is not None:
            ax.plot(x.numpy(), line.numpy(), linewidth=2.0, label="fitted")
        ax.set_title(f"t = {float(data.times[k]):.4g} {plain_label(plural(data.time_unit))}")
        ax.set_xlabel(plain_label(data.names[component]))
    for ax in axes.flat[len(chosen) :]:
        ax.set_visible(False)
    add_legend(axes.flat[min(1, len(chosen) - 1)])
    return canvas, remark


def _densities(fit: "Fit", component: int, chosen: np.ndarray, x: Tensor) -> tuple[list[Tensor | None], str]:
    """The marginal density at each chosen time but the first, at x, and what it is; or why there is none."""
    data: Any = fit.data
    nothing: list[Tensor | None] = [None] * len(chosen)
    first, later = float(data.times[0]), [float(data.times[k]) for k in chosen[1:]]
    try:
        problem = FokkerPlanckProblem(fit.model.at(**_estimates(fit)), initial=data.samples[0].numpy(), t0=first)  # type: ignore[attr-defined]
        method = Grid(200 if fit.model.dim == 1 else 64) if fit.model.dim < 3 else MonteCarlo()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an error that the caption states
            solution = problem.solve(later, method)
        found = [solution.at(t).marginal(component).pdf(x[:, None]) for t in later]
    except PdekitError as error:
        return nothing, f"No density is shown: {error}"
    worst = solution.error_estimate.max()
    error = f" (estimated relative error {worst:.1g})" if worst > _VISIBLE else ""
    remark = f"Line: the density of the fitted equation, from the samples of the first snapshot on{error}."
    return [None, *found], remark


def _estimates(fit: "Fit") -> dict[str, float]:
    return {name: p.estimate for name, p in fit.params.items()}


__all__ = ["snapshot_figures", "snapshot_overview"]
