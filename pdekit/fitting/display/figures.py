"""The figures of a fit: what was observed against what the fitted SDE says, one idea per figure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pdekit.fitting.display import panels
from pdekit.fitting.display.curves import Which
from pdekit.fitting.display.exhibits import Exhibits
from pdekit.fitting.display.stationary import StationaryDensity
from pdekit.report import Figure, new_figure, plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pdekit.fitting.result import Fit

# Panels by state stay readable up to here; further states are left to the tables.
_MOST_STATES = 4


def overview(fit: "Fit") -> "Canvas":
    """Series, drift, diffusion, density, residuals and autocorrelation of the first state in one matplotlib figure."""
    shown = Exhibits(fit.evidence.of_states, fit.diagnostics())
    canvas, axes = new_figure(nrows=3, ncols=2, wide=True, height=11.5)
    canvas.set_facecolor("white")  # outside a report nothing guarantees a light page behind it
    _series(axes[0, 0], shown, 0)
    panels.label_time(axes[0, 0], fit.data)
    panels.legend_above(axes[0, 0])
    _coefficient(axes[0, 1], shown, 0, "drift")
    _coefficient(axes[1, 0], shown, 0, "diffusion")
    _density(axes[1, 1], shown, 0)
    _distribution(axes[2, 0], shown, 0)
    _correlation(axes[2, 1], shown, 0)
    return canvas


def report_figures(fit: "Fit") -> tuple[Figure, ...]:
    """All figures of a report page, in reading order."""
    shown = Exhibits(fit.evidence.of_states, fit.diagnostics())
    states = range(min(fit.model.dim, _MOST_STATES))
    figures = [_series_figure(shown, states)]
    figures += [_coefficient_figure(shown, i, which) for which in ("drift", "diffusion") for i in states]
    if fit.model.dim == 2:
        figures.append(_plane_figure(shown))
    makers: tuple[Callable[[Exhibits, int], Figure], ...] = (
        _density_figure,
        _correlation_figure,
        _distribution_figure,
        _residual_figure,
    )
    figures += [make(shown, i) for make in makers for i in states]
    return tuple(figures)


def _title(text: str, shown: Exhibits, component: int) -> str:
    return f"{text} of {shown.name(component)}" if shown.several else text


def _series(ax: Any, shown: Exhibits, component: int) -> None:
    future = None if isinstance(shown.future, str) else shown.future
    panels.draw_series(ax, shown.evidence.data, component, future)


def _series_figure(shown: Exhibits, states: range) -> Figure:
    data = shown.evidence.data
    canvas, grid = new_figure(nrows=len(states), wide=True, sharex=True, height=3.8 if len(states) == 1 else None)
    axes = np.atleast_1d(grid)
    for component in states:
        _series(axes[component], shown, component)
    panels.label_time(axes[-1], data)
    panels.legend_above(axes[0])
    what = "The states, as the filter has them" if shown.evidence.filtered else "The data"
    if isinstance(shown.future, str):
        caption = f"{what}. No continuation is shown: {shown.future}"
    else:
        which = "the last path" if data.n_paths > 1 else "the record"
        caption = (
            f"{what}, and {shown.future.paths} simulated continuations of {which} from its last observation, at the "
            "estimated parameters (whose uncertainty they leave out). Thin lines are single simulations."
        )
    return Figure.from_matplotlib(canvas, "Observed series", caption, wide=True)


def _coefficient(ax: Any, shown: Exhibits, component: int, which: Which) -> None:
    panels.draw_curve(ax, shown.curve(which, component), shown.binned(which, component), which)
    name, unit = plain_label(shown.name(component)), plain_label(shown.evidence.data.time_unit)
    label = f"drift of {name} (per {unit})"
    ax.set_xlabel(f"fitted {label}" if shown.several and which == "drift" else name)
    ax.set_ylabel(label if which == "drift" else f"diffusion g of {name} (per √{unit})")
    panels.legend_above(ax)


def _coefficient_figure(shown: Exhibits, component: int, which: Which) -> Figure:
    canvas, ax = new_figure()
    _coefficient(ax, shown, component, which)
    title = _title(which.capitalize(), shown, component)
    return Figure.from_matplotlib(canvas, title, _coefficient_caption(shown, component, which))


def _coefficient_caption(shown: Exhibits, component: int, which: Which) -> str:
    model = shown.evidence.model
    what = "The fitted drift" if which == "drift" else "The fitted size of the noise, g"
    known = shown.curve(which, component).stderr is not None
    parts = [
        f"{what}, with its pointwise 95 % confidence band (delta method)."
        if known
        else f"{what}. It has no band, because the estimate has no usable covariance."
    ]
    if which == "drift" and model.convention == "stratonovich":
        parts.append("It is the drift of the equivalent Ito equation.")
    if not model.autonomous:
        parts.append("It is taken at the middle of the record, because the coefficients depend on time.")
    if shown.evidence.filtered:
        return " ".join(parts)
    if shown.several and which == "drift":
        parts.append(
            "Points: mean increments over the time step, in bins of the fitted drift, with 95 % error bars. They lie "
            "on the line if the drift fits, apart from their bias at coarse steps."
        )
    else:
        parts.append(
            "Points: increments in bins, without a model, with 95 % error bars. At coarse steps they are biased, so a "
            "gap need not be a misfit."
        )
    return " ".join(parts)


def _density(ax: Any, shown: Exhibits, component: int) -> None:
    values = torch.cat(shown.evidence.data.values)[:, component]
    known = None if shown.several or not isinstance(shown.stationary, StationaryDensity) else shown.stationary
    bounds = shown.evidence.model.domain[component]
    panels.draw_density(ax, values, known, shown.simulated_states(component), bounds)
    ax.set_xlabel(plain_label(shown.name(component)))
    panels.legend_above(ax)


def _density_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _density(ax, shown, component)
    band = (
        "" if isinstance(shown.replicas, str) else " The shaded steps hold 95 % of the histograms of simulated records:"
    )
    if shown.several:
        title, caption = _title("Density", shown, component), f"Histogram of the observations.{band}"
    elif isinstance(shown.stationary, StationaryDensity):
        title = "Stationary density"
        caption = f"Histogram of the observations, and the stationary density of the fitted SDE (finite volumes).{band}"
        caption += " a short record need not look stationary." if band else ""
    else:
        title = "Density of the observations"
        caption = f"The fitted SDE has no stationary density: {shown.stationary.reason}{band}"
    caption = caption.removesuffix(":") + ("." if caption.endswith(":") else "")
    return Figure.from_matplotlib(canvas, title, f"{caption} {_simulation_note(shown)}")


def _simulation_note(shown: Exhibits) -> str:
    if isinstance(shown.replicas, str):
        return f"There are no simulated records to compare with: {shown.replicas}"
    note = f"{shown.replicas.records} records were simulated from the first observation on, at the observed times"
    if shown.replicas.whole:
        return f"{note}."
    return f"{note}, but over the first part of the data only; over all of it their band would be narrower."


def _correlation(ax: Any, shown: Exhibits, component: int) -> None:
    observed, band = shown.observed_correlation, shown.simulated_correlation
    low_middle_high = None if band is None else (band[0][:, component], band[1][:, component], band[2][:, component])
    unit = shown.evidence.data.time_unit
    panels.draw_autocorrelation(ax, observed.lags, observed.values[:, component], low_middle_high, unit)


def _correlation_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _correlation(ax, shown, component)
    caption = "Autocorrelation of the data"
    if shown.simulated_correlation is not None:
        caption += (
            ", and the 95 % band of the same statistic in simulated records. Outside the band the fitted SDE forgets "
            "too fast or too slowly"
        )
    return Figure.from_matplotlib(
        canvas, _title("Autocorrelation", shown, component), f"{caption}. {_simulation_note(shown)}"
    )


def _distribution(ax: Any, shown: Exhibits, component: int) -> None:
    if shown.diagnostics.pit is not None:
        panels.draw_pit(ax, shown.diagnostics.pit)
    else:
        panels.draw_quantiles(ax, shown.residuals(component), f"residuals of {plain_label(shown.name(component))}")


def _distribution_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _distribution(ax, shown, component)
    if shown.diagnostics.pit is not None:
        title = "PIT residuals"
        caption = (
            "Where each observation fell within the distribution predicted one step before. Flat if the model holds; "
            "a U shape says that the fitted noise is too small, a hump that it is too large, a slope that the drift is "
            "off."
        )
    else:
        title = _title("Residual quantiles", shown, component)
        caption = "Standardised one-step residuals against a normal law: on the line if the fitted law of a step holds."
    return Figure.from_matplotlib(canvas, title, caption)


def _residual_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    data, pairs, positions = shown.evidence.data, shown.evidence.pairs, shown.diagnostics.positions
    times = (pairs.t + pairs.dt).numpy()[positions]
    panels.draw_residuals(ax, data, times, shown.residuals(component))
    panels.label_time(ax, data)
    caption = (
        "Residuals on the scale of a standard normal; the shaded strip, ±1.96, holds 95 % of them if the model holds. "
        "Stretches of large or small ones say that the noise changes in a way that the model doesn't know."
    )
    if len(positions) < len(pairs):
        caption += f" {len(positions):,} of {len(pairs):,}, in blocks spread evenly over the record."
    return Figure.from_matplotlib(canvas, _title("Residuals in time", shown, component), caption)


def _plane_figure(shown: Exhibits) -> Figure:
    canvas, ax = new_figure(wide=True, height=5.2)
    panels.draw_phase_plane(ax, shown.evidence.data, *shown.field())
    caption = "The observed path (gray) over the streamlines of the fitted drift, thicker where it is fast."
    return Figure.from_matplotlib(canvas, "Phase plane", caption, wide=True)
