"""How trajectories are shown: a few lines of text, a long data frame, a figure."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pdekit.data.table import unused
from pdekit.data.times import calendar, iso_text, plural

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

    from pdekit.data.trajectories import Trajectories


def headline(data: "Trajectories") -> str:
    """How much there is: "203 observations of rate, 1 path, 50.5 years"."""
    paths = "1 path" if data.n_paths == 1 else f"{data.n_paths:,} paths"
    duration = _long(data.duration, data.time_unit)
    return f"{data.n_observations:,} observations of {', '.join(data.names)}, {paths}, {duration}"


def describe(data: "Trajectories") -> str:
    """The headline, the period, the steps, the range of each component, and the notes."""
    start, end = min(float(t[0]) for t in data.times), max(float(t[-1]) for t in data.times)
    lines = [f"{headline(data)}, {_moment(data, start)} to {_moment(data, end)}", _steps(data)]
    states = torch.cat(data.values)
    for k, name in enumerate(data.names):
        x = states[:, k]
        lines.append(f"{name}: {float(x.min()):.6g} to {float(x.max()):.6g}, mean {float(x.mean()):.6g}")
    return "\n".join([*lines, *data.notes])


def _steps(data: "Trajectories") -> str:
    dt = data.pairs().dt
    shortest, median, longest = float(dt.min()), float(dt.median()), float(dt.max())
    if longest - shortest <= 1e-6 * median:
        return f"equal steps of {_long(median, data.time_unit)}"
    wide = int((dt > 1.5 * median).sum())
    gaps = f"{wide:,} of them over 1.5 times the median" if wide else "no gaps"
    return f"steps of {_number(shortest)} to {_long(longest, data.time_unit)} (median {_number(median)}), {gaps}"


def _moment(data: "Trajectories", t: float) -> str:
    return _number(t, 6) if data.origin is None else iso_text(calendar(np.array([t]), data.time_unit, data.origin)[0])


def _long(value: float, unit: str) -> str:
    return f"{_number(value)} {unit if value == 1 else plural(unit)}"


def _number(value: float, digits: int = 4) -> str:
    """Rounded to significant digits, without an exponent for ordinary sizes."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if 10**digits <= abs(rounded) < 1e12 else f"{rounded:.{digits}g}"


def to_dataframe(data: "Trajectories") -> "pandas.DataFrame":
    """Long format; underscores are added to id, time and date where a component has that name."""
    import pandas as pd

    t = torch.cat(data.times).numpy()
    counts = [len(part) for part in data.times]
    columns: dict[str, Any] = {unused("id", data.names): np.repeat(np.array(data.ids, dtype=object), counts)}
    columns[unused("time", data.names)] = t
    if data.origin is not None:
        columns[unused("date", data.names)] = calendar(t, data.time_unit, data.origin)
    states = torch.cat(data.values).numpy()
    return pd.DataFrame({**columns, **{name: states[:, k] for k, name in enumerate(data.names)}})


def plot(data: "Trajectories") -> "matplotlib.figure.Figure":
    """One panel per component, all paths in it; against dates where times come from dates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.2 + 1.8 * data.dim), layout="constrained")
    axes = figure.subplots(data.dim, 1, sharex=True, squeeze=False)[:, 0]
    for t, x in zip(data.times, data.values, strict=True):
        when = t.numpy() if data.origin is None else calendar(t.numpy(), data.time_unit, data.origin)
        for k, axis in enumerate(axes):
            axis.plot(when, x[:, k].numpy(), linewidth=0.8)
    for name, axis in zip(data.names, axes, strict=True):
        axis.set_ylabel(name)
    axes[-1].set_xlabel(f"time ({plural(data.time_unit)})" if data.origin is None else "date")
    return figure
