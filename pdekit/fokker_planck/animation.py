"""A solution as a film: one frame for each time."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdekit.errors import InputError, UnsupportedError
from pdekit.fokker_planck.picture import ceiling, color_bar, color_scale, draw_map, labels, lines, sampled, values_on

if TYPE_CHECKING:
    from pdekit.fokker_planck.solution import DensitySolution

_DPI = 100
_FINE, _COARSE = {1: 401, 2: 121}, 49


def film(solution: "DensitySolution", path: Any, fps: float) -> None:
    """See `DensitySolution.animate`."""
    _check(solution, path, fps)
    from matplotlib.animation import PillowWriter

    from pdekit.report.style import new_figure

    dim = solution.densities[0].dim
    axes = lines(solution, _COARSE if dim == 2 and sampled(solution.densities[0]) else _FINE[dim])
    frames = [values_on(density, axes) for density in solution.densities]
    figure, panel = new_figure()
    figure.set_facecolor("white")  # frames lie on top of one another
    writer = PillowWriter(fps=fps)  # type: ignore[arg-type] - Pillow takes any
    draw = _line if dim == 1 else _map
    with writer.saving(figure, str(path), _DPI):
        for t, p in zip(solution.times, frames, strict=True):  # type: ignore[arg-type] - there are times
            panel.clear()
            draw(solution, panel, axes, p, frames)
            panel.set_title(f"t = {t:.4g}")
            writer.grab_frame()


def _line(solution: "DensitySolution", panel: Any, axes: list[np.ndarray], p: np.ndarray, all_p: list) -> None:
    from pdekit.report.style import BAND, FITTED

    (x,), (name,) = axes, labels(solution)
    panel.fill_between(x, p, color=BAND, alpha=0.4, linewidth=0)
    panel.plot(x, p, color=FITTED)
    top = max(ceiling(frame) for frame in all_p)
    panel.set(xlabel=name, ylabel=f"density p({name})", xlim=(x[0], x[-1]), ylim=(0, 1.06 * top))


def _map(solution: "DensitySolution", panel: Any, axes: list[np.ndarray], p: np.ndarray, all_p: list) -> None:
    names = labels(solution)
    draw_map(panel, axes, p, color_scale(all_p))
    panel.set(xlabel=names[0], ylabel=names[1])
    if len(panel.figure.axes) == 1:
        color_bar(panel, panel, f"density p({names[0]}, {names[1]})")


def _check(solution: "DensitySolution", path: Any, fps: float) -> None:
    if solution.times is None:
        raise InputError("A stationary law does not move: use plot().")
    if len(solution.times) < 2:
        raise InputError("A film needs two times or more: solve for more of them.")
    if solution.densities[0].dim > 2:
        raise UnsupportedError(
            f"Films are made of one or two states, this solution has {solution.densities[0].dim}: plot() draws pairs."
        )
    if not isinstance(path, str | os.PathLike) or Path(path).suffix.lower() != ".gif":
        raise InputError(f"path must name a .gif file, got {path!r}.")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"Can't write {path}: there is no folder {Path(path).parent}. Make it first.")
    if not 0 < fps <= 50:
        raise InputError(f"fps must be above 0 and at most 50, got {fps!r}.")


__all__ = ["film"]
