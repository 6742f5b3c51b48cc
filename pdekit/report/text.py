"""Tables, facts and flags for a terminal: plain text, never wider than asked, in the manner of statsmodels."""

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from pdekit.errors import InputError
from pdekit.report.blocks import is_numeric
from pdekit.report.content import Facts, Flag, Table, by_severity, count_flags

WIDTH = 78
_MIN_WIDTH, _MAX_WIDTH = 40, 100
_MIN_COLUMN = 4


def render_table(table: Table, *, width: int = WIDTH) -> str:
    """A table between rules, its columns spread over the width; long cells and notes wrap.

    Args:
        table: What to print.
        width: The length of the rules, 40 to 100 columns.

    Returns:
        Lines without trailing space, joined by newlines.

    Raises:
        InputError: If the width is out of range, or too small for the number of columns.

    Example:
        >>> print(render_table(Table("Fit", ("", "estimate"), (("theta", "0.25"), ("mu", "-1.5"))), width=40))
        ========================================
                          Fit
        ========================================
                                        estimate
        ----------------------------------------
        theta                               0.25
        mu                                  -1.5
        ========================================
    """
    _check_width(width)
    columns = [clean(name) for name in table.columns]
    rows = [[clean(cell) for cell in row] for row in table.rows]
    right = [j > 0 and is_numeric(row[j] for row in rows) for j in range(len(columns))]
    widths = _column_widths([columns, *rows], width)
    gaps = _gaps(widths, right, width)

    def line(cells: Sequence[str]) -> list[str]:
        wrapped = [wrap(cell, widths[j]) for j, cell in enumerate(cells)]
        lines = zip_longest(*wrapped, fillvalue="")
        return ["".join(gaps[j] + pad(cell, widths[j], right[j]) for j, cell in enumerate(x)).rstrip() for x in lines]

    thick, thin = "=" * width, "-" * width
    out = [thick]
    if table.title:
        out += [_center(part, width) for part in wrap(clean(table.title), width)] + [thick]
    if any(columns):
        out += [*line(columns), thin]
    out += [text for row in rows for text in line(row)] + [thick]
    if table.note:
        out += wrap(clean(table.note), width)
    return "\n".join(out)


def render_facts(facts: Facts, *, width: int = WIDTH) -> str:
    """Names and values in two columns where they fit and in one where not, between rules.

    Args:
        facts: What to print.
        width: As in `render_table`.

    Raises:
        InputError: If the width is out of range.

    Example:
        >>> print(render_facts(Facts((("AIC", "12.1"), ("BIC", "13.4")), title="Fit"), width=40))
        ========================================
                          Fit
        ========================================
        AIC:           12.1  BIC:           13.4
        ========================================
    """
    _check_width(width)
    thick = "=" * width
    out = [thick]
    if facts.title:
        out += [_center(part, width) for part in wrap(clean(facts.title), width)] + [thick]
    half = (width - 2) // 2
    pairs = [(clean(name) + ":", clean(value)) for name, value in facts.items]
    # Short pairs fill a left and then a right column, as statsmodels does; long ones get lines of their own below.
    short = [pair for pair in pairs if display_width(pair[0]) + display_width(pair[1]) + 1 <= half]
    rows = (len(short) + 1) // 2
    for left, other in zip_longest(short[:rows], short[rows:]):
        line = _spread(left, half) + " " * (width - 2 * half)
        out.append((line + _spread(other, half) if other else line).rstrip())
    for name, value in pairs:
        if (name, value) not in short:
            indent = " " * min(display_width(name) + 1, width // 3)
            out += hang(f"{name} ", indent, value, width)
    return "\n".join([*out, thick])


def render_flags(flags: Sequence[Flag], *, width: int = WIDTH) -> str:
    """Flags in plain language, gravest first: what was found, what it means, and after an arrow what to do.

    Args:
        flags: What to print; with none, the result is empty.
        width: As in `render_table`.

    Raises:
        InputError: If the width is out of range.

    Example:
        >>> print(render_flags([Flag("note", "Short record", "Intervals are wide.", "Use more data.", 3.0)], width=50))
        Flags: 1 note
        --------------------------------------------------
        NOTE     Short record (3)
                 Intervals are wide.
                 -> Use more data.
    """
    _check_width(width)
    if not flags:
        return ""
    out = [*wrap("Flags: " + ", ".join(words for _, _, words in count_flags(list(flags))), width), "-" * width]
    indent = " " * 9
    for flag in by_severity(list(flags)):
        title = clean(flag.title) + (f" ({flag.number})" if flag.number else "")
        out += hang(f"{flag.severity.upper():<9}", indent, title, width)
        if flag.severity == "ok":  # what is in order takes one line
            continue
        out += hang(indent, indent, clean(flag.detail), width) if flag.detail else []
        out += hang(f"{indent}-> ", f"{indent}   ", clean(flag.action), width) if flag.action else []
    return "\n".join(out)


def clean(text: str) -> str:
    """One line without control characters, so that text from a file can't steer the terminal."""
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    return " ".join(shown.split())


def display_width(text: str) -> int:
    """The terminal columns that a text takes: two for wide East Asian characters, none for combining marks."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """Fill with spaces up to a display width, on the left if the text goes flush right."""
    space = " " * max(0, width - display_width(text))
    return space + text if right else text + space


def wrap(text: str, width: int) -> list[str]:
    """Break between words, and within words that are longer than a line; always at least one line.

    Example:
        >>> wrap("one three elevenfold", 6)
        ['one', 'three', 'eleven', 'fold']
    """
    lines, line = [], ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if display_width(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while display_width(word) > width:
            cut = next(n for n in range(len(word), 0, -1) if n == 1 or display_width(word[:n]) <= width)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line] if line or not lines else lines


def hang(first: str, indent: str, text: str, width: int) -> list[str]:
    """Wrap a text behind a label, with the following lines indented."""
    room = width - max(display_width(first), display_width(indent))
    parts = wrap(text, room)
    return [(first + parts[0]).rstrip(), *(indent + part for part in parts[1:])]


def _check_width(width: int) -> None:
    if not _MIN_WIDTH <= width <= _MAX_WIDTH:
        raise InputError(f"The width of a text report must be {_MIN_WIDTH} to {_MAX_WIDTH} columns, got {width}.")


def _column_widths(rows: list[list[str]], width: int) -> list[int]:
    """Natural widths, the widest columns cut down until all fit with two spaces between them.

    As long as others can give way, no column gets narrower than its longest word: a number must not be broken.
    """
    columns = range(len(rows[0]))
    widths = [max(display_width(row[j]) for row in rows) for j in columns]
    words = [max((display_width(word) for row in rows for word in row[j].split()), default=0) for j in columns]
    room = width - 2 * (len(widths) - 1)
    if room < _MIN_COLUMN * len(widths):
        raise InputError(f"{len(widths)} columns do not fit into {width} characters; split the table or widen it.")
    while sum(widths) > room:
        soft = [j for j in columns if widths[j] > words[j]] or list(columns)
        widths[max(soft, key=lambda j: widths[j])] -= 1
    return widths


def _gaps(widths: list[int], right: list[bool], width: int) -> list[str]:
    """The space before each column, such that the table fills the width."""
    if len(widths) == 1:
        return [""]
    spare, count = width - sum(widths), len(widths) - 1
    return ["", *(" " * (spare // count + (j < spare % count)) for j in range(count))]


def _center(text: str, width: int) -> str:
    return " " * ((width - display_width(text)) // 2) + text


def _spread(pair: tuple[str, str], width: int) -> str:
    name, value = pair
    return name + pad(value, width - display_width(name), right=True)
