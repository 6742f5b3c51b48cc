"""The figures of a fit: what was observed against what the fitted SDE says, one idea per figure."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.fitting import panels
from pdekit.fitting.autocorrelation import Autocorrelation, autocorrelation, simulated_band, slot_and_lags
from pdekit.fitting.curves import BinnedIncrements, Curve, Which, binned_increments, coefficient_curve
from pdekit.fitting.diagnostics import Diagnostics
from pdekit.fitting.evidence import Evidence
from pdekit.fitting.replicas import Replicas, simulate_future, simulate_replicas
from pdekit.fitting.stationary import NoStationaryDensity, StationaryDensity, stationary_density
from pdekit.report import Figure, add_legend, new_figure, plain_label
from pdekit.simulation import Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from pdekit.fitting.result import Fit

# How much of the record's length the simulated continuations add to its picture.
_FUTURE_SHARE = 0.25
_PLANE = 28
# Panels by state stay readable up to here; further states are left to the tables.
_MOST_STATES = 4


@dataclass(frozen=True, eq=False)
class Exhibits:
    """What the figures show, computed when first needed and once.

    Args:
        evidence: The fit.
        diagnostics: Its residuals.
    """

    evidence: Evidence
    diagnostics: Diagnostics

    @property
    def states(self) -> range:
        """The states that get panels of their own."""
        return range(min(self.evidence.model.dim, _MOST_STATES))

    def curve(self, which: Which, component: int) -> Curve:
        """A fitted coefficient."""
        return coefficient_curve(self.evidence, which, component)

    def binned(self, component: int) -> BinnedIncrements:
        """Kramers-Moyal estimates."""
        return binned_increments(self.evidence.pairs, component)

    def residuals(self, component: int) -> np.ndarray:
        """One state's residuals, (n,)."""
        every = self.diagnostics.residuals
        return every if every.ndim == 1 else every[:, component]

    @cached_property
    def stationary(self) -> StationaryDensity | NoStationaryDensity:
        """The stationary density, or why there is none."""
        x = torch.cat(self.evidence.data.values)[:, 0]
        return stationary_density(self.evidence.model, self.evidence.theta, (float(x.min()), float(x.max())))

    @cached_property
    def _slot_and_lags(self) -> tuple[float, int]:
        return slot_and_lags(self.evidence.data)

    @cached_property
    def replicas(self) -> Replicas | str:
        """Simulated records, or why there are none."""
        return simulate_replicas(self.evidence, slot=self._slot_and_lags[0])

    @cached_property
    def observed_correlation(self) -> Autocorrelation:
        """Of the data, at the times that were also simulated."""
        slot, lags = self._slot_and_lags
        shown = self.replicas if isinstance(self.replicas, Replicas) else None
        data = self.evidence.data
        times, values = (data.times, data.values) if shown is None else (shown.times, shown.observed)
        return autocorrelation(times, values, slot=slot, lags=lags)

    @cached_property
    def simulated_correlation(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Band of the simulated records, each (m, d)."""
        if isinstance(self.replicas, str):
            return None
        slot, lags = self._slot_and_lags
        return simulated_band(autocorrelation(self.replicas.times, self.replicas.simulated, slot=slot, lags=lags).values)

    def simulated_states(self, component: int) -> Tensor | None:
        """One state in all simulated records, (n', records)."""
        if isinstance(self.replicas, str):
            return None
        return torch.cat([x[..., component] for x in self.replicas.simulated])

    @cached_property
    def future(self) -> Simulation | str:
        """Continuations of the last path, or why there are none."""
        last = self.evidence.data.times[-1]
        return simulate_future(self.evidence, _FUTURE_SHARE * float(last[-1] - last[0]))

    def field(self) -> tuple[Tensor, Tensor, Tensor]:
        """The fitted drift of two states on a grid: x (nx,), y (ny,), drift (ny, nx, 2)."""
        states = torch.cat(self.evidence.data.values)
        low, high = states.amin(0), states.amax(0)
        margin = 0.05 * (high - low)
        axes = [
            torch.linspace(max(float(a - m), d[0]), min(float(b + m), d[1]), _PLANE, dtype=torch.float64)
            for a, b, m, d in zip(low, high, margin, self.evidence.model.domain, strict=True)
        ]
        y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
        model = self.evidence.model.ito()
        middle = 0.5 * float(self.evidence.pairs.t.min() + self.evidence.pairs.t.max())
        with torch.no_grad():
            drift = model.function(list(model.drift))(middle, torch.stack([x, y], -1), self.evidence.theta)
        return axes[0], axes[1], drift


def overview(fit: "Fit") -> "Canvas":
    """Series, drift, diffusion, density, residuals and autocorrelation of the first state in one matplotlib figure."""
    shown = Exhibits(fit.evidence, fit.diagnostics())
    canvas, axes = new_figure(nrows=3, ncols=2, wide=True, height=11.0)
    canvas.set_facecolor("white")  # outside a report nothing guarantees a light page behind it
    panels.draw_series(axes[0, 0], fit.data, 0, _simulation(shown.future))
    add_legend(axes[0, 0], loc="best")
    panels.label_time(axes[0, 0], fit.data)
    _coefficient(axes[0, 1], shown, "drift", 0)
    _coefficient(axes[1, 0], shown, "diffusion", 0)
    _density(axes[1, 1], shown, 0)
    _distribution(axes[2, 0], shown, 0)
    _correlation(axes[2, 1], shown, 0)
    return canvas


def report_figures(fit: "Fit") -> tuple[Figure, ...]:
    """All figures of a report page, in reading order."""
    shown = Exhibits(fit.evidence, fit.diagnostics())
    figures = [_series_figure(shown)]
    figures += _per_state(shown, _coefficient_figure, "drift")
    figures += _per_state(shown, _coefficient_figure, "diffusion")
    if fit.model.dim == 2:
        figures.append(_plane_figure(shown))
    figures += _per_state(shown, _density_figure)
    figures += _per_state(shown, _correlation_figure)
    figures += _per_state(shown, _distribution_figure)
    figures += _per_state(shown, _residual_figure)
    return tuple(figures)


def _per_state(shown: Exhibits, make: Any, *arguments: Any) -> list[Figure]:
    return [make(shown, component, *arguments) for component in shown.states]


def _name(shown: Exhibits, component: int) -> str:
    return shown.evidence.data.names[component]


def _of(shown: Exhibits, component: int) -> str:
    """ " of x" where there is more than one state to tell apart."""
    return f" of {_name(shown, component)}" if shown.evidence.model.dim > 1 else ""


def _series_figure(shown: Exhibits) -> Figure:
    data = shown.evidence.data
    count = len(shown.states)
    canvas, axes = new_figure(nrows=count, wide=True, sharex=True, height=3.6 if count == 1 else None)
    for component, ax in zip(shown.states, np.atleast_1d(axes), strict=True):
        panels.draw_series(ax, data, component, _simulation(shown.future))
    panels.label_time(np.atleast_1d(axes)[-1], data)
    add_legend(np.atleast_1d(axes)[0], loc="best", ncols=4)
    if isinstance(shown.future, str):
        caption = f"The data. No continuation is shown: {shown.future}"
    else:
        which = "the last path" if data.n_paths > 1 else "the record"
        caption = (
            f"The data, and {shown.future.paths} simulated continuations of {which} from its last observation, at the estimated "
            "parameters (whose uncertainty they leave out). Thin lines are single simulations."
        )
    return Figure.from_matplotlib(canvas, "Observed series", caption, wide=True)


def _simulation(future: Simulation | str) -> Simulation | None:
    return None if isinstance(future, str) else future


def _coefficient(ax: Any, shown: Exhibits, which: Which, component: int) -> None:
    curve = shown.curve(which, component)
    panels.draw_curve(ax, curve, shown.binned(component), which, zero=which == "drift")
    name, unit = plain_label(_name(shown, component)), shown.evidence.data.time_unit
    ax.set_xlabel(name)
    ax.set_ylabel(f"drift of {name} (per {unit})" if which == "drift" else f"diffusion g of {name} (per √{unit})")
    add_legend(ax, loc="best")


def _coefficient_figure(shown: Exhibits, component: int, which: Which) -> Figure:
    canvas, ax = new_figure()
    _coefficient(ax, shown, which, component)
    model = shown.evidence.model
    what = "Drift" if which == "drift" else "Diffusion"
    caption = {
        "drift": "The fitted drift with its pointwise 95 % confidence band (delta method).",
        "diffusion": "The fitted size of the noise, g, with its pointwise 95 % confidence band (delta method).",
    }[which]
    if shown.curve(which, component).stderr is None:
        caption = caption.partition(" with")[0] + ". No band: the estimate has no usable covariance."
    if model.dim > 1:
        caption += " Averaged over the other states as they were observed."
    if not model.autonomous:
        caption += " Taken at the middle of the record, because the coefficients depend on time."
    if which == "drift" and model.convention == "stratonovich":
        caption += " This is the drift of the equivalent Ito equation."
    caption += (
        " Points: increments averaged in bins with 95 % error bars, without a model; at coarse steps they are biased, so a gap "
        "is no misfit."
    )
    return Figure.from_matplotlib(canvas, f"{what}{_of(shown, component)}", caption)


def _density(ax: Any, shown: Exhibits, component: int) -> None:
    values = torch.cat(shown.evidence.data.values)[:, component]
    known = shown.stationary if shown.evidence.model.dim == 1 and isinstance(shown.stationary, StationaryDensity) else None
    bounds = shown.evidence.model.domain[component]
    panels.draw_density(ax, values, known, shown.simulated_states(component), bounds)
    ax.set_xlabel(plain_label(_name(shown, component)))
    add_legend(ax, loc="best")


def _density_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _density(ax, shown, component)
    if shown.evidence.model.dim > 1:
        return Figure.from_matplotlib(
            canvas,
            f"Density{_of(shown, component)}",
            "Histogram of the observations, and where the histograms of 95 % of simulated records of the same length lie. "
            + _simulation_note(shown),
        )
    if isinstance(shown.stationary, StationaryDensity):
        caption = (
            "Histogram of the observations and the stationary density of the fitted SDE (finite volumes). A short record need "
            "not look stationary: the shaded steps hold the histograms of 95 % of simulated records. "
        )
        title = "Stationary density"
    else:
        caption = f"Histogram of the observations. There is no stationary density to compare with: {shown.stationary.reason} "
        title = "Density of the observations"
    return Figure.from_matplotlib(canvas, title, caption + _simulation_note(shown))


def _simulation_note(shown: Exhibits) -> str:
    if isinstance(shown.replicas, str):
        return f"No simulated records: {shown.replicas}"
    note = f"{shown.replicas.records} records were simulated from the first observation on, at the observed times."
    return note if shown.replicas.whole else note + " They cover the first part of the data only."


def _correlation(ax: Any, shown: Exhibits, component: int) -> None:
    observed = shown.observed_correlation
    band = shown.simulated_correlation
    chosen = None if band is None else (band[0][:, component], band[1][:, component], band[2][:, component])
    panels.draw_autocorrelation(
        ax, observed.lags, observed.values[:, component], chosen, shown.evidence.data.time_unit
    )


def _correlation_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _correlation(ax, shown, component)
    caption = (
        "Autocorrelation of the data, and the 95 % band of the same statistic in simulated records. Outside the band the "
        "fitted SDE forgets too fast or too slowly. "
    )
    return Figure.from_matplotlib(canvas, f"Autocorrelation{_of(shown, component)}", caption + _simulation_note(shown))


def _distribution(ax: Any, shown: Exhibits, component: int) -> None:
    if shown.diagnostics.pit is not None:
        panels.draw_pit(ax, shown.diagnostics.pit)
    else:
        panels.draw_quantiles(ax, shown.residuals(component), f"residuals of {_name(shown, component)}")


def _distribution_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    _distribution(ax, shown, component)
    if shown.diagnostics.pit is not None:
        title = "PIT residuals"
        caption = (
            "Where each observation fell within the distribution predicted one step before. Flat if the model holds; a U shape "
            "says that the fitted noise is too small, a hump that it is too large, a slope that the drift is off."
        )
    else:
        title = f"Residual quantiles{_of(shown, component)}"
        caption = "Standardised one-step residuals of the Euler approximation against a normal law. On the line if it holds."
    return Figure.from_matplotlib(canvas, title, caption)


def _residual_figure(shown: Exhibits, component: int) -> Figure:
    canvas, ax = new_figure()
    data, pairs = shown.evidence.data, shown.evidence.pairs
    times = (pairs.t + pairs.dt).numpy()[shown.diagnostics.positions]
    panels.draw_residuals(ax, data, times, shown.residuals(component))
    panels.label_time(ax, data)
    caption = (
        "Residuals on the scale of a standard normal; the shaded strip, ±1.96, holds 95 % of them if the model holds. Stretches "
        "of large or small ones say that the noise changes in a way that the model doesn't know."
    )
    return Figure.from_matplotlib(canvas, f"Residuals in time{_of(shown, component)}", caption)


def _plane_figure(shown: Exhibits) -> Figure:
    canvas, ax = new_figure(wide=True, height=5.2)
    panels.draw_phase_plane(ax, shown.evidence.data, *shown.field())
    caption = "The observed path (gray) over the streamlines of the fitted drift, thicker where it is fast."
    return Figure.from_matplotlib(canvas, "Phase plane", caption, wide=True)
