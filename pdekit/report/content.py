"""What a report is made of: flags, tables, facts and figures, all plain text and SVG.

Nothing here knows what was fitted or solved. The layers above format their numbers and hand over text; `Page` writes it
as HTML and `pdekit.report.text` prints it in a terminal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pdekit.errors import InputError
from pdekit.report.svg import check_svg, svg_from_matplotlib

Severity = Literal["ok", "note", "warning", "serious"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


def require_text(owner: str, **fields: object) -> None:
    """Raise `InputError` for the first field that is not text, because formatting is left to the caller."""
    for name, value in fields.items():
        if not isinstance(value, str):
            raise InputError(f"{owner}: `{name}` must be text, got {type(value).__name__} {value!r}; format it first.")


@dataclass(frozen=True)
class Flag:
    """One finding in plain language: what was seen, what it means, what to do about it.

    Args:
        severity: `"ok"`, `"note"`, `"warning"` or `"serious"`.
        title: The finding in a few words.
        detail: What it means.
        action: What to do; empty if nothing needs doing.
        value: The number behind it, if there is one.

    Raises:
        InputError: If the severity is unknown or a text is not text.

    Example:
        >>> Flag("note", "Few observations", "Intervals are wide.", "Use profile intervals.").severity
        'note'
    """

    severity: Severity
    title: str
    detail: str = ""
    action: str = ""
    value: float | None = None

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise InputError(f"A flag's severity must be one of {', '.join(SEVERITIES)}; got {self.severity!r}.")
        require_text("Flag", title=self.title, detail=self.detail, action=self.action)

    @property
    def number(self) -> str:
        """The value in four significant digits, or an empty text."""
        return "" if self.value is None else f"{self.value:.4g}"


def by_severity(flags: Sequence[Flag]) -> list[Flag]:
    """The gravest flags first, otherwise in the order given."""
    return sorted(flags, key=lambda flag: -SEVERITIES.index(flag.severity))


def count_flags(flags: Sequence[Flag]) -> list[tuple[Severity, int, str]]:
    """How many flags of each severity there are, gravest first, with the words to say it.

    Example:
        >>> count_flags([Flag("ok", "a"), Flag("warning", "b"), Flag("ok", "c")])
        [('warning', 1, '1 warning'), ('ok', 2, '2 ok')]
    """
    plural = {"note": "notes", "warning": "warnings"}
    counts: list[tuple[Severity, int, str]] = []
    for severity in reversed(SEVERITIES):
        n = sum(flag.severity == severity for flag in flags)
        if n:
            counts.append((severity, n, f"{n} {severity if n == 1 else plural.get(severity, severity)}"))
    return counts


@dataclass(frozen=True)
class Table:
    """Rows of formatted text. The first column names the rows.

    Args:
        title: Shown above the table.
        columns: One heading per column; all empty to leave the headings out.
        rows: One tuple of cells per row, each as long as `columns`.
        note: Shown below the table.

    Raises:
        InputError: If a row has the wrong length or a cell is not text.

    Example:
        >>> Table("Parameters", ("", "estimate"), (("theta", "0.25"),)).n_columns
        2
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        owner = f"Table {self.title!r}"
        require_text(owner, title=self.title, note=self.note)
        if not self.columns:
            raise InputError(f"{owner} needs at least one column.")
        for j, name in enumerate(self.columns):
            require_text(owner, **{f"columns[{j}]": name})
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InputError(f"{owner}: row {i} has {len(row)} cells for {len(self.columns)} columns.")
            for j, cell in enumerate(row):
                require_text(owner, **{f"rows[{i}][{j}]": cell})

    @property
    def n_columns(self) -> int:
        """The number of columns."""
        return len(self.columns)


@dataclass(frozen=True)
class Facts:
    """Names with values, such as the seed, versions, command and file hashes that reproduce a result.

    Args:
        items: (name, value) pairs of text, in the order shown.
        title: Shown above; may be empty.

    Raises:
        InputError: If an item is not a pair of texts.

    Example:
        >>> Facts((("seed", "0"),)).items
        (('seed', '0'),)
    """

    items: tuple[tuple[str, str], ...]
    title: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", check_items("Facts", self.items))
        require_text("Facts", title=self.title)


def check_items(owner: str, items: Any) -> tuple[tuple[str, str], ...]:
    """The items as a tuple of (name, value) texts, or an `InputError` that names the wrong one."""
    pairs = tuple(tuple(item) for item in (items.items() if isinstance(items, dict) else items))
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise InputError(f"{owner}: item {i} must be a pair (name, value), got {pair!r}.")
        require_text(owner, **{f"items[{i}] name": pair[0], f"items[{i}] value": pair[1]})
    return pairs


@dataclass(frozen=True)
class Figure:
    """A picture as SVG with its title and caption; the caption is also what a screen reader says.

    Args:
        title: Shown below the picture, in bold.
        svg: One `<svg>` element with a `viewBox`; no scripts, styles or outside references.
        caption: What the picture shows and how to read it.
        wide: Whether the picture spans both columns of the page.

    Raises:
        InputError: If the SVG is malformed or refers to anything outside itself.
    """

    title: str
    svg: str
    caption: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        require_text("Figure", title=self.title, svg=self.svg, caption=self.caption)
        check_svg(self.svg, f"Figure {self.title!r}")

    @classmethod
    def from_matplotlib(cls, figure: Any, title: str, caption: str = "", *, wide: bool = False) -> "Figure":
        """Draw a `matplotlib.figure.Figure` as SVG: no window, no backend, the same bytes every time.

        Artists drawn with `rasterized=True` (many thousands of points) are embedded as PNG.

        Args:
            figure: For example from `pdekit.report.new_figure`.
            title: See `Figure`.
            caption: See `Figure`.
            wide: See `Figure`.

        Example:
            >>> from pdekit.report import new_figure
            >>> canvas, axes = new_figure()
            >>> _ = axes.plot([0, 1], [0, 1])
            >>> Figure.from_matplotlib(canvas, "A line", "It rises.").svg[:4]
            '<svg'
        """
        return cls(title, svg_from_matplotlib(figure), caption, wide)
