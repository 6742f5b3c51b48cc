"""What SymPy prints is drawn; what mathtext does not know is shown as text."""

from xml.etree import ElementTree

import pytest
import sympy as sp

from pdekit.report import Formula, render_formula
from pdekit.report.formula import formula_lines

x, t, sigma = sp.symbols("x t sigma")


@pytest.mark.parametrize(
    "expression",
    [
        sp.atan(x) * sp.exp(-(x**2) / 2 / sigma**2),
        sp.Abs(x) ** sigma,
        sp.Integral(sp.Function("f")(x), (x, 0, sp.oo)),  # \int\limits
        sp.Derivative(sp.Function("p")(t, x), x, 2),
        sp.asinh(x) / sp.sqrt(1 + x**2),  # \operatorname
        sp.Symbol("kappa_slow"),
        sp.Float(1e-12) * x,
    ],
)
def test_what_sympy_prints_is_drawn(expression):
    drawing = render_formula(sp.latex(expression))
    assert drawing is not None
    assert ElementTree.fromstring(drawing).attrib["fill"] == "currentColor"


@pytest.mark.parametrize(
    "latex",
    [
        sp.latex(sp.Piecewise((x, x > 0), (0, True))),
        sp.latex(sp.Matrix([[x, 1], [0, sigma]])),
        r"\frac{1}",
        "a $ b",
        "",
        r"\undefined",
    ],
)
def test_what_is_not_known_falls_back_to_the_source(latex):
    assert Formula.from_latex(latex) == Formula(latex, None)


def test_lines_are_split_and_stripped():
    assert formula_lines(r"$$x = 1$$") == [("x = 1", "")]
    assert formula_lines(r"\[ a &= \bigl( b \bigr) \\[2pt] c &= \int\limits_0^1 d \]") == [
        ("a", "= ( b )"),
        ("c", r"= \int _0^1 d"),
    ]


def test_only_fractions_outside_braces_are_full_size():
    [(line, _)] = formula_lines(r"\frac{\frac{a}{b}}{c} + e^{\frac{1}{2}} + \left\{ \frac{1}{2} \right\}")
    assert line == r"\dfrac{\frac{a}{b}}{c} + e^{\frac{1}{2}} + \left\{ \dfrac{1}{2} \right\}"


def test_every_line_adds_height_and_drawing_is_deterministic():
    one, two = render_formula("x = 1"), render_formula(r"\begin{aligned} x &= 1 \\ yyy &= 2 \end{aligned}")
    assert one == render_formula("x = 1")
    assert one is not None
    assert two is not None
    height = [float(ElementTree.fromstring(text).attrib["viewBox"].split()[3]) for text in (one, two)]
    assert height[1] > 1.8 * height[0]
