"""Pictures are the same every time, refer to nothing outside, and don't clash on a page."""

import re
from xml.etree import ElementTree

import matplotlib
import pytest

from pdekit.errors import InputError
from pdekit.report import add_legend, new_figure
from pdekit.report.style import FITTED, plain_label
from pdekit.report.svg import check_svg, scope_svg, svg_from_matplotlib, theme_svg


def draw(label="$x^2$ & <y>"):
    figure, axes = new_figure()
    axes.plot([0, 1, 2], [0, 1, 4], color=FITTED, marker="o", label=label)
    axes.set_xscale("symlog")
    axes.scatter([0, 1], [1, 2], rasterized=True)
    add_legend(axes)
    return svg_from_matplotlib(figure)


def test_matplotlib_figure_is_deterministic_inert_and_scalable():
    text = draw()
    assert text == draw()
    check_svg(text, "test")
    root = ElementTree.fromstring(text)
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & root.attrib.keys()
    assert "data:image/png" in text


def test_drawing_leaves_the_global_settings_alone():
    before = dict(matplotlib.rcParams)
    draw()
    assert dict(matplotlib.rcParams) == before


def test_control_characters_in_a_label_do_not_break_the_xml():
    check_svg(draw("bell\x07 escape\x1b"), "test")


@pytest.mark.parametrize("name", ["a$b", "$", "$x^$ & \\frac", "x_{$$}", "速度"])
def test_any_column_name_can_be_a_label(name):
    root = ElementTree.fromstring(draw(plain_label(name)))
    assert name in ["".join(element.itertext()).strip() for element in root.iter()]


@pytest.mark.parametrize(
    "content",
    [
        "<script>alert(1)</script>",
        "<style>*{display:none}</style>",
        "<foreignObject/>",
        '<g onload="alert(1)"/>',
        '<a href="javascript:alert(1)"/>',
        '<image href="http://example.org/a.png"/>',
        '<image href="data:image/svg+xml;base64,AAAA"/>',
        '<g style="fill: url(http://example.org/a)"/>',
        "<!-- comment -->",
        "<g>",
    ],
)
def test_anything_active_or_foreign_is_refused(content):
    with pytest.raises(InputError):
        check_svg(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">{content}</svg>', "test")


def test_scoping_renames_ids_with_their_references_and_no_text():
    text = draw('id="a" url(#b)')
    scoped = scope_svg(text, "f1-")
    ids = set(re.findall(r'\sid="([^"]+)"', scoped)) - {"a"}
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', scoped.replace("url(#b)", ""))
    assert ids
    assert references
    assert all(name.startswith("f1-") for name in ids)
    assert set(references) <= ids
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(scoped).iter()]
    assert any('id="a" url(#b)' in found for found in texts)


def test_theme_replaces_palette_colors_in_styles_only():
    text = '<svg><path style="fill: #0072B2; stroke: #123456"/><path fill="#0072b2"/><text>#0072b2</text></svg>'
    themed = theme_svg(text, {"fitted": "#0072b2"})
    assert themed.count("var(--fitted, #0072b2)") == 1
    assert themed.startswith('<svg><path style="fill: var(--fitted, #0072b2); stroke: #123456"/>')


def test_new_figure_refuses_empty_grids():
    with pytest.raises(InputError, match="0 x 1"):
        new_figure(nrows=0)
    with pytest.raises(InputError, match="height must be positive"):
        new_figure(height=float("nan"))
