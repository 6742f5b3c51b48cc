"""Where simulated paths are, time by time."""

from typing import TYPE_CHECKING, Any

import torch

from pdekit.data.times import calendar, iso_text, plural
from pdekit.report import Table, render_table

if TYPE_CHECKING:
    from pdekit.simulation import Simulation

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_ROWS = 11


def quantile_document(run: "Simulation") -> dict[str, Any]:
    """Quantiles at about ten times, by state and level."""
    rows = _chosen(run)
    found = _quantiles(run, rows)
    return {
        "times": run.times[rows].tolist(),
        "quantiles": {
            name: {f"{level:g}": found[:, i, k].tolist() for k, level in enumerate(LEVELS)}
            for i, name in enumerate(run.names)
        },
    }


def quantile_tables(run: "Simulation", unit: str, origin: str | None, *, width: int) -> list[str]:
    """One table per state, a row per time, for the terminal."""
    rows = _chosen(run)
    found = _quantiles(run, rows)
    if origin is None:
        head, labels = f"time ({plural(unit)})", [f"{float(t):.6g}" for t in run.times[rows]]
    else:
        days = calendar(run.times[rows].numpy(), unit, origin).astype("datetime64[s]")
        head, labels = "date", [iso_text(day) for day in days]
    columns = (head, *(f"{100 * level:g} %" for level in LEVELS))
    tables = []
    for i, name in enumerate(run.names):
        cells = tuple((label, *(f"{float(q):.5g}" for q in row[i])) for label, row in zip(labels, found, strict=True))
        title = f"Quantiles of {name}, {run.paths:,} simulated paths"
        tables.append(render_table(Table(title, columns, cells), width=width))
    return tables


def _chosen(run: "Simulation") -> torch.Tensor:
    """The first, the last and some times between, evenly spaced in number."""
    return torch.linspace(0, len(run.times) - 1, min(_ROWS, len(run.times))).round().long()


def _quantiles(run: "Simulation", rows: torch.Tensor) -> torch.Tensor:
    """(rows, d, levels)."""
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    values = run.values.detach().cpu()[rows].to(torch.float64)
    # One time after another: torch.quantile refuses very large inputs.
    return torch.stack([at.quantile(levels, dim=0).T for at in values])
