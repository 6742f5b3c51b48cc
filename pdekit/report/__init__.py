"""Reports: plain tables, figures and flags as one self-contained HTML page, or as text for a terminal.

This layer knows nothing of fits or solutions. It takes formatted text and finished figures:

    page = Page(title, subtitle, facts, sections=(Section("Summary", ("A paragraph.", formula, table, flag, figure)),))
    page.write("report.html")
    print(render_table(table))
"""

from pdekit.report.content import Facts, Figure, Flag, Table
from pdekit.report.formula import Formula, render_formula
from pdekit.report.page import Page, Section
from pdekit.report.style import add_legend, new_figure, plain_label
from pdekit.report.text import render_facts, render_flags, render_table

__all__ = [
    "Facts",
    "Figure",
    "Flag",
    "Formula",
    "Page",
    "Section",
    "Table",
    "add_legend",
    "new_figure",
    "plain_label",
    "render_facts",
    "render_flags",
    "render_formula",
    "render_table",
]
