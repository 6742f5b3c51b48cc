"""Sections that fail, and which stored ones are kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import catalogue, section
from benchmarks.results import Row
from benchmarks.runner import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(False, True, None, 1, 1, tmp_path, tmp_path / "cache", "python", "stamp")


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_section_has_its_module(name: str) -> None:
    folder = Path(str(catalogue.benchmark(name).__file__)).parent / "sections"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(catalogue.benchmark(name).SECTIONS)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_code_that_decides_exists(name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    assert [part for part in catalogue.benchmark(name).CODE if not (root / part).exists()] == []


def test_a_section_that_raises_misses_its_targets(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    found = section.run_alone("fitting", "no_such_section", context)
    (row,) = found["rows"]
    assert row["reached"] is False
    assert "no_such_section" in row["detail"]
    assert "Traceback" in capsys.readouterr().err


def test_a_stored_section_is_kept_only_for_the_same_code_and_settings(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = SimpleNamespace(TITLE="A section", run=lambda _: [Row("a", 1.0)])
    monkeypatch.setattr(catalogue, "section", lambda *_: part)
    stored = section.run("fitting", "a", context)
    assert section.is_current(stored, context)
    assert not section.is_current(None, context)
    monkeypatch.setattr("benchmarks.environment.fingerprint", lambda _: "other code")
    assert not section.is_current(stored, context)
