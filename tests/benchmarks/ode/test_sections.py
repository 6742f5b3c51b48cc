"""Every section runs, at sizes that say nothing about speed."""

from pathlib import Path

import pytest

from benchmarks import catalogue
from benchmarks.results import clean, markdown
from benchmarks.runner import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(False, False, 1, 1, 1, tmp_path, tmp_path / "cache", "python", "stamp", quick=True)


SHORT = {"stiff", "brusselator", "sensitivity"}
SECTIONS = [
    pytest.param(name, marks=[] if name in SHORT else [pytest.mark.slow])
    for name in catalogue.benchmark("ode").SECTIONS
]


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.filterwarnings("ignore")  # of peers
def test_section(name: str, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sections.stiff", "sections.rejections", "race"):
        monkeypatch.setattr(f"benchmarks.ode.{module}.run_tasks", _in_turn)
    rows = catalogue.section("ode", name).run(context)
    assert rows
    assert [row for row in rows if row.value == "failed"] == []
    machine = {"cpu": "c", "cores": 2, "threads": 1, "load": 0.0, "torch": "2", "commit": None}
    part = {"title": name, "rows": clean(rows), "seconds": 1.0, "full": False, "machine": machine}
    assert markdown("ode", {name: part}).count("\n| ") == len(rows) + 1


def _in_turn(context, name, function, tasks):
    """In this process: worker processes are tested elsewhere."""
    return [function(task) for task in tasks]
