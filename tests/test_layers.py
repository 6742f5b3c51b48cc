"""Imports in pdekit run downward only, and heavy packages are imported where they are used.

Every file is read with `ast`, so imports inside functions and under TYPE_CHECKING count too.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1] / "pdekit"

# A component may import itself and every component of a lower level; components of one level don't know each other.
LEVEL = {
    "errors": 0,
    "threads": 0,
    "seeds": 0.5,
    "sde": 1,
    "data": 1,
    "report": 1,
    "operators": 2,
    "nets": 2,
    "symbolic": 2,
    "simulation": 3,
    "ode": 3,
    "checkpoint": 3.2,
    "training": 3.5,
    "flows": 4,
    "fokker_planck": 5,
    "testing": 5.5,  # shipped for users: sees everything below fitting, and `cli.verify_command` alone may import it
    "fitting": 6,
    "cli": 7,
    "__main__": 8,
}
HEAVY = {
    "pandas",
    "matplotlib",
    "pyarrow",
    "statsmodels",
    "hypothesis",
    "sklearn",
    "zuko",
}  # imported inside functions only
ADAPTER = {"torchsde": "pdekit.simulation.torchsde_adapter"}  # a third-party solver has one door


class Import(NamedTuple):
    """One imported name: where it stands, what it asks for, and when it runs."""

    module: str
    target: str
    line: int
    when: str  # "module", "function" or "typing"

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: imports {self.target}"


def module_names(root: Path) -> dict[str, Path]:
    """Every module below `root` by its dotted name."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(module: str, path: Path) -> Iterator[Import]:
    """The imports of one file; `from a import b` is asked for as `a.b`."""

    def walk(node: ast.AST, when: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = when
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inside = "function"
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inside = "typing"
            if isinstance(child, ast.Import):
                yield from (Import(module, alias.name, child.lineno, when) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                base = package.split(".")[: len(package.split(".")) + 1 - child.level] if child.level else []
                source = ".".join([*base, *([child.module] if child.module else [])])
                yield from (Import(module, f"{source}.{alias.name}", child.lineno, when) for alias in child.names)
            else:
                yield from walk(child, inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "module")


def component(name: str) -> str:
    """The part of the package that a dotted name belongs to: `pdekit.data.pairs` -> `data`."""
    return [*name.split("."), ""][1]


def complaint(item: Import) -> str | None:
    """What is wrong with one import, if anything."""
    package = item.target.split(".")[0]
    if package in HEAVY and item.when == "module" and component(item.module) != "testing":
        return f"{item}: import it in the function that needs it"
    if package in ADAPTER and item.module != ADAPTER[package]:
        return f"{item}: only {ADAPTER[package]} may"
    if package != "pdekit" or item.target == "pdekit.__version__":
        return None
    here, there = component(item.module), component(item.target)
    if there not in LEVEL:
        return f"{item}: name the module that defines it, not the public map"
    if there == "testing" and here != "testing":
        lazily = item.module == "pdekit.cli.verify_command" and item.when in ("function", "typing")
        return None if lazily else f"{item}: only a function of pdekit.cli.verify_command may"
    if here != there and LEVEL[there] >= LEVEL[here]:
        return f"{item}: {here} (level {LEVEL[here]}) may not know {there} (level {LEVEL[there]})"
    return None


def cycle(items: list[Import], modules: dict[str, Path]) -> str | None:
    """A circle among the modules, if there is one; an import that only a type checker sees closes none."""
    graph: dict[str, set[str]] = {module: set() for module in modules if module != "pdekit"}
    for item in items:
        target = item.target if item.target in modules else item.target.rpartition(".")[0]
        if item.when != "typing" and target in graph and target != item.module:
            graph[item.module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return "import circle: " + " <- ".join(error.args[1])
    return None


def violations(root: Path) -> list[str]:
    """Everything that breaks the layers below `root`, one line each."""
    modules = module_names(root)
    unknown = {component(module) for module in modules} - LEVEL.keys() - {""}
    found = [f"pdekit.{name} has no level: give it one in this file" for name in sorted(unknown)]
    # The public map is left out: it knows every layer, and no layer may import from it.
    placed = {name: path for name, path in modules.items() if name != "pdekit" and component(name) not in unknown}
    items = [item for name, path in placed.items() for item in imports(name, path)]
    found += [line for item in items if (line := complaint(item))]
    circle = cycle(items, modules)
    return found + ([circle] if circle else [])


def test_the_package_keeps_its_layers():
    found = violations(ROOT)
    assert not found, "\n".join(found)


def tree(tmp_path: Path, files: dict[str, str]) -> Path:
    """A package `pdekit` of the given files, every folder of it with an `__init__.py`."""
    root = tmp_path / "pdekit"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"data/paths.py": "from pdekit.symbolic import models"}, "data (level 1) may not know symbolic (level 2)"),
        ({"data/paths.py": "def f():\n    import pdekit.sde"}, "data (level 1) may not know sde (level 1)"),
        ({"operators/a.py": "from pdekit.nets.hollow import HollowNet"}, "operators (level 2) may not know nets"),
        ({"flows/cnf.py": "from ..fokker_planck import grid"}, "flows (level 4) may not know fokker_planck"),
        ({"simulation/a.py": "if TYPE_CHECKING:\n    from pdekit.cli import main"}, "may not know cli"),
        ({"fitting/a.py": "from pdekit import Trajectories"}, "not the public map"),
        ({"fitting/a.py": "import pdekit"}, "not the public map"),
        ({"fitting/a.py": "def f():\n    import torchsde"}, "only pdekit.simulation.torchsde_adapter may"),
        ({"data/a.py": "import pandas as pd"}, "import it in the function that needs it"),
        ({"report/a.py": "from matplotlib.figure import Figure"}, "import it in the function that needs it"),
        ({"cli/verify_command.py": "from pdekit import testing"}, "only a function of pdekit.cli.verify_command may"),
        ({"fitting/a.py": "def f():\n    import pdekit.testing"}, "only a function of pdekit.cli.verify_command may"),
        ({"data/a.py": "from pdekit.data import b", "data/b.py": "from .a import x"}, "import circle"),
        ({"data/__init__.py": "from pdekit.data.a import x", "data/a.py": "from pdekit.data import x"}, "circle"),
        ({"misc.py": ""}, "pdekit.misc has no level"),
    ],
)
def test_an_offence_is_seen(tmp_path, files, expected):
    (line,) = violations(tree(tmp_path, files))
    assert expected in line


def test_what_is_allowed_passes(tmp_path):
    files = {
        "__init__.py": "from pdekit.fitting import fit",
        "errors.py": "import torch",
        "sde.py": "from pdekit.errors import ModelError",
        "data/__init__.py": "from pdekit.data.a import x",
        "data/a.py": "from pdekit.data.b import y\nfrom pdekit import errors\ndef f():\n    import pandas",
        "data/b.py": "if TYPE_CHECKING:\n    import pandas\n    from pdekit.data.a import x",
        "simulation/torchsde_adapter.py": "import torchsde\nfrom ..sde import SDE",
        "fitting/fit.py": "from pdekit import __version__, data\nimport pdekit.simulation",
        "cli/verify_command.py": "def main():\n    from pdekit import testing",
        "testing/laws.py": "import hypothesis\nfrom pdekit.fokker_planck import grid",
    }
    assert violations(tree(tmp_path, files)) == []
