"""The single panels that figures of a fit are made of: each draws one thing on given axes."""

from typing import Any

import numpy as np
import torch
from scipy.stats import binom, norm
from torch import Tensor

from pdekit.data import Trajectories
from pdekit.data.times import SECONDS, UNKNOWN_UNIT, calendar, plural
from pdekit.fitting.display.curves import BINNED_LABEL, BinnedIncrements, Curve, Which
from pdekit.fitting.display.stationary import StationaryDensity
from pdekit.report import add_legend, plain_label, style
from pdekit.simulation import Simulation

# A line of so many columns fills the width of a page; more only makes the page heavy.
_COLUMNS = 1200
# Above this many, points and cyclic lines are drawn as a picture inside the picture.
_MANY = 1500
_SAMPLE_PATHS = 3
_THIN = 0.9
# Densities are cut at this multiple of the highest bar.
_HIGHEST = 2.5


def draw_series(axes: Any, data: Trajectories, component: int, future: Simulation | None = None) -> None:
    """One state against time, and the simulated continuations of the last path as bands with a few single paths."""
    for i, (t, x) in enumerate(zip(data.times, data.values, strict=True)):
        when, values = thinned_line(t.numpy(), x[:, component].numpy())
        label = "observed" if i == 0 else None
        axes.plot(_moments(data, when), values, color=style.OBSERVED, linewidth=_THIN, label=label)
    if future is not None:
        _draw_future(axes, data, future, component)
    axes.set_ylabel(plain_label(data.names[component]))


def _draw_future(axes: Any, data: Trajectories, future: Simulation, component: int) -> None:
    when = _moments(data, future.times.numpy())
    x = future.values[..., component].double()
    levels = torch.tensor([0.025, 0.25, 0.5, 0.75, 0.975], dtype=torch.float64)
    low, lower, middle, upper, high = x.quantile(levels, dim=1).numpy()
    axes.fill_between(
        when, low, high, color=style.SIMULATED, alpha=0.14, linewidth=0, label="95 % of simulated futures"
    )
    axes.fill_between(when, lower, upper, color=style.SIMULATED, alpha=0.22, linewidth=0, label="50 %")
    axes.plot(when, x[:, :_SAMPLE_PATHS].numpy(), color=style.SIMULATED, linewidth=0.6, alpha=0.7)
    axes.plot(when, middle, color=style.SIMULATED, linewidth=1.6, label="median")


def legend_above(axes: Any) -> None:
    """A legend in one row above the axes, where it hides nothing."""
    add_legend(axes, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.1, columnspacing=1.2)


def label_time(axes: Any, data: Trajectories) -> None:
    """The label of a time axis; dates speak for themselves."""
    if _dated(data):
        import matplotlib.dates as dates

        locator = dates.AutoDateLocator(minticks=4, maxticks=10)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    else:
        unit = "" if data.time_unit == UNKNOWN_UNIT else f" ({plain_label(plural(data.time_unit))})"
        axes.set_xlabel(f"time{unit}")


def draw_curve(axes: Any, curve: Curve, binned: BinnedIncrements | None, which: Which) -> None:
    """A coefficient with its 95 % band over the binned estimates, if there are any."""
    values = curve.value
    if which == "drift":
        axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
    if binned is not None:
        values, errors = (
            (binned.drift, binned.drift_stderr) if which == "drift" else (binned.diffusion, binned.diffusion_stderr)
        )
        axes.errorbar(
            binned.x.numpy(), values.numpy(), 1.96 * errors.numpy(), fmt="o", markersize=3.2, color=style.OBSERVED,
            elinewidth=0.8, label=BINNED_LABEL,
        )  # fmt: skip
    band = curve.band()
    x = curve.x.numpy()
    if band is not None:
        low, high = (end.numpy() for end in band)
        axes.fill_between(x, low, high, color=style.BAND, alpha=0.45, linewidth=0, label="95 % band")
    axes.plot(x, curve.value.numpy(), color=style.FITTED, linewidth=2.0, label="fitted")
    _keep_in_view(axes, curve, values)


def _keep_in_view(axes: Any, curve: Curve, points: Tensor) -> None:
    """The curve and the points fill the axes; a band or an error bar that is much wider is cut."""
    low, high = curve.band() or (curve.value, curve.value)
    core = torch.cat([curve.value, points])
    bottom, top = float(core.min()), float(core.max())
    room = max(top - bottom, 1e-12 + 0.05 * abs(top))
    bottom, top = max(float(low.min()), bottom - room), min(float(high.max()), top + room)
    bottom, top = min(bottom, float(core.min())), max(top, float(core.max()))
    room = max(top - bottom, 1e-12 + 0.1 * abs(top))
    bottom = bottom - 0.08 * room
    axes.set_ylim(0.0 if curve.floor == 0.0 and bottom < 0.4 * room else bottom, top + 0.08 * room)


