"""`pdekit models`, and the parts of `pdekit` that no command owns."""

import json
import subprocess
import sys

import pytest

import pdekit
from pdekit.symbolic import SymbolicSDE, models


def test_the_table_names_every_model(cli):
    outcome = cli("models")
    assert (outcome.code, outcome.err) == (0, "")
    for name in models.catalogue():
        assert f" {name} " in outcome.out
    assert "pdekit models NAME" in outcome.out


@pytest.mark.parametrize("name", models.catalogue())
def test_each_model_tells_about_itself(cli, name):
    outcome = cli("models", name)
    assert (outcome.code, outcome.err) == (0, "")
    model = models.get(name)
    for word in (model.boundary.split()[0], *model.params, f"--model {name}"):
        assert word in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_json_of_the_catalogue_builds_the_models_again(cli):
    documents = json.loads(cli("models", "--json").out)["models"]
    assert [d["model"] for d in documents] == list(models.catalogue())
    (one,) = (d for d in documents if d["model"] == "ckls")
    assert json.loads(cli("models", "ckls", "--json").out) == one
    own = models.get("ckls").to_dict()
    assert SymbolicSDE.from_dict({key: one[key] for key in own}) == models.get("ckls")


def test_version_and_help(cli):
    assert cli("--version").out == f"pdekit {pdekit.__version__}\n"
    for arguments in (("--help",), ("fit", "--help"), ("simulate", "-h"), ("models", "--help")):
        outcome = cli(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert "Usage: pdekit" in outcome.out


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from pdekit.cli import main; main(['fit', '--help']); "
        "print(sorted({'torch', 'numpy', 'sympy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
