"""The result of a simulation: paths at the output times, and everything needed to repeat them."""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit.errors import DataError, InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMAT = "pdekit-simulation"
VERSION = "1.0"


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """Simulated paths.

    Args:
        times: Output times (T,), float64, in the time unit of the model's rates.
        values: States (T, paths, d).
        names: Names of the d states.
        seed: The seed that gives these paths again.
        scheme: The scheme, as it is written in code.
        dt: The longest step taken.
        boundary: The rule at the bounds of the domain.
        touched: Which paths that rule acted on (paths,), bool.
        status: `"success"`, or what to know about the run in one sentence.
    """

    times: Tensor
    values: Tensor
    names: tuple[str, ...]
    seed: int
    scheme: str
    dt: float
    boundary: str
    touched: Tensor
    status: str = "success"

    @property
    def paths(self) -> int:
        """The number of paths."""
        return self.values.shape[1]

    @property
    def dim(self) -> int:
        """The number of states."""
        return self.values.shape[2]

    def __repr__(self) -> str:
        start, end = float(self.times[0]), float(self.times[-1])
        touched = f", {int(self.touched.sum())} paths met the boundary ({self.boundary})" if self.touched.any() else ""
        return (
            f"Simulation({self.paths} paths of {', '.join(self.names)}, {len(self.times)} times from {start:g} to "
            f"{end:g}, scheme={self.scheme}, dt={self.dt:.4g}, seed={self.seed}{touched}, status={self.status!r})"
        )

    def to_dataframe(self) -> "pd.DataFrame":
        """The paths in long format: columns `path`, `time` and one per state; a row per path and time."""
        import pandas as pd

        count, paths, dim = self.values.shape
        rows = self.values.detach().cpu().transpose(0, 1).reshape(-1, dim).numpy()
        table = pd.DataFrame(rows, columns=list(self.names))
        table.insert(0, "time", self.times.repeat(paths).numpy())
        table.insert(0, "path", torch.arange(paths).repeat_interleave(count).numpy())
        return table

    def plot(self, *, sample_paths: int = 5) -> "Figure":
        """One panel per state: median, bands holding 50 % and 90 % of the paths at each time, and a few paths.

        Args:
            sample_paths: How many single paths to draw.

        Returns:
            A Matplotlib figure that belongs to no window; `.savefig(...)` writes it.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 2.6 * self.dim), layout="constrained")
        times, values = self.times.numpy(), self.values.detach().cpu().to(torch.float64)
        levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
        for i, axes in enumerate(figure.subplots(self.dim, 1, sharex=True, squeeze=False)[:, 0]):
            # One time after another: torch.quantile refuses inputs above 16 million values.
            low, lower, median, upper, high = torch.stack([row.quantile(levels) for row in values[..., i]]).T.numpy()
            if self.paths > 1:
                axes.fill_between(times, low, high, color="C0", alpha=0.15, linewidth=0, label="90 % of paths")
                axes.fill_between(times, lower, upper, color="C0", alpha=0.3, linewidth=0, label="50 %")
                axes.plot(times, median, color="C0", label="median")
            axes.plot(times, values[:, :sample_paths, i].numpy(), color="0.35", linewidth=0.6)
            axes.set_ylabel(self.names[i])
        axes.set_xlabel("time")
        if self.paths > 1:
            figure.axes[0].legend(frameon=False, loc="upper left", ncols=3)
        return figure

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with the rest as JSON in its header; an older file stays whole until then."""
        from safetensors.torch import save

        path = Path(path)
        about = {
            "format": FORMAT,
            "version": VERSION,
            "names": list(self.names),
            "seed": self.seed,
            "scheme": self.scheme,
            "dt": self.dt,
            "boundary": self.boundary,
            "status": self.status,
        }
        tensors = {"times": self.times, "values": self.values.detach().cpu(), "touched": self.touched.cpu()}
        content = save({k: v.contiguous() for k, v in tensors.items()}, {"simulation": json.dumps(about)})
        _write_whole(path, content)

    @classmethod
    def load(cls, path: str | Path) -> "Simulation":
        """Read what `save` wrote.

        Raises:
            DataError: If the file is not such a file, or was written by a later major version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(Path(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("simulation", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise InputError(f"No such file: {path}") from error
        except (SafetensorError, json.JSONDecodeError) as error:
            raise DataError(f"{path} is not a saved simulation: {error}") from error
        if about.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not a saved simulation: its header has no {FORMAT} entry.")
        version = str(about.pop("version", ""))
        if version.split(".")[0] != VERSION.split(".")[0]:
            raise DataError(f"{path} has format version {version}; this pdekit reads {VERSION}. Use a newer pdekit.")
        found: dict[str, Any] = about | tensors
        expected = [f.name for f in fields(cls)]
        # A later minor version may add entries; none may be missing.
        if missing := [name for name in expected if name not in found]:
            raise DataError(f"{path} is incomplete: {', '.join(missing)} missing.")
        found["names"] = tuple(found["names"])
        return cls(**{name: found[name] for name in expected})


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside the target and move into place, so that no reader ever sees half a file."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content)
        os.replace(scratch, path)
    except OSError as error:
        raise InputError(f"Can't write {path}: {error.strerror}.") from error
    finally:
        scratch.unlink(missing_ok=True)
