"""Every section runs, at sizes that say nothing about quality."""

from pathlib import Path

import pytest

from benchmarks import catalogue
from benchmarks.runner import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(False, False, 1, 1, 1, tmp_path, tmp_path / "cache", "python", "stamp", quick=True)


SECTIONS = catalogue.benchmark("flows").SECTIONS


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "structure" else [pytest.mark.slow]) for name in SECTIONS]
)
def test_section(name: str, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("spheres", "toys", "trace", "digits", "classifiers"):
        monkeypatch.setattr(f"benchmarks.flows.sections.{module}.run_tasks", _in_turn)
    rows = catalogue.section("flows", name).run(context)
    assert rows
    assert [row for row in rows if row.value == "failed"] == []


def _in_turn(context, name, function, tasks):
    """In this process: worker processes are tested elsewhere."""
    return [function(task) for task in tasks]
