"""The LaTeX of equations."""

import matplotlib.mathtext
import pytest

from pdekit.symbolic import SymbolicSDE, models


def test_one_state():
    assert models.geometric_brownian_motion().latex() == r"d X_{t} = \mu X_{t} \, d t + \sigma X_{t} \, d W_{t}"
    assert models.stochastic_pitchfork().latex().endswith(r"\sigma X_{t} \circ d W_{t}")
    assert SymbolicSDE("x", 0, 1).latex() == "d X_{t} = d W_{t}"
    assert SymbolicSDE("x", 0, 0).latex() == "d X_{t} = 0"


def test_several_states_are_aligned():
    text = models.kramers().latex()
    assert text.startswith(r"\begin{aligned} d X_{t} &= V_{t} \, d t \\ d V_{t} &= ")
    assert "W^{(2)}_{t}" in text
    assert "$" in models.kramers()._repr_latex_()


def test_names_of_states():
    text = SymbolicSDE(["x1", "prey", "alpha", "x_a"], [0, "prey", 0, 0], [1, 0, 1, 1], time="s").latex()
    for part in ("d X_{1,s}", r"\mathrm{prey}_{s}", r"\alpha_{s}", "{x_{a}}_{s}"):
        assert part in text


@pytest.mark.parametrize("name", [n for n in models.catalogue() if models.get(n).dim == 1])
def test_a_tex_engine_reads_it(name):
    matplotlib.mathtext.MathTextParser("path").parse(f"${models.get(name).latex()}$")
