"""SVG that can stand in an HTML page: drawn deterministically, checked, and made free of clashing names."""

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

from pdekit.errors import InputError

# Elements that run code, restyle the page around them, or hold foreign content.
_FORBIDDEN = {"script", "style", "foreignobject", "iframe", "object", "embed", "handler", "set", "animate"}
_SAFE_LINK = re.compile(r"#|data:image/(png|jpeg);base64,")
_FOREIGN_URL = re.compile(r"url\(\s*['\"]?(?!#)|@import", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_TAG = re.compile(r"<[A-Za-z][^<>]*>")


def svg_from_matplotlib(figure: Any) -> str:
    """The `<svg>` element of a matplotlib figure: transparent, text kept as text, no date, no XML header.

    The figure's own size only fixes the `viewBox`, so that the page can scale it.
    """
    import matplotlib

    buffer = io.StringIO()
    # A fixed salt makes matplotlib's generated names, otherwise random, the same every time.
    with matplotlib.rc_context({"svg.hashsalt": "pdekit", "svg.fonttype": "none"}), warnings.catch_warnings():
        # The reader's browser draws the text, so what matplotlib's own font lacks is not missing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=empty, transparent=True, dpi=192)
    text = _CONTROL.sub("", buffer.getvalue())
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # matplotlib's one style rule addresses `*`, which would reach the whole page; on the root it is inherited.
    text = re.sub(r"<style\b.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*</defs>\s*|<defs/>\s*", "", text)
    return re.sub(r' width="[^"]*"| height="[^"]*"', "", text, count=2).replace(
        "<svg ", '<svg stroke-linejoin="round" stroke-linecap="butt" ', 1
    )


def check_svg(text: str, owner: str) -> None:
    """Raise `InputError` unless `text` is one well-formed, inert, self-contained `<svg>` with a `viewBox`."""
    if "<!" in text or "<?" in text:
        raise InputError(f"{owner}: the SVG must start at its <svg> tag, without XML header, DOCTYPE or comments.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{owner}: the SVG is not well-formed XML ({error}).") from error
    if _local(root.tag) != "svg" or "viewBox" not in root.attrib:
        raise InputError(f"{owner}: expected an <svg> element with a viewBox, got <{_local(root.tag)}>.")
    for element in root.iter():
        name = _local(element.tag)
        if name.lower() in _FORBIDDEN:
            raise InputError(f"{owner}: the SVG must not contain <{name}>.")
        for attribute, value in element.attrib.items():
            _check_attribute(_local(attribute).lower(), value, f"{owner}: <{name}>")


def _check_attribute(name: str, value: str, owner: str) -> None:
    if name.startswith("on"):
        raise InputError(f"{owner} must not carry the event handler {name!r}.")
    if name in ("href", "src") and not _SAFE_LINK.match(value):
        raise InputError(f"{owner} must only refer to itself (#name) or embed a PNG or JPEG, got {value[:60]!r}.")
    if _FOREIGN_URL.search(value):
        raise InputError(f"{owner} must not load anything from outside, got {name}={value[:60]!r}.")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def scope_svg(text: str, prefix: str) -> str:
    """Put `prefix` before every id and every reference to one, so that several pictures can share a page.

    Example:
        >>> scope_svg('<svg><path id="a"/><use href="#a" clip-path="url(#b)"/></svg>', "f1-")
        '<svg><path id="f1-a"/><use href="#f1-a" clip-path="url(#f1-b)"/></svg>'
    """

    def scope_tag(match: re.Match[str]) -> str:
        tag = re.sub(r"""(\sid\s*=\s*["'])""", rf"\g<1>{prefix}", match[0])
        return re.sub(r"""(href\s*=\s*["']#|url\(\s*["']?#)""", rf"\g<1>{prefix}", tag)

    return _TAG.sub(scope_tag, text)


def theme_svg(text: str, colors: dict[str, str]) -> str:
    """Replace each color by the page's variable of that name (with itself as the default), for dark pages.

    Example:
        >>> theme_svg('<path style="fill: #1c2430"/>', {"ink": "#1c2430"})
        '<path style="fill: var(--ink, #1c2430)"/>'
    """
    variables = {color.lower(): f"var(--{name}, {color})" for name, color in colors.items()}

    def theme_style(match: re.Match[str]) -> str:
        return re.sub(r"#[0-9a-fA-F]{6}\b", lambda color: variables.get(color[0].lower(), color[0]), match[0])

    # Only inside style attributes: variables are not understood in presentation attributes.
    return _TAG.sub(lambda tag: re.sub(r'\sstyle="[^"]*"', theme_style, tag[0]), text)
