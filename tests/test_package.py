"""The public map: every name resolves, importing is light, and no function hides behind a module of its name."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import pdekit

HEAVY = {"torch", "numpy", "scipy", "sympy", "pandas", "pyarrow", "matplotlib", "torchsde", "typer", "rich"}
# torch and what it brings along may load once a class is used; these still may not.
HEAVY_FOR_CLASSES = {"pandas", "pyarrow", "matplotlib", "torchsde", "typer", "statsmodels", "hypothesis"}


def fresh_modules(statement: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def packages() -> list[str]:
    """pdekit and every package below it."""
    below = pkgutil.walk_packages(pdekit.__path__, "pdekit.")
    return ["pdekit", *(module.name for module in below if module.ispkg)]


def shadowed(package: ModuleType) -> list[str]:
    """The submodules of `package` whose name, looked up on it, is something else than that module."""
    found = []
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
        if not isinstance(getattr(package, module.name), ModuleType):
            found.append(f"{package.__name__}.{module.name}")
    return found


def test_importing_pdekit_is_light():
    assert fresh_modules("import pdekit; pdekit.__version__; dir(pdekit)") & HEAVY == set()


def test_its_classes_load_no_more_than_they_need():
    loaded = fresh_modules("from pdekit import SDE, SymbolicSDE, Trajectories, fit, models, simulate")
    assert loaded & HEAVY_FOR_CLASSES == set()


def test_the_probe_for_lightness_can_fail():
    assert "sympy" in fresh_modules("import sympy")


@pytest.mark.parametrize("name", pdekit.__all__)
def test_every_public_name_resolves(name):
    assert getattr(pdekit, name) is not None
    assert name in dir(pdekit)


def test_the_lists_of_the_public_map_agree():
    assert set(pdekit.__all__) == set(pdekit._HOME)
    assert len(pdekit.__all__) == len(set(pdekit.__all__))


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match=r"no attribute 'fitt'.*Trajectories"):
        pdekit.fitt  # noqa: B018


@pytest.mark.parametrize("name", packages())
def test_no_public_name_hides_a_submodule(name):
    assert shadowed(import_module(name)) == []


def test_a_hidden_submodule_is_seen(tmp_path, monkeypatch):
    folder = tmp_path / "shadowed_example"
    folder.mkdir()
    (folder / "solve.py").write_text("def solve(): ...\n")
    (folder / "__init__.py").write_text("from shadowed_example.solve import solve\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert shadowed(import_module("shadowed_example")) == ["shadowed_example.solve"]


def test_the_version_is_that_of_the_distribution():
    assert pdekit.__version__.count(".") >= 2
