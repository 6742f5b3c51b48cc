"""The drift and noise that were learned from snapshots, drawn over the samples."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit.fitting.coefficients import Coefficients
from pdekit.fitting.display.panels import draw_streamlines
from pdekit.report import Figure, new_figure, plain_label, style

if TYPE_CHECKING:
    from pdekit.fitting.result import Fit

_MOST_STATES = 4
_POINTS, _PLANE = 161, 33
_SHOWN = 300  # samples of each snapshot
_RANGE = (0.005, 0.995)  # quantiles of the samples, beyond which little is known


def field_figures(fit: "Fit") -> tuple[Figure, ...]:
    """Drift and noise along each state, and the plane of two states."""
    figures = [_along(fit, i) for i in range(min(fit.model.dim, _MOST_STATES))]
    return (*figures, _plane(fit)) if fit.model.dim == 2 else tuple(figures)


def _along(fit: "Fit", i: int) -> Figure:
    states, both = fit.data.pooled()[0], Coefficients(fit.model)
    low, high = states[:, i].quantile(torch.tensor(_RANGE, dtype=states.dtype)).tolist()
    x = states.median(0).values.repeat(_POINTS, 1)
    x[:, i] = torch.linspace(low, high, _POINTS, dtype=x.dtype)
    time = _middle(fit)
    with torch.no_grad():
        curves = both.drift(time, x, fit.theta)[:, i], both.size(time, x, fit.theta, i)
    name, unit = plain_label(fit.data.names[i]), plain_label(fit.data.time_unit)
    canvas, axes = new_figure(ncols=2, wide=True, height=3.4)
    labels = (f"drift of {name} (per {unit})", f"diffusion g of {name} (per √{unit})")
    for ax, curve, label in zip(axes, curves, labels, strict=True):
        ax.plot(x[:, i].numpy(), curve.numpy(), color=style.FITTED, linewidth=2.0)
        ax.set_xlabel(name)
        ax.set_ylabel(label)
    axes[0].axhline(0.0, color=style.MUTED, linewidth=0.8)
    axes[1].set_ylim(0.0, 1.2 * float(curves[1].max()))
    others = " The other states are at their medians." if fit.model.dim > 1 else ""
    caption = f"What was learned, over the range of 99 % of the samples.{others} No band: see the flags."
    return Figure.from_matplotlib(canvas, f"Drift and noise of {fit.data.names[i]}", caption, wide=True)


def _plane(fit: "Fit") -> Figure:
    states, both = fit.data.pooled()[0], Coefficients(fit.model)
    low, high = states.amin(0).tolist(), states.amax(0).tolist()
    axes = [torch.linspace(low[i], high[i], _PLANE, dtype=states.dtype) for i in (0, 1)]
    y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
    with torch.no_grad():
        drift = both.drift(_middle(fit), torch.stack([x, y], -1).reshape(-1, 2), fit.theta).reshape(*x.shape, 2)
    canvas, ax = new_figure(wide=True, height=5.2)
    _scatter(ax, canvas, fit)
    draw_streamlines(ax, axes[0], axes[1], drift)
    ax.set_xlabel(plain_label(fit.data.names[0]))
    ax.set_ylabel(plain_label(fit.data.names[1]))
    caption = "Some samples of every snapshot, over the streamlines of the learned drift, thicker where it is fast."
    return Figure.from_matplotlib(canvas, "Phase plane", caption, wide=True)


def _scatter(ax: Any, canvas: Any, fit: "Fit") -> None:
    data: Any = fit.data
    parts: list[Tensor] = [x[:_SHOWN] for x in data.samples]
    times = torch.cat([t.expand(len(x)) for t, x in zip(data.times, parts, strict=True)])
    x = torch.cat(parts)
    drawn = ax.scatter(*x.T.numpy(), c=times.numpy(), s=4, cmap="cividis", alpha=0.6, linewidths=0, rasterized=True)
    canvas.colorbar(drawn, ax=ax, label=f"time ({plain_label(data.time_unit)})")


def _middle(fit: "Fit") -> float:
    return 0.5 * float(fit.data.times[0] + fit.data.times[-1])


__all__ = ["field_figures"]
