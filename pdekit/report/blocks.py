"""Each kind of content as HTML. Everything that a caller wrote is escaped; only checked SVG goes in as it is."""

import html
import re
from collections.abc import Callable, Iterable

from pdekit.report.content import Facts, Figure, Flag, Table, by_severity
from pdekit.report.formula import Formula
from pdekit.report.style import THEME
from pdekit.report.svg import scope_svg, theme_svg

Block = str | Formula | Table | Facts | Figure | Flag

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
# Digits with signs, dashes (also typographic ones), brackets and units of one sign; exponents; nan and inf.
_NUMBER = re.compile(
    r"(?:[\d\s.,;:/()\[\]%*<>=~+\-\u00b1\u2248\u2264\u2265\u2212\u2013\u2014]|\de[+\-\u2212]?\d|nan|inf)*",
    re.IGNORECASE,
)
_SAY = {"ok": "OK", "note": "Note", "warning": "Warning", "serious": "Serious"}


def escape(text: str) -> str:
    """Text that is safe between tags and in quoted attributes, without control characters and lone surrogates."""
    return html.escape(_CONTROL.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8")), quote=True)


def is_numeric(cells: Iterable[str]) -> bool:
    """Whether a column holds numbers, intervals, dashes and blanks only, and so is set flush right.

    Example:
        >>> is_numeric(["0.25", "[-1.0, 2e-3]", "—", ""]), is_numeric(["0.25", "Euler"])
        (True, False)
    """
    cells = [cell.strip() for cell in cells]
    return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def paragraph(text: str, css: str = "") -> str:
    """A paragraph, or nothing for an empty text."""
    return f"<p{_css(css)}>{escape(text)}</p>\n" if text else ""


def formula_html(formula: Formula) -> str:
    """The drawing with its LaTeX source folded below it, or the source alone."""
    source = f"<pre>{escape(formula.latex)}</pre>"
    if formula.svg is None:
        return f'<div class="formula">{source}</div>\n'
    drawing = formula.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(formula.latex)}" ', 1)
    return f'<div class="formula">{drawing}<details><summary>LaTeX</summary>{source}</details></div>\n'


def table_html(table: Table) -> str:
    """A table in the booktabs manner: row names are headings, numeric columns flush right."""
    css = ["number" if j and is_numeric(row[j] for row in table.rows) else "" for j in range(table.n_columns)]
    head = "".join(
        f'<th scope="col"{_css(css[j])}>{escape(name)}</th>' if name else f"<td{_css(css[j])}></td>"
        for j, name in enumerate(table.columns)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{_css(css[j])}>{escape(row[j])}</td>" for j in range(1, table.n_columns))
        + "</tr>\n"
        for row in table.rows
    )
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    heading = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    # Focusable, so that a wide table can be scrolled from the keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(table.title or "Table")}">'
        f"<table>{caption}{heading}<tbody>{body}</tbody></table>{paragraph(table.note, 'tablenote')}</div>\n"
    )


def facts_html(facts: Facts) -> str:
    """Names and values as a definition list, the values in a fixed-width face."""
    title = f"<h3>{escape(facts.title)}</h3>\n" if facts.title else ""
    return f"{title}{definition_list(facts.items, 'facts')}"


def definition_list(items: Iterable[tuple[str, str]], css: str) -> str:
    """A `<dl>` of names and values."""
    pairs = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items]
    if css == "key":  # a grid of cards, each of which holds its pair together
        pairs = [f"<div>{pair}</div>" for pair in pairs]
    return f"<dl{_css(css)}>" + "\n".join(pairs) + "</dl>\n"


def figures_html(figures: list[Figure], new_id: Callable[[], str]) -> str:
    """Figures in a grid of two columns."""
    return f'<div class="figures">\n{"".join(_figure_html(figure, new_id()) for figure in figures)}</div>\n'


def _figure_html(figure: Figure, name: str) -> str:
    drawing = theme_svg(scope_svg(figure.svg, f"{name}-"), THEME)
    drawing = drawing.replace("<svg ", f'<svg role="img" aria-labelledby="{name}" ', 1)
    caption = f" {escape(figure.caption)}" if figure.caption else ""
    return (
        f"<figure{_css('wide' if figure.wide else '')}>\n{drawing}\n"
        f'<figcaption id="{name}"><strong>{escape(figure.title)}</strong>{caption}</figcaption>\n</figure>\n'
    )


def flags_html(flags: list[Flag]) -> str:
    """Callouts for what needs attention, gravest first, then a compact list of what was checked and is in order."""
    ordered = by_severity(flags)
    raised = "".join(_callout(flag) for flag in ordered if flag.severity != "ok")
    passed = "".join(_passed(flag) for flag in ordered if flag.severity == "ok")
    return (f'<ul class="flags">\n{raised}</ul>\n' if raised else "") + (
        f'<ul class="flags passed">\n{passed}</ul>\n' if passed else ""
    )


def _callout(flag: Flag) -> str:
    value = f'<span class="value">{escape(flag.number)}</span>' if flag.number else ""
    return (
        f'<li class="flag {flag.severity}"><h3><span class="severity">{_SAY[flag.severity]}</span> '
        f"{escape(flag.title)}{value}</h3>\n{paragraph(flag.detail)}{paragraph(flag.action, 'action')}</li>\n"
    )


def _passed(flag: Flag) -> str:
    value = f'<span class="value">{escape(flag.number)}</span>' if flag.number else ""
    said = " ".join(text for text in (flag.detail, flag.action) if text)
    return f'<li class="ok"><h3>{escape(flag.title)}{value}</h3>{paragraph(said)}</li>\n'


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