def draw_density(
    axes: Any, values: Tensor, density: StationaryDensity | None, simulated: Tensor | None, bounds: tuple[float, float]
) -> None:
    """A histogram with the stationary density and where 95 % of simulated records have their histogram.

    Args:
        axes: Where to draw.
        values: Observed states, (n,).
        density: The stationary density, if there is one.
        simulated: States of simulated records at as many times, (n', records).
        bounds: The domain of the state.
    """
    x = values.numpy()
    edges = _bin_edges(x, density, bounds)
    width = np.diff(edges)
    height = np.histogram(x, edges)[0] / len(x) / width
    axes.stairs(height, edges, fill=True, color=style.OBSERVED, alpha=0.35, label="observed")
    top, ceiling = float(height.max()), _HIGHEST * float(height.max())
    if simulated is not None:
        every = np.stack([np.histogram(record, edges)[0] for record in simulated.T.numpy()]) / len(simulated) / width
        least, most = np.quantile(every, [0.025, 0.975], axis=0)
        axes.stairs(
            most, edges, baseline=least, fill=True, color=style.SIMULATED, alpha=0.18, linewidth=0,
            label="95 % of simulated records",
        )  # fmt: skip
        if density is None:
            axes.stairs(every.mean(0), edges, color=style.SIMULATED, linewidth=1.6, label="their mean")
        top = max(top, float(most.max()))
    if density is not None:
        axes.plot(density.x.numpy(), density.pdf.numpy(), color=style.FITTED, linewidth=2.0, label="stationary density")
        inside = (density.x >= edges[0]) & (density.x <= edges[-1])
        top = max(top, float(density.pdf[inside].max())) if bool(inside.any()) else top
    top = min(top, ceiling)  # a density may have a pole at a boundary
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0.0, 1.12 * top)
    axes.set_ylabel("density")


def _bin_edges(x: np.ndarray, density: StationaryDensity | None, bounds: tuple[float, float]) -> np.ndarray:
    """Equal bins that hold all observations, and go on where the stationary density or simulated records may."""
    low, high = float(x.min()), float(x.max())
    bins = int(np.clip(np.sqrt(len(x)), 12, 40))
    width = (high - low) / bins
    before = after = 2 * width
    if density is not None:
        before = np.clip(low - density.quantile(0.002), before, 0.5 * (high - low))
        after = np.clip(density.quantile(0.998) - high, after, 0.5 * (high - low))
    first, last = -int(np.ceil(before / width)), bins + int(np.ceil(after / width))
    edges = np.clip(low + width * np.arange(first, last + 1), *bounds)
    return edges[np.append(True, np.diff(edges) > 1e-9 * width)]


