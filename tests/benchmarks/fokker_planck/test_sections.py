"""Every section runs, at sizes that say nothing about speed."""

import sys
from pathlib import Path

import pytest

from benchmarks import catalogue
from benchmarks.runner import Context

SECTIONS = [
    pytest.param(name, marks=[pytest.mark.slow] if name != "exits" else [])
    for name in catalogue.benchmark("fokker_planck").SECTIONS
]


@pytest.mark.parametrize("name", SECTIONS)
def test_section(name: str, tmp_path: Path) -> None:
    context = Context(False, False, 1, 1, 1, tmp_path, tmp_path / "cache", sys.executable, "stamp", quick=True)
    rows = catalogue.section("fokker_planck", name).run(context)
    assert rows
    assert all(isinstance(row.value, float) or row.value == "absent" for row in rows)
