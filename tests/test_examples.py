"""Every numbered example runs and leaves its picture."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9][0-9]_*.py"))


LONG = (
    "03_cost_of_derivatives",
    "04_reaction_diffusion_film",
    "05_precision_for_time",
    "06_ladder_on_a_hollow_net",
    "07_double_well_escape",
    "08_ring_attractor",
    "09_kramers",
    "10_ten_dimensions",
    "11_ladder_of_fits",
    "12_unpaired_samples",
    "13_toy_densities",
    "14_layers_and_units",
    "15_exact_and_stochastic_trace",
    "16_precision_for_evaluations",
    "17_time_and_dimension",
    "18_digits_classifiers",
    "19_digits_autoencoders",
    "20_latent_spirals",
    "21_tabular_densities",
)  # half a minute to some minutes each
CASES = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else []) for path in EXAMPLES]


def load(path):
    """The module of a script."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CASES)
def test_example_runs(path, tmp_path):
    load(path).main(tmp_path)
    assert (tmp_path / f"{path.stem}.png").stat().st_size > 10_000


# Sizes at which a run takes seconds: whether it runs, not what it finds.
SHRUNK = {
    "13_toy_densities": {"PRESETS": {"small": (3, 32)}, "POINTS": 20, "FRAMES": 2},
    "14_layers_and_units": {"PRESETS": {"small": (3, 32, (2, 3))}, "LEARNT": {"small": 2}, "JUDGED": 100},
    "15_exact_and_stochastic_trace": {"PRESETS": {"small": (20, 32)}, "DRAWS": 2},
    "16_precision_for_evaluations": {"PRESETS": {"small": (3, 32)}, "TOLERANCES": (1e-3, 1e-5), "STATES": 20},
    "17_time_and_dimension": {"PRESETS": {"small": (2, 4, 8)}},
    "18_digits_classifiers": {"PRESETS": {"small": (3, 16, 4)}},
    "19_digits_autoencoders": {
        "PRESETS": {
            "small": {"seconds": 0.3, "batch": 8, "samples": 2, "latent": 2, "context": 2, "layers": 1, "hidden": 4}
        }
    },
    "20_latent_spirals": {"PRESETS": {"small": (8, 4, 4, (30,))}},
    "21_tabular_densities": {"SECONDS": 0.3},
}


@pytest.mark.parametrize("name", SHRUNK)
def test_example_runs_shrunk(name, tmp_path, monkeypatch):
    module = load(Path(__file__).parent.parent / "examples" / f"{name}.py")
    for key, value in SHRUNK[name].items():
        monkeypatch.setattr(module, key, value)
    module.main(tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_there_are_examples():
    assert len(EXAMPLES) >= 2