def draw_pit(axes: Any, pit: np.ndarray) -> None:
    """The histogram of PIT values over where 95 % of each bar would lie if they were uniform."""
    n = len(pit)
    bins = int(np.clip(n // 10, 5, 20))
    expected = n / bins
    low, high = (binom.ppf(level, n, 1.0 / bins) / expected for level in (0.025, 0.975))
    axes.axhspan(low, high, color=style.BAND, alpha=0.4, linewidth=0, label="95 % of bars if the model holds")
    axes.axhline(1.0, color=style.REFERENCE, linestyle="--", linewidth=1.2)
    height, edges = np.histogram(pit, bins, (0.0, 1.0))
    axes.stairs(height / expected, edges, fill=True, color=style.OBSERVED, alpha=0.4)
    axes.stairs(height / expected, edges, color=style.OBSERVED, linewidth=1.2)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.25 * max(float(height.max()) / expected, high))
    axes.set_xlabel("PIT, P(X ≤ observed | one step before)")
    axes.set_ylabel("relative frequency")
    legend_above(axes)


def draw_quantiles(axes: Any, residuals: np.ndarray, label: str) -> None:
    """Ordered residuals against normal quantiles, with the pointwise 95 % band of a normal sample."""
    ordered = np.sort(residuals[np.isfinite(residuals)])
    n = len(ordered)
    # The k-th of n uniform values is Beta(k, n + 1 - k); many points are thinned, the tails are kept.
    k = np.arange(1, n + 1)
    if n > _MANY:
        k = np.unique(np.concatenate([k[:200], np.linspace(200, n - 200, 400).astype(int), k[-200:]]))
    from scipy.stats import beta

    theory = norm.ppf((k - 0.5) / n)
    low, high = (norm.ppf(beta.ppf(level, k, n + 1 - k)) for level in (0.025, 0.975))
    axes.fill_between(theory, low, high, color=style.BAND, alpha=0.45, linewidth=0, label="95 % if normal")
    axes.plot(theory, theory, color=style.REFERENCE, linestyle="--", linewidth=1.2)
    axes.plot(theory, ordered[k - 1], "o", markersize=2.4, color=style.OBSERVED, label=label)
    axes.set_xlabel("normal quantile")
    axes.set_ylabel("residual")
    legend_above(axes)


def draw_residuals(axes: Any, data: Trajectories, times: np.ndarray, residuals: np.ndarray) -> None:
    """Residuals on the normal scale against time."""
    axes.axhspan(-1.96, 1.96, color=style.BAND, alpha=0.35, linewidth=0)
    axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
    axes.plot(
        _moments(data, times), residuals, "o", markersize=3.0 if len(times) < _MANY else 1.2, color=style.OBSERVED,
        rasterized=len(times) >= _MANY,
    )  # fmt: skip
    axes.set_ylabel("residual")
    reach = 1.15 * max(3.0, float(np.nanmax(np.abs(residuals))))
    axes.set_ylim(-reach, reach)


def draw_autocorrelation(
    axes: Any, lags: Tensor, observed: Tensor, band: tuple[Tensor, Tensor, Tensor] | None, unit: str
) -> None:
    """One state's observed autocorrelation against the band of simulated records, all (m,)."""
    lag = lags.numpy()
    axes.axhline(0.0, color=style.MUTED, linewidth=0.8)
    if band is not None:
        low, middle, high = (part.numpy() for part in band)
        axes.fill_between(
            lag, low, high, color=style.SIMULATED, alpha=0.22, linewidth=0, label="95 % of simulated records"
        )
        axes.plot(lag, middle, color=style.SIMULATED, linewidth=1.4, label="their median")
    axes.plot(lag, observed.numpy(), "o-", markersize=2.8, linewidth=0.9, color=style.OBSERVED, label="observed")
    axes.set_xlabel(f"lag ({plain_label(plural(unit))})")
    axes.set_ylabel("autocorrelation")
    axes.set_xlim(0.0, float(lag[-1]))
    legend_above(axes)


def draw_phase_plane(axes: Any, data: Trajectories, x: Tensor, y: Tensor, drift: Tensor) -> None:
    """Two states over the streamlines of the fitted drift, (ny, nx, 2) on the grid x (nx,), y (ny,)."""
    for path in data.values:
        many = len(path) > _MANY
        axes.plot(*path.T.numpy(), color=style.OBSERVED, linewidth=0.8, alpha=0.8, rasterized=many, zorder=3)
    draw_streamlines(axes, x, y, drift)
    axes.set_xlabel(plain_label(data.names[0]))
    axes.set_ylabel(plain_label(data.names[1]))


def draw_streamlines(axes: Any, x: Tensor, y: Tensor, drift: Tensor) -> None:
    """Streamlines of (ny, nx, 2) on the grid x (nx,), y (ny,), which becomes what is in view."""
    speed = torch.hypot(drift[..., 0] / (x[-1] - x[0]), drift[..., 1] / (y[-1] - y[0]))
    width = (0.3 + 1.0 * (speed / speed.max().clamp_min(1e-300)).sqrt()).numpy()
    axes.streamplot(
        x.numpy(), y.numpy(), drift[..., 0].numpy(), drift[..., 1].numpy(), color=style.FITTED, linewidth=width,
        density=1.1, arrowsize=0.8,
    )  # fmt: skip
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(float(y[0]), float(y[-1]))


def thinned_line(t: np.ndarray, x: np.ndarray, columns: int = _COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """A long line as the lowest and highest point of each of `columns` stretches, in their order: it looks the same."""
    if len(t) <= 3 * columns:
        return t, x
    parts = np.array_split(np.arange(len(t)), columns)
    kept = [np.unique([part[0], part[x[part].argmin()], part[x[part].argmax()]]) for part in parts]
    chosen = np.concatenate([*kept, [len(t) - 1]])
    return t[chosen], x[chosen]


def _dated(data: Trajectories) -> bool:
    """Whether time is shown as dates: known, and within the years that calendars and matplotlib have."""
    if data.origin is None or data.time_unit not in SECONDS:
        return False
    last = max(float(t[-1]) for t in data.times)
    seconds = SECONDS[data.time_unit]
    first_year = int(str(data.origin)[:4]) if str(data.origin)[:4].isdigit() else 0
    return first_year > 1 and first_year + 3.0 * last * seconds / SECONDS["year"] < 9000


def _moments(data: Trajectories, times: np.ndarray) -> np.ndarray:
    return calendar(times, data.time_unit, str(data.origin)) if _dated(data) else times
