"""What was sampled at each time, against the law that the fitted equation carries there."""

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from pdekit.data.times import plural
from pdekit.errors import PdekitError
from pdekit.fitting.display.snapshot_fields import field_figures
from pdekit.fitting.learned import LearnedSDE
from pdekit.fokker_planck import Density, DensitySolution, FokkerPlanckProblem, Grid, MonteCarlo
from pdekit.report import Figure, add_legend, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pdekit.fitting.result import Fit

_SHOWN = 6
_VISIBLE, _TOO_COARSE = 0.02, 0.1  # relative errors of a density
_BINS = 40
_PATHS = 10_000


def snapshot_overview(fit: "Fit") -> "Canvas":
    """Histograms of the first state at up to six times, with the fitted density."""
    return _canvas(fit, 0, _solved(fit))


def snapshot_figures(fit: "Fit") -> tuple[Figure, ...]:
    """One figure for each state; of learned coefficients these too."""
    solved, figures = _solved(fit), []
    caption = f"Bars: the samples of each snapshot. {solved.remark}"
    for component, name in enumerate(fit.data.names):
        canvas = _canvas(fit, component, solved)
        figures.append(Figure.from_matplotlib(canvas, f"Snapshots of {name}", caption, wide=True))
    return (*figures, *field_figures(fit)) if isinstance(fit.model, LearnedSDE) else tuple(figures)


class _Solved(NamedTuple):
    """Densities at the shown times but the first, or None, and what they are or why there are none."""

    densities: tuple[Density, ...] | None
    remark: str


def _shown(data: Any) -> np.ndarray:
    return np.unique(np.linspace(0, len(data.times) - 1, _SHOWN).round().astype(int))


def _canvas(fit: "Fit", component: int, solved: _Solved) -> "Canvas":
    data: Any = fit.data
    chosen = _shown(data)
    canvas, axes = new_figure(nrows=2, ncols=3, wide=True, height=5.2, sharex=True)
    values = [data.samples[k][:, component] for k in chosen]
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    x = torch.linspace(low, high, 161, dtype=torch.float64)
    for number, (ax, k, v) in enumerate(zip(axes.flat, chosen, values, strict=False)):
        ax.hist(v.numpy(), bins=_BINS, range=(low, high), density=True, alpha=0.4, label="samples")
        if solved.densities is not None and number:
            line = solved.densities[number - 1].marginal(component).pdf(x[:, None])
            ax.plot(x.numpy(), line.numpy(), linewidth=2.0, label="fitted")
        ax.set_title(f"t = {float(data.times[k]):.4g} {plain_label(plural(data.time_unit))}")
        ax.set_xlabel(plain_label(data.names[component]))
    for ax in axes.flat[len(chosen) :]:
        ax.set_visible(False)
    add_legend(axes.flat[min(1, len(chosen) - 1)])
    return canvas


def _solved(fit: "Fit") -> _Solved:
    """The law that the fitted equation carries from the samples of the first snapshot."""
    data: Any = fit.data
    first, later = float(data.times[0]), [float(data.times[k]) for k in _shown(data)[1:]]
    try:
        problem = FokkerPlanckProblem(fit.model.at(**_estimates(fit)), initial=data.samples[0].numpy(), t0=first)  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an error that the caption states
            solution = _propagated(problem, later, fit.seed)
    except PdekitError as error:
        return _Solved(None, f"No density is shown: {error}")
    worst = solution.error_estimate.max()
    error = f" (estimated relative error {worst:.1g})" if worst > _VISIBLE else ""
    remark = f"Line: the density of the fitted equation, from the samples of the first snapshot on{error}."
    return _Solved(tuple(solution.at(t) for t in later), remark)


def _propagated(problem: FokkerPlanckProblem, times: list[float], seed: int) -> DensitySolution:
    """On a grid, unless it is too coarse for these coefficients: then by simulated paths."""
    if problem.sde.dim < 3:
        found = problem.solve(times, Grid(200 if problem.sde.dim == 1 else 64))
        if float(found.error_estimate.max()) <= _TOO_COARSE:
            return found
    return problem.solve(times, MonteCarlo(paths=_PATHS, seed=seed))


def _estimates(fit: "Fit") -> dict[str, float]:
    return {name: p.estimate for name, p in fit.params.items()}


__all__ = ["snapshot_figures", "snapshot_overview"]
