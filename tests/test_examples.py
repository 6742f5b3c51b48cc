"""Every numbered example runs and leaves its picture."""

import importlib.util
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


@pytest.mark.parametrize("path", CASES)
def test_example_runs(path, tmp_path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    assert (tmp_path / f"{path.stem}.png").stat().st_size > 10_000


def test_there_are_examples():
    assert len(EXAMPLES) >= 2
