"""README and docs say what the code does: their Python runs, their commands run, their links lead somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pdekit as pk

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON_PAGES = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]
PDEKIT = [sys.executable, "-c", "import sys; from pdekit.cli import main; sys.exit(main())"]  # what the script does
CONSOLE_PAGES = [page for page in PAGES if "```console\n" in page.read_text(encoding="utf-8")]


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of one language: the line that each begins on, and its text."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in, with the example data where the pages look for it."""
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=named)
def test_python_blocks_run_in_order(page, folder):
    space = {"__name__": "page"}
    for line, text in blocks(page, "python"):
        # The blank lines make a traceback point at the line of the page.
        exec(compile("\n" * (line - 1) + text, page, "exec"), space)  # noqa: S102


@pytest.mark.parametrize("page", CONSOLE_PAGES, ids=named)
def test_commands_run_in_order(page, folder):
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    for line, text in blocks(page, "console"):
        # A line that ends in a backslash goes on in the next; lines without a prompt show output.
        for command in re.findall(r"^\$ (pdekit .*)$", text.replace("\\\n", " "), flags=re.MULTILINE):
            words = [*PDEKIT, *shlex.split(command, comments=True)[1:]]
            done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, f"{named(page)}, block at line {line}: {command}\n{done.stdout}{done.stderr}"


def model_row(name: str, model: pk.SymbolicSDE) -> str:
    """The line of docs/models.md that belongs to a model of the catalogue."""
    entries = model.diffusion if isinstance(model.diffusion, tuple) else model.diffusion.tolist()
    drift, diffusion = (", ".join(map(str, part)) for part in (model.drift, entries))
    return f"| `{name}` | {model.description} | `{drift}` | `{diffusion}` |"


@pytest.mark.parametrize("name", pk.models.catalogue())
def test_the_table_of_models_is_the_catalogue(name):
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    assert model_row(name, pk.models.get(name)) in lines


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_begins_with_the_two_commands():
    _, text = blocks(ROOT / "README.md", "sh")[0]
    commands = [line.split("#")[0].strip() for line in text.splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_continuous_integration_runs_the_test_command():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "make test"
