"""Trials: errors under the true law, failures told as such, outcomes kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.fokker_planck import trials
from benchmarks.fokker_planck.problems import mixture
from benchmarks.fokker_planck.trials import Trial
from benchmarks.results import Row
from benchmarks.runner import Context
from pdekit import fokker_planck
from pdekit.errors import NumericalError
from pdekit.fokker_planck import DensitySolution, Training
from pdekit.fokker_planck.moment_closure import Gaussian

OFF = 0.05
TRAINING = Training(steps=7, batch=11)


@dataclass(frozen=True)
class Told:
    """The exact law times exp(OFF)."""

    progress: Any = None
    paths: int = 10
    training: Training = TRAINING
    fails: bool = False

    def solve(self, problem: Any, times: np.ndarray) -> DensitySolution:
        if self.fails:
            raise NumericalError("The training diverged.")
        unit = SimpleNamespace(value=1.0001, stderr=2e-4)
        deviation = SimpleNamespace(rms=0.06, stderr=0.01, trusted=True, scatter=0.1)
        law = lambda x: torch.as_tensor(mixture(3).log_p(x)) + OFF  # noqa: E731
        density = SimpleNamespace(log_pdf=law, unit=unit, deviation=deviation, error=0.08, mass=1.0001)
        return DensitySolution(problem, "Told()", times, [density], {"loss": 1.0})  # type: ignore[list-item]


def _rows(trial: Trial, folder: Path, monkeypatch: pytest.MonkeyPatch, resume: bool = False) -> list[Row]:
    monkeypatch.setattr(fokker_planck, "Told", Told, raising=False)
    context = Context(True, resume, None, 1, 1, folder, folder, "python", "stamp")
    case = replace(mixture(3), problem=SimpleNamespace(solve=lambda t, m: m.solve(None, np.array(t))))
    monkeypatch.setattr(trials, "moved_closure", lambda problem, times: [Gaussian(np.zeros(3), np.eye(3))])
    return trials.judged(lambda: case, "modes", "rms", (trial,), context, "trials")


def _row(rows: list[Row], end: str) -> Row:
    return next(row for row in rows if row.metric.endswith(end))


def test_measures_and_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows(Trial("Told", {"paths": 20, "steps": 9}, 0.1, 10.0, mass=True), tmp_path, monkeypatch)
    error = _row(rows, "Told: rms error of log p")
    assert error.value == pytest.approx(OFF)
    assert error.reached
    assert "KL -0.05" in error.detail
    assert "Told(paths=20, steps=9)" in error.detail
    assert _row(rows, "time").reached
    mass = _row(rows, "mass off one by")
    assert mass.reached
    assert mass.value == pytest.approx(1e-4)
    assert "1.00010 +- 0.0002 by its own estimate" in mass.detail
    assert _row(rows, "over its error").value == pytest.approx(0.06 / OFF)
    assert len([row for row in rows if "normal law" in row.metric]) == 2


def test_failure_is_a_missed_target_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _rows(Trial("Told", {"fails": True}, 0.1), tmp_path, monkeypatch)[-1]
    assert (row.value, row.reached) == ("failed", False)
    assert "NumericalError: The training diverged." in row.detail
    assert _rows(Trial("Told", {"fails": True}), tmp_path, monkeypatch)[-1].reached is None


def test_absent_method_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _rows(Trial("Nowhere", {}, 0.1), tmp_path, monkeypatch)[-1]
    assert (row.value, row.reached) == ("absent", None)


def test_outcomes_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("Told", {}, 0.1)
    first = _rows(trial, tmp_path, monkeypatch)
    monkeypatch.setattr(trials, "measured", lambda *arguments: pytest.fail("measured again"))
    assert _rows(trial, tmp_path, monkeypatch, resume=True) == first


def test_steps_leave_the_other_options_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fokker_planck, "Told", Told, raising=False)
    assert Trial("Told", {"steps": 9}).build(lambda what, share: None).training == Training(steps=9, batch=11)
