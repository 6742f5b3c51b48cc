"""The mutants can be planted, each in one place, and a planted one is caught."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from verification.__main__ import main
from verification.mutants import campaign
from verification.mutants.campaign import run
from verification.mutants.catalogue import MUTANTS, mutant
from verification.mutants.planting import Mutant, PlantingError, plant, source_of

ROOT = Path(__file__).resolve().parents[2]
AREAS = {"operators", "nets", "symbolic", "densities", "simulation", "integrators", "solvers", "sensitivities"}


def faulty(old: str, module: str = "pdekit.simulation.schemes") -> Mutant:
    return Mutant("made-up", module, old, "", "None.", "simulation")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("m", MUTANTS, ids=lambda m: m.name)
def test_each_snippet_occurs_once_and_its_replacement_is_another_program(m: Mutant) -> None:
    source = source_of(m.module)
    changed = m.applied(source)
    assert changed != source
    compile(changed, m.module, "exec")


def test_the_catalogue_has_enough_mutants_in_every_area_and_no_name_twice() -> None:
    assert len(MUTANTS) >= 28
    assert max(Counter(m.name for m in MUTANTS).values()) == 1
    assert {m.area for m in MUTANTS} == AREAS
    assert all(m.description.endswith(".") for m in MUTANTS)


def test_a_snippet_that_is_missing_or_ambiguous_is_refused() -> None:
    with pytest.raises(PlantingError, match=r"occurs 0 times"):
        plant(faulty("no such line"))
    with pytest.raises(PlantingError, match=r"exactly once in pdekit\.simulation\.schemes"):
        plant(faulty("return"))


def test_a_module_that_is_missing_is_refused() -> None:
    with pytest.raises(PlantingError, match="no module"):
        plant(faulty("x", module="pdekit.simulation.nowhere"))
    with pytest.raises(PlantingError, match="no package"):
        plant(faulty("x", module="nowhere.schemes"))


def test_a_module_that_was_imported_before_is_refused() -> None:
    import pdekit.simulation.schemes  # noqa: F401

    with pytest.raises(PlantingError, match="already"):
        plant(mutant("heun-predictor"))


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(KeyError, match="heun-predictor"):
        mutant("no-such-mutant")
    with pytest.raises(KeyError, match="heun-predictor"):
        run(["no-such-mutant"])


def test_planting_changes_the_module_it_names_in_memory_only() -> None:
    code = (
        "from verification.mutants.catalogue import mutant\n"
        "from verification.mutants.planting import plant, source_of\n"
        "before = source_of('pdekit.errors')\n"
        "from verification.mutants.planting import Mutant\n"
        "plant(Mutant('m', 'pdekit.errors', 'class PdekitError(Exception)', "
        "'class PdekitError(ValueError)', 'x.', 'x'))\n"
        "import pdekit.errors\n"
        "print(issubclass(pdekit.errors.PdekitError, ValueError), source_of('pdekit.errors') == before)\n"
    )
    assert python(code) == "True True"
    assert python("import pdekit.errors as e; print(issubclass(e.PdekitError, ValueError))") == "False"


def test_a_mutant_is_caught_and_the_same_check_passes_without_it() -> None:
    (found,) = run(["heun-predictor"], processes=1)
    assert (found["caught"], found["by"], found["area"]) == (True, "Heun", "simulation"), json.dumps(found)
    passed = python("from verification.mutants.checks import AREAS\nAREAS['simulation']['Heun']()\nprint('passed')")
    assert passed == "passed"


def test_a_control_without_a_result_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = [{"mutant": "control", "caught": False, "by": None, "message": "", "seconds": 1.0}]
    monkeypatch.setattr(campaign, "run", lambda *_, **__: results)
    monkeypatch.setattr(sys, "argv", ["verification", "mutants", "--out", str(tmp_path)])
    assert main() == 0
    results[0]["error"] = "no result within 1 seconds"
    assert main() == 1
