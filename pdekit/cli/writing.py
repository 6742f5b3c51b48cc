"""Simulated paths as files that `pdekit fit` reads again."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdekit.simulation import Simulation

PATH_FILES = (".csv", ".parquet", ".npz")
PLOT_FILES = (".png", ".svg", ".pdf")


def write_paths(run: "Simulation", path: Path) -> None:
    """Writes all paths: CSV or Parquet in long format (path, time, states), NPZ as t (T,) and x (T, paths, d)."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        import numpy as np

        np.savez(path, t=run.times.numpy(), x=run.values.detach().cpu().numpy())
    elif suffix == ".parquet":
        run.to_dataframe().to_parquet(path, index=False)
    else:
        run.to_dataframe().to_csv(path, index=False, lineterminator="\n")
