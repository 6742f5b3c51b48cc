"""A solution as a picture: curves in one dimension, maps in two, maps of pairs in more."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from pdekit.fokker_planck.quantiles import reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pdekit.fokker_planck.density import Density
    from pdekit.fokker_planck.marginal import Marginal
    from pdekit.fokker_planck.solution import DensitySolution

_LABELLED = 8  # curves
_PANELS = 6
_FINE = {1: 601, 2: 161}
_COARSE = 61  # points along each axis where a density is a sum over many samples
_EDGE = 0.01  # share of an axis next to a side, where a density may have a pole
_POLE = 3.0  # times the greatest value elsewhere: where a pole is cut off
_FAINT = 2e-4  # share of the mass that may lie beyond the picture at each end
_MARGIN = 0.08
_VISIBLE = 0.01  # relative error that can be seen
_RATIO = 30.0  # between the peaks of two times: beyond it, colors are logarithmic
_DECADES = 1e-4
_ALIKE = 1.5
_ARROWS = 17  # along each axis
_SHOWN = 0.02  # of the peak: where the current is drawn
_COLORS = "viridis"
_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def draw(solution: "DensitySolution") -> "Figure":
    """See `DensitySolution.plot`."""
    dim = solution.densities[0].dim
    return _curves(solution) if dim == 1 else _maps(solution) if dim == 2 else _pairs(solution)


def labels(solution: "DensitySolution") -> list[str]:
    """The names of the states, as text on axes."""
    from pdekit.report.style import plain_label

    return [plain_label(name) for name in solution.problem.sde.names]


def lines(solution: "DensitySolution", count: int) -> list[np.ndarray]:
    """Values along each axis between which the densities at all times are visible."""
    domain, found = solution.problem.domain, []
    quadratures = [density.quadrature() for density in solution.densities]
    for i in range(domain.dim):
        ends = [reach(q.states[:, i], q.weights, _FAINT) for q in quadratures]
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        if domain.periodic(i):
            found.append(np.linspace(domain.lower[i], domain.upper[i], count))
            continue
        margin = _MARGIN * (high - low)
        # An end that comes into sight is drawn whole.
        low, high = max(low - margin, domain.lower[i]), min(high + margin, domain.upper[i])
        found.append(np.linspace(low, high, count))
    return found


def values_on(density: "Density", axes: list[np.ndarray]) -> np.ndarray:
    """p on a tensor grid, (n_1, ..., n_d); NaN where it is not finite, as at a pole."""
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    with np.errstate(over="ignore"):
        p = np.exp(density.log_values(x.reshape(-1, len(axes)))).reshape(x.shape[:-1])
    return np.where(np.isfinite(p), p, np.nan)


def ceiling(p: np.ndarray) -> float:
    """The top of an axis for p: its greatest value, but a pole at a side is cut off."""
    strips = tuple(slice(int(np.ceil(_EDGE * n)), n - int(np.ceil(_EDGE * n))) for n in p.shape)
    return float(min(np.nanmax(p), _POLE * np.nanmax(p[strips])))


def _chosen(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _when(solution: "DensitySolution", k: int) -> str:
    return "stationary" if solution.times is None else f"t = {solution.times[k]:.4g}"


def _curves(solution: "DensitySolution") -> "Figure":
    from matplotlib import colormaps

    from pdekit.report.style import FITTED, add_legend, new_figure

    figure, axes = new_figure()
    (x,) = lines(solution, _FINE[1])
    chosen, banded, tops = _chosen(len(solution.densities), _LABELLED), False, []
    colors = colormaps[_COLORS](np.linspace(0.0, 0.88, len(chosen))) if len(chosen) > 1 else [FITTED]
    for k, color in zip(chosen, colors, strict=True):
        density = solution.densities[k]
        p = values_on(density, [x])
        tops.append(ceiling(p))
        error = density.error or 0.0
        if error > _VISIBLE:
            # The error is known as a norm only; a band in proportion to p has this norm.
            axes.fill_between(x, p * max(0.0, 1 - error), p * (1 + error), color=color, alpha=0.25, linewidth=0)
            banded = True
        axes.plot(x, p, color=color, label=_when(solution, k))
    (name,) = labels(solution)
    axes.set(xlabel=name, ylabel=f"density p({name})", xlim=(x[0], x[-1]), ylim=(0, 1.06 * max(tops)))
    title = "shaded: estimated error" if banded else None
    add_legend(axes, title=title, title_fontsize=9, **({} if len(chosen) <= 3 else _outside()))
    return figure


def _outside() -> dict[str, Any]:
    return {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def _maps(solution: "DensitySolution") -> "Figure":
    from pdekit.report.style import new_figure

    chosen = _chosen(len(solution.densities), _PANELS)
    columns = 2 if len(chosen) == 4 else min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    shape: dict[str, Any] = {"nrows": rows, "ncols": columns, "wide": columns > 1, "height": 3.9 * rows}
    figure, panels = new_figure(**shape, sharex=True, sharey=True)
    panels = np.atleast_1d(panels).reshape(-1)
    axes = lines(solution, _COARSE if sampled(solution.densities[0]) else _FINE[2])
    maps = [values_on(solution.densities[k], axes) for k in chosen]
    norm = color_scale(maps)
    names = labels(solution)
    for number, (panel, k, p) in enumerate(zip(panels, chosen, maps, strict=False)):
        draw_map(panel, axes, p, norm)
        panel.set_title(_when(solution, int(k)))
        last = number + columns >= len(chosen)
        panel.set_xlabel(names[0] if last else "")
        panel.tick_params(labelbottom=last)
        if number % columns == 0:
            panel.set_ylabel(names[1])
    last = panels[len(chosen) - 1]
    if _current(last, solution, axes, maps[-1]):
        last.set_title(f"{last.get_title()}, arrows: probability current")
    for panel in panels[len(chosen) :]:
        panel.set_visible(False)
    color_bar(panels[0], list(panels), f"density p({names[0]}, {names[1]})")
    return figure


def sampled(density: "Density") -> bool:
    """Whether a density is known by samples of equal weight, and dear to evaluate."""
    weights = density.quadrature().weights
    return bool(np.ptp(weights) <= 1e-12 * weights.max())


def color_bar(panel: "Axes", around: Any, label: str = "") -> None:
    """The key to the colors of a map."""
    from pdekit.report.style import INK, MUTED

    bar: Any = panel.figure.colorbar(panel.collections[0], ax=around)
    bar.set_label(label, color=INK, size=9.5)
    bar.ax.tick_params(labelsize=9, colors=MUTED)
    bar.outline.set_visible(False)


def color_scale(maps: Sequence[np.ndarray]) -> Any:
    """One scale for all maps: logarithmic if peaks differ much."""
    from matplotlib.colors import LogNorm, Normalize

    peaks = [ceiling(p) for p in maps]
    if max(peaks) > _RATIO * min(peaks):
        return LogNorm(_DECADES * max(peaks), max(peaks), clip=True)
    return Normalize(0.0, max(peaks))


def draw_map(panel: "Axes", axes: list[np.ndarray], p: np.ndarray, norm: Any) -> None:
    """Colors, and lines at shares of the peak."""
    if _alike(axes):
        panel.set_aspect("equal")
    panel.pcolormesh(*axes, p.T, norm=norm, cmap=_COLORS, shading="gouraud", rasterized=True)
    panel.contour(
        *axes, p.T, levels=[level * ceiling(p) for level in _LEVELS], colors="white", linewidths=0.5, alpha=0.6
    )
    panel.grid(visible=False)


def _current(panel: "Axes", solution: "DensitySolution", axes: list[np.ndarray], p: np.ndarray) -> bool:
    """Arrows, if anything flows."""
    few = [np.linspace(line[0], line[-1], _ARROWS + 2)[1:-1] for line in axes]
    x = np.stack(np.meshgrid(*few, indexing="ij"), -1).reshape(-1, 2)
    density = solution.densities[-1]
    x = x[np.exp(density.log_values(x)) > _SHOWN * ceiling(p)]
    where = (x,) if solution.times is None else (float(solution.times[-1]), x)
    j = solution.current(*where).numpy()
    widths = np.array([line[-1] - line[0] for line in axes])
    length = np.linalg.norm(j / widths, axis=1)
    if not _flows(solution, x, j):
        return False
    # The longest arrow crosses one and a half steps, measured in shares of the axes, whose units may differ.
    shown = j * (1.5 / _ARROWS / length.max())
    options: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "pivot": "mid"}
    panel.quiver(*x.T, *shown.T, color="white", edgecolor="0.25", linewidth=0.25, width=0.005, minlength=0.0, **options)
    return True


def _alike(axes: list[np.ndarray]) -> bool:
    """Whether both states have about the same range: then a unit is as long along both."""
    widths = [line[-1] - line[0] for line in axes]
    return max(widths) <= _ALIKE * min(widths)


def _flows(solution: "DensitySolution", x: np.ndarray, j: np.ndarray) -> bool:
    """Whether the current is more than what errors leave: against p times the size of the drift."""
    import torch

    with torch.no_grad():
        t = solution.problem.t0 if solution.times is None else float(solution.times[-1])
        drift = solution.problem.sde.drift(t, torch.as_tensor(x)).numpy()
    p = np.exp(solution.densities[-1].log_values(x))[:, None]
    return bool(np.linalg.norm(j) > 1e-3 * np.linalg.norm(p * drift))


def _pairs(solution: "DensitySolution") -> "Figure":
    from pdekit.report.style import new_figure

    density, names = solution.densities[-1], labels(solution)
    pairs = list(combinations(range(density.dim), 2))[: 2 * _PANELS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, panels = new_figure(nrows=rows, ncols=columns, wide=True, height=3.9 * rows)
    panels = np.atleast_1d(panels).reshape(-1)
    found = [density.marginal(*pair) for pair in pairs]
    for panel, pair, table in zip(panels, pairs, found, strict=False):
        draw_marginal_on(panel, table, [names[i] for i in pair])
    panels[0].set_title(f"{panels[0].get_title()}, {_when(solution, len(solution.densities) - 1)}")
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    return figure


def draw_marginal(table: "Marginal", names: Sequence[str] | None) -> "Figure":
    """See `Marginal.plot`."""
    from pdekit.report.style import FITTED, new_figure, plain_label

    shown = [f"x{i + 1}" for i in table.states] if names is None else [plain_label(name) for name in names]
    figure, axes = new_figure()
    if len(table.nodes) == 2:
        draw_marginal_on(axes, table, shown)
    else:
        axes.plot(table.nodes[0], table.values, color=FITTED)
        axes.set(xlabel=shown[0], ylabel=f"density p({shown[0]})", ylim=(0, 1.06 * ceiling(table.values)))
    return figure


def draw_marginal_on(panel: "Axes", table: "Marginal", names: Sequence[str]) -> None:
    """The map of two states with a color bar of its own, cut to where its mass is."""
    axes = []
    for i, nodes in enumerate(table.nodes):
        profile = table.values.sum(axis=1 - i)
        seen = np.flatnonzero(np.cumsum(profile) / profile.sum() > _FAINT)[0]
        last = np.flatnonzero(np.cumsum(profile[::-1]) / profile.sum() > _FAINT)[0]
        low, high = nodes[seen], nodes[len(nodes) - 1 - last]
        margin = _MARGIN * (high - low)
        axes.append(np.linspace(max(low - margin, nodes[0]), min(high + margin, nodes[-1]), _FINE[2]))
    p = table.pdf(np.stack(np.meshgrid(*axes, indexing="ij"), -1)).numpy()
    draw_map(panel, axes, p, color_scale([p]))
    panel.set(xlabel=names[0], ylabel=names[1], title=f"p({names[0]}, {names[1]})")
    color_bar(panel, panel)


__all__ = [
    "ceiling",
    "color_bar",
    "color_scale",
    "draw",
    "draw_map",
    "draw_marginal",
    "draw_marginal_on",
    "labels",
    "lines",
    "sampled",
    "values_on",
]
