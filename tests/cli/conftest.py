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


def series_text(values, header: str = "t,x", step: float = 0.1) -> str:
    rows = "".join(f"{step * k:.6g},{value:.17g}\n" for k, value in enumerate(values))
    return f"{header}\n{rows}"


def linear_path(n: int, *, theta=1.0, mu=2.0, sigma=0.3, dt=0.1, seed=0) -> np.ndarray:
    """An exact Ornstein-Uhlenbeck path: its one-step law is normal, no simulator is needed."""
    noise = np.random.default_rng(seed).standard_normal(n)
    keep, spread = np.exp(-theta * dt), sigma * np.sqrt((1 - np.exp(-2 * theta * dt)) / (2 * theta))
    x = np.empty(n)
    x[0] = mu
    for k in range(1, n):
        x[k] = mu + (x[k - 1] - mu) * keep + spread * noise[k]
    return x


@pytest.fixture
def series(tmp_path) -> Path:
    """A clean file: columns t and x, 300 steps of .1 around 2."""
    path = tmp_path / "series.csv"
    path.write_text(series_text(linear_path(301)))
    return path
