"""Every section runs, at sizes that say nothing about speed, and finds every value right."""

from pathlib import Path

import pytest

from benchmarks import catalogue
from benchmarks.operators.sections import compile as compiling
from benchmarks.results import clean, markdown
from benchmarks.runner import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(False, False, 1, 1, 1, tmp_path, tmp_path / "cache", "python", "stamp", quick=True)


LONG = {"laplacian", "hollow", "compile", "choice"}
SECTIONS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
    for name in catalogue.benchmark("operators").SECTIONS
]


@pytest.mark.parametrize("name", SECTIONS)
def test_section(name: str, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.operators.sections.absolute.run_tasks", _in_turn)
    monkeypatch.setattr(compiling, "_operators", _some(compiling._operators))
    rows = catalogue.section("operators", name).run(context)
    assert rows
    assert [row for row in rows if row.value == "failed"] == []
    machine = {"cpu": "c", "cores": 2, "threads": 1, "load": 0.0, "torch": "2", "commit": None}
    part = {"title": name, "rows": clean(rows), "seconds": 1.0, "full": False, "machine": machine}
    assert markdown("operators", {name: part}).count("\n| ") == len(rows) + 1


def _in_turn(context, name, function, tasks):
    """In this process: worker processes are tested elsewhere."""
    return [function(task) for task in tasks]


def _some(operators):
    """A hollow, a dense and a compressed one: compiling all of them takes a minute."""
    wanted = ("divergence, hollow net", "laplacian, perceptron", "laplacian, narrow perceptron")
    return lambda *sizes: [entry for entry in operators(*sizes) if entry[0] in wanted]
