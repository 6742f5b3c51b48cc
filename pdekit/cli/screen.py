"""How wide the terminal is, and small tables for it."""

import shutil
from collections.abc import Mapping


def screen_width() -> int:
    """Columns for text: the terminal's, within what stays readable."""
    return min(max(shutil.get_terminal_size((90, 24)).columns, 60), 100)


def wrapped(text: str) -> str:
    """The lines of a text, long ones broken between words."""
    from pdekit.report.text import clean, wrap

    return "\n".join(part for line in text.splitlines() for part in wrap(clean(line), screen_width()))


def intervals_table(profiles: Mapping[str, tuple[float, float] | None]) -> str:
    """Profile intervals of parameters as a table."""
    from pdekit.report import Table, render_table

    rows = tuple((name, *(("", "") if ends is None else map("{:.5g}".format, ends))) for name, ends in profiles.items())
    note = "By likelihood ratios, all other parameters maximised again."
    table = Table("95 % profile intervals", ("Parameter", "[2.5 %", "97.5 %]"), rows, note)
    return render_table(table, width=screen_width())
