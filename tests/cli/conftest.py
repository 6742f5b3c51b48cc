"""Commands run in this process: `cli("fit", ...)` gives the exit code and what was printed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pdekit.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What stderr says, which must be one line."""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err.rstrip("\n")


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


def linear_path(n: int, *, theta=1.0, mu=2.0, sigma=0.3, dt=0.1, seed=0) -> np.ndarray:
    """An exact Ornstein-Uhlenbeck path: its one-step law is normal, no simulator is needed."""
    noise = np.random.default_rng(seed).standard_normal(n)
    keep, spread = np.exp(-theta * dt), sigma * np.sqrt((1 - np.exp(-2 * theta * dt)) / (2 * theta))
    x = np.empty(n)
    x[0] = mu
    for k in range(1, n):
        x[k] = mu + (x[k - 1] - mu) * keep + spread * noise[k]
    return x


def write_series(path: Path, n: int = 301, **options) -> np.ndarray:
    """A clean file with columns t (steps of .1) and x; returns x."""
    x = linear_path(n, **options)
    rows = "".join(f"{0.1 * k:.6g},{value:.17g}\n" for k, value in enumerate(x))
    path.write_text(f"t,x\n{rows}")
    return x


@pytest.fixture
def series(tmp_path) -> Path:
    path = tmp_path / "series.csv"
    write_series(path)
    return path


@pytest.fixture(scope="module")
def saved_fit(tmp_path_factory) -> Path:
    """A folder that `pdekit fit --out` left."""
    folder = tmp_path_factory.mktemp("saved")
    write_series(folder / "series.csv")
    assert main(["fit", str(folder / "series.csv"), "--model", "ou", "--out", str(folder / "fit"), "--quiet"]) == 0
    return folder / "fit"
