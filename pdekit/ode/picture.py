"""A solution as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdekit.errors import InputError
from pdekit.ode.numbers_given import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pdekit.ode.solution import Solution

_FEW = 40  # output times that are marked
_FINE = 400  # points of a curve at least,
_FINEST = 4  # and in each step
_EVENT_MARKERS = "oDsv^P*"


def picture(solution: "Solution", samples: int | Sequence[int], components: int | Sequence[int]) -> "Figure":
    """The components over time, one panel each.

    Raises:
        InputError: If there are no such samples or components.
    """
    from matplotlib.figure import Figure

    rows = _chosen(samples, solution.status.size, "samples")
    columns = _chosen(components, solution.y.shape[-1], "components")
    figure = Figure(figsize=(8, 1.2 + 1.6 * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(panels, columns, strict=True):
        for number, row in enumerate(rows):
            _draw_sample(axes, solution, row, column, f"C{number % 10}", _label(solution, row))
        _draw_events(axes, solution, rows, column)
        _draw_ends(axes, solution, rows, column)
        axes.set_ylabel(f"y{column + 1}")
    panels[-1].set_xlabel("t")
    handles, labels = panels[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _chosen(given: Any, there: int, name: str) -> list[int]:
    """The first ones, or those that were named."""
    if not isinstance(given, Sequence | np.ndarray):
        if there == 0:
            raise InputError(f"There are no {name} to plot.")
        return list(range(min(whole(given, f"{name}, where it is no list of indices,"), there)))
    found = [whole(i, f"each of {name}", 0) for i in given]
    if not found or max(found) >= there:
        raise InputError(f"{name} must be a number of them or a list of indices from 0 to {there - 1}, got {given!r}.")
    return found


def _label(solution: "Solution", row: int) -> str:
    if solution.status.size == 1:
        return "_"  # Matplotlib leaves it out of the legend
    return f"sample {', '.join(str(i) for i in np.unravel_index(row, solution.status.shape))}"


def _outputs(solution: "Solution", row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """The output times of a sample that it got to, and the component there."""
    t = solution.t.detach().cpu().double().numpy().reshape(len(solution.t), -1)
    y = solution.y.detach().cpu().double().numpy().reshape(len(t), -1, solution.y.shape[-1])[:, row, column]
    there = np.isfinite(y)
    return t[there, row if t.shape[1] > 1 else 0], y[there]


def _curve(solution: "Solution", row: int, column: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The component between the output times as well if that is known, in the order of integration."""
    if solution.interpolant is None:
        return None
    ends = solution.interpolant.ends(row)
    if not len(ends):
        return None
    parts = max(_FINEST, -(-_FINE // (len(ends) - 1)))
    times = np.append(ends[:-1, None] + np.diff(ends)[:, None] * np.arange(parts) / parts, ends[-1])
    states = solution.interpolant(np.full(len(times), row), times)[:, column]
    return times, states.detach().cpu().double().numpy()


def _draw_sample(axes: "Axes", solution: "Solution", row: int, column: int, color: str, label: str) -> None:
    t, y = _outputs(solution, row, column)
    marker = "." if len(t) <= _FEW else ""
    curve = _curve(solution, row, column)
    if curve is None:
        axes.plot(t, y, linewidth=1, color=color, label=label, marker=marker)
    else:
        axes.plot(*curve, linewidth=1, color=color, label=label)
        axes.plot(t, y, linestyle="", color=color, marker=marker)


def _draw_events(axes: "Axes", solution: "Solution", rows: list[int], column: int) -> None:
    for k, event in enumerate(solution.events):
        shown = np.isin(event.sample, rows)
        if not shown.any():
            continue
        t, y = (x.detach().cpu().double().numpy()[shown] for x in (event.t, event.y[:, column]))
        marker = _EVENT_MARKERS[k % len(_EVENT_MARKERS)]
        axes.plot(t, y, marker, color="k", fillstyle="none", label=f"event {k}")


def _draw_ends(axes: "Axes", solution: "Solution", rows: list[int], column: int) -> None:
    """Marks the last known state of samples that did not arrive."""
    status = solution.status.ravel()
    for name in dict.fromkeys(str(status[row]) for row in rows):
        if name == "success" or (name == "event" and solution.events):  # which has a marker of its own
            continue
        known = [_curve(solution, r, column) or _outputs(solution, r, column) for r in rows if status[r] == name]
        ends = [(t[-1], y[-1]) for t, y in known]
        axes.plot(*zip(*ends, strict=True), "x", color="C3", markersize=8, label=f"ends: {name}")


__all__ = ["picture"]
