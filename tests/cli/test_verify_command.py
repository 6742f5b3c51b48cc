"""`pdekit verify`: a verdict in words and in JSON, an exit code, and bad input in one line."""

import json

import pytest

from pdekit import operators
from pdekit.cli import main
from pdekit.testing import matrix
from pdekit.testing import specifications as spec
from pdekit.testing.matrix import Subject

SMALL = ("--examples", "2", "--dtype", "float64")


@pytest.fixture
def few(monkeypatch):
    """One right and one chosen operator instead of all."""

    def choose(operator):
        tried = [
            Subject(spec.divergence, "exact", operators.divergence, ("columns",)),
            Subject(spec.laplacian, "chosen", operator, ("columns",)),
        ]
        monkeypatch.setattr(matrix, "subjects", lambda: tried)

    return choose


def test_a_plain_verdict(few, capsys):
    few(operators.laplacian)
    assert main(["verify", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "Verified: 4 trials on cpu, no disagreement with SymPy, no leak in hollow nets" in out
    assert "divergence" in out


def test_a_fault_is_told_and_fails(few, capsys):
    few(lambda u: lambda *a: 2 * operators.laplacian(u)(*a) + 1)
    assert main(["verify", *SMALL, "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "NOT verified on cpu: 1 checks fail" in out
    assert "testing.Trial(function=" in out


def test_json(few, capsys):
    few(operators.laplacian)
    assert main(["verify", *SMALL, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["good"] is True
    assert document["trials"] == 4
    assert {c["operator"] for c in document["cells"]} == {"divergence", "laplacian"}
    assert document["hollow"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "nowhere"], "--device: The device 'nowhere' can't be used here"),
        (["--dtype", "int8"], "--dtype must be float64 or float32, got 'int8'"),
        (["--examples", "0"], "--examples"),
    ],
)
def test_bad_input(arguments, message, capsys):
    assert main(["verify", *arguments]) == 2
    assert message in capsys.readouterr().err
