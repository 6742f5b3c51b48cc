"""One self-contained HTML page: no scripts, nothing loaded from outside, written whole or not at all."""

import itertools
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pdekit.errors import InputError
from pdekit.report import blocks
from pdekit.report.blocks import Block, escape
from pdekit.report.content import Facts, Figure, Flag, Table, check_items, count_flags, require_text
from pdekit.report.formula import Formula
from pdekit.report.theme import STYLESHEET

# A second line of defense behind the escaping: the browser itself refuses scripts and anything from outside.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Section:
    """A heading with content below it.

    Args:
        title: The heading; also its entry in the page's navigation.
        blocks: Paragraphs (as text), formulas, tables, facts, figures and flags, in reading order. Neighboring figures
            share a grid, neighboring flags a list.

    Raises:
        InputError: If a block is none of these.
    """

    title: str
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        require_text("Section", title=self.title)
        if isinstance(self.blocks, str) or not hasattr(self.blocks, "__iter__"):
            raise InputError(f"Section {self.title!r}: `blocks` must be a tuple of blocks, got {self.blocks!r}.")
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for i, block in enumerate(self.blocks):
            if not isinstance(block, Block):
                raise InputError(
                    f"Section {self.title!r}: block {i} is a {type(block).__name__}; "
                    "expected text, Formula, Table, Facts, Figure or Flag."
                )

    @property
    def flags(self) -> list[Flag]:
        """The section's flags, in the order given."""
        return [block for block in self.blocks if isinstance(block, Flag)]


@dataclass(frozen=True)
class Page:
    """A report.

    Args:
        title: The page's heading.
        subtitle: One line below it.
        facts: (name, value) pairs for the top of the page: the few numbers that a reader looks for first.
        sections: The content. The first one with flags is what the counts at the top link to.
        footer: A closing line.
        language: The language of the text, as in HTML's `lang`.

    Raises:
        InputError: If a field has the wrong type.

    Example:
        >>> page = Page("A fit", sections=(Section("Summary", ("All is well.", Flag("ok", "Converged"))),))
        >>> page.html().startswith("<!DOCTYPE html>")
        True
    """

    title: str
    subtitle: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()
    footer: str = ""
    language: str = "en"

    def __post_init__(self) -> None:
        require_text("Page", title=self.title, subtitle=self.subtitle, footer=self.footer, language=self.language)
        object.__setattr__(self, "facts", check_items("Page", self.facts))
        object.__setattr__(self, "sections", tuple(self.sections))
        for i, section in enumerate(self.sections):
            if not isinstance(section, Section):
                raise InputError(f"Page: sections[{i}] must be a Section, got {type(section).__name__}.")

    def html(self) -> str:
        """The whole page as one HTML document."""
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"figure-{next(numbers)}"

        body = "".join(_section_html(section, i, new_id) for i, section in enumerate(self.sections, start=1))
        footer = f"<footer><p>{escape(self.footer)}</p></footer>\n" if self.footer else ""
        return (
            f'<!DOCTYPE html>\n<html lang="{escape(self.language)}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLESHEET}</style>\n</head>\n<body>\n"
            f'<div class="page">\n{self._header()}{self._navigation()}<main>\n{body}</main>\n{footer}</div>\n'
            "</body>\n</html>\n"
        )

    def _header(self) -> str:
        facts = blocks.definition_list(self.facts, "key") if self.facts else ""
        subtitle = blocks.paragraph(self.subtitle, "subtitle")
        return f"<header>\n<h1>{escape(self.title)}</h1>\n{subtitle}{self._chips()}{facts}</header>\n"

    def _chips(self) -> str:
        flagged = [(i, section.flags) for i, section in enumerate(self.sections, start=1) if section.flags]
        if not flagged:
            return ""
        target = f"#section-{flagged[0][0]}"
        counts = count_flags([flag for _, flags in flagged for flag in flags])
        chips = "".join(f'<li class="{css}"><a href="{target}">{words}</a></li>' for css, _, words in counts)
        return f'<ul class="chips" aria-label="Findings">{chips}</ul>\n'

    def _navigation(self) -> str:
        if len(self.sections) < 2:
            return ""
        links = "".join(
            f'<li><a href="#section-{i}">{escape(section.title)}</a></li>'
            for i, section in enumerate(self.sections, start=1)
        )
        return f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page; a file already there is replaced in one step, or stays as it was if anything fails.

        Args:
            path: The HTML file; its folder must exist.

        Returns:
            The path written.

        Raises:
            InputError: If the folder does not exist or can't be written, or `path` is a folder.
        """
        target = Path(path)
        if os.path.isdir(target):
            raise InputError(f"The report needs the name of a file, but {str(target)!r} is a folder.")
        if not os.path.isdir(target.parent):
            raise InputError(f"The report's folder {str(target.parent)!r} does not exist; create it first.")
        content = self.html().encode("utf-8")
        # In the same folder, because a rename is only atomic within one file system.
        draft = target.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with open(draft, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"The report could not be written to {str(target)!r}: {reason}.") from error
        finally:
            draft.unlink(missing_ok=True)
        return target


def _section_html(section: Section, number: int, new_id: Callable[[], str]) -> str:
    name = f"section-{number}"
    content = "".join(
        _group_html(kind, list(group), new_id) for kind, group in itertools.groupby(section.blocks, key=type)
    )
    heading = f'<h2 id="{name}-title">{escape(section.title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{content}</section>\n'


def _group_html(kind: type, group: list, new_id: Callable[[], str]) -> str:
    """Neighboring blocks of one kind."""
    if issubclass(kind, Figure):
        return blocks.figures_html(group, new_id)
    if issubclass(kind, Flag):
        return blocks.flags_html(group)
    writers = {Table: blocks.table_html, Facts: blocks.facts_html, Formula: blocks.formula_html}
    return "".join(writers.get(kind, blocks.paragraph)(block) for block in group)
