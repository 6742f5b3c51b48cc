"""What `pdekit density` prints and writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pdekit.cli.arguments import number_list
from pdekit.cli.documents import versions
from pdekit.cli.screen import screen_width
from pdekit.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import numpy as np

    from pdekit.fokker_planck import DensitySolution

TABLE_FILES = (".csv", ".parquet")
_POINTS = {1: 401, 2: 101, 3: 41}  # of the table, along each axis
Points = Sequence[tuple[float, ...]]


def read_points(given: Sequence[str] | None, states: Sequence[str]) -> Points:
    """States from `--at`: for one state all numbers, for more one state each time.

    Raises:
        InputError: If one has another number of entries.
    """
    if len(states) == 1:
        return [(value,) for value in number_list(given, "--at")]
    found = [number_list([text], "--at") for text in given or ()]
    for point in found:
        if len(point) != len(states):
            raise InputError(f"--at takes one number for each of {', '.join(states)}, with commas; got {len(point)}.")
    return found


def density_document(solution: "DensitySolution", points: Points) -> dict[str, Any]:
    """For machines."""
    times = [None] if solution.times is None else solution.times.tolist()
    moments = [density.moments() for density in solution.densities]
    return {
        "states": list(solution.problem.sde.names),
        "domain": str(solution.problem.domain),
        "method": solution.method,
        "notes": {name: str(value) for name, value in solution.notes.items()},
        "times": times,
        "mass": solution.mass.tolist(),
        "mean": [m.mean.tolist() for m in moments],
        "covariance": [m.covariance.tolist() for m in moments],
        "error_estimate": solution.error_estimate.tolist(),
        "at": [{"state": list(point), "pdf": _pdf(solution, [point])[:, 0].tolist()} for point in points],
        "versions": versions(),
    }


def _pdf(solution: "DensitySolution", points: Points) -> "np.ndarray":
    """(times, points)."""
    import numpy as np

    return np.stack([density.pdf(np.array(points)).numpy() for density in solution.densities])


def print_tables(solution: "DensitySolution", points: Points) -> None:
    """For people: moments at each time, and the density where it was asked for."""
    import numpy as np

    from pdekit.report import Table, render_table

    names = solution.problem.sde.names
    labels = ["stationary"] if solution.times is None else [f"{t:.6g}" for t in solution.times]
    rows = []
    for label, density in zip(labels, solution.densities, strict=True):
        m = density.moments()
        pairs = zip(m.mean, np.sqrt(np.diag(m.covariance)), strict=True)
        error = "-" if density.error is None else f"{density.error:.1e}"
        rows.append((label, f"{density.mass:.6g}", *(f"{a:.5g} ± {b:.5g}" for a, b in pairs), error))
    heads = ("time", "mass", *(f"{name}, mean ± sd" for name in names), "error")
    note = f"{solution.method}. error: estimated, relative, in the L2 norm."
    typer.echo(render_table(Table("Probability density", heads, tuple(rows), note), width=screen_width()))
    if points:
        values = _pdf(solution, points)
        cells = tuple(
            (label, ", ".join(f"{v:g}" for v in point), f"{values[k, i]:.6g}")
            for k, label in enumerate(labels)
            for i, point in enumerate(points)
        )
        table = Table("", ("time", ", ".join(names), f"p({', '.join(names)})"), cells)
        typer.echo(render_table(table, width=screen_width()))


def write_table(solution: "DensitySolution", path: Path) -> None:
    """The density on a grid that shows all of it: columns t, the states, and density.

    Raises:
        UnsupportedError: In more than three dimensions.
    """
    import numpy as np
    import pandas as pd

    from pdekit.fokker_planck.picture import lines

    names = solution.problem.sde.names
    if len(names) > 3:
        raise UnsupportedError(f"--out writes tables of one to three states, not of {len(names)}; use --at.")
    axes = lines(solution, _POINTS[len(names)])
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    parts = []
    for k, density in enumerate(solution.densities):
        columns: dict[str, Any] = {} if solution.times is None else {"t": np.full(len(x), solution.times[k])}
        columns |= {name: x[:, i] for i, name in enumerate(names)}
        parts.append(pd.DataFrame(columns | {"density": np.exp(density.log_values(x))}))
    frame = pd.concat(parts, ignore_index=True)
    if path.suffix.lower() == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, lineterminator="\n")
