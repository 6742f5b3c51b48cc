"""Formulas from LaTeX to SVG paths, without LaTeX and without scripts.

matplotlib's mathtext knows most of what SymPy prints, but no environments. `aligned` and its kin are taken apart into
lines and aligned here; whatever still is not understood is shown as its LaTeX source.
"""

import re
from dataclasses import dataclass

from pdekit.report.content import require_text
from pdekit.report.svg import check_svg

_SIZE = 12.0  # points per em; the drawing is scaled to the text around it
_LEADING = 0.55  # space between lines, em
_PAD = 0.1  # em around the drawing, so that no stroke is cut

_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:aligned|align\*?|gathered|gather\*?|equation\*?|split)\}")
_UNKNOWN = re.compile(r"\\(?:limits|nolimits|displaystyle|textstyle|nonumber|notag)(?![A-Za-z])")
_SIZED = re.compile(r"\\(?:bigl|bigr|Bigl|Bigr|big|Big|biggl|biggr|bigg|Bigg)(?![A-Za-z])")


@dataclass(frozen=True)
class Formula:
    r"""A formula as LaTeX source and, where it could be drawn, as SVG.

    Args:
        latex: The source; lines are split at `\\` and aligned at `&`.
        svg: The drawing, or None to show the source.

    Example:
        >>> Formula.from_latex(r"dX = \theta (\mu - X)\, dt + \sigma\, dW").svg[:4]
        '<svg'
        >>> Formula.from_latex(r"\unknowncommand{x}").svg is None
        True
    """

    latex: str
    svg: str | None = None

    def __post_init__(self) -> None:
        require_text("Formula", latex=self.latex)
        if self.svg is not None:
            check_svg(self.svg, "Formula")

    @classmethod
    def from_latex(cls, latex: str) -> "Formula":
        """Draw the formula if mathtext understands it."""
        return cls(latex, render_formula(latex))


def formula_lines(latex: str) -> list[tuple[str, str]]:
    r"""Split LaTeX into lines (left, right of the alignment mark) that mathtext may know.

    Example:
        >>> formula_lines(r"\begin{aligned} a &= b \\ c &= \displaystyle d \end{aligned}")
        [('a', '= b'), ('c', '= d')]
    """
    text = re.sub(r"^\s*(\$\$?|\\\[|\\\()|(\$\$?|\\\]|\\\))\s*$", "", latex.strip())
    for pattern in (_ENVIRONMENT, _UNKNOWN, _SIZED):
        text = pattern.sub(" ", text)
    lines = []
    for line in re.split(r"\\\\(?:\[[^\]]*\])?|\n\s*\n", text):
        left, _, right = (re.sub(r"\s+", " ", part).strip() for part in _display_fractions(line).partition("&"))
        if left or right:
            lines.append((left, right.replace("&", " ")))
    return lines


def _display_fractions(line: str) -> str:
    """Fractions in full size, except inside braces: those are exponents, roots or parts of other fractions."""
    out, depth = [], 0
    for part in re.split(r"(\\\\|\\[{}]|[{}]|\\frac(?![A-Za-z]))", line):
        depth += (part == "{") - (part == "}")
        out.append(r"\dfrac" if part == r"\frac" and depth == 0 else part)
    return "".join(out)


def render_formula(latex: str) -> str | None:
    """Draw LaTeX as an SVG whose size is in em and whose color is that of the text around it.

    Args:
        latex: With or without dollar signs; `aligned` environments become aligned lines.

    Returns:
        The SVG, or None if matplotlib's mathtext does not know something in it.
    """
    lines = formula_lines(latex)
    if not lines or any("$" in part for line in lines for part in line):
        return None
    try:
        return _draw(lines)
    except (ValueError, RuntimeError):  # mathtext's parser and its fonts raise these
        return None


def _draw(lines: list[tuple[str, str]]) -> str:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=_SIZE, math_fontfamily="cm")
    unit = TextToPath.FONT_SCALE / _SIZE  # glyph outlines come at FONT_SCALE, whatever the size asked for
    converter = TextToPath()

    def measure(text: str) -> tuple[float, float, float]:
        width, height, depth = converter.get_text_width_height_descent(f"${text}$", font, ismath=True)
        return width, height - depth, depth

    mark = [measure(left)[0] if left and right else 0.0 for left, right in lines]
    paths, width, y = [], 0.0, _PAD * _SIZE
    for (left, right), before in zip(lines, mark, strict=True):
        line = f"{left} {right}".strip()
        extent, ascent, descent = measure(line)
        x = _PAD * _SIZE + max(mark) - before
        y += max(ascent, 0.7 * _SIZE)
        vertices, codes = converter.get_text_path(font, f"${line}$", ismath=True)
        paths.append(_path_data([(x + vx / unit, y - vy / unit) for vx, vy in vertices], list(codes)))
        width = max(width, x + extent + _PAD * _SIZE)
        y += max(descent, 0.2 * _SIZE) + _LEADING * _SIZE
    height = y - _LEADING * _SIZE + _PAD * _SIZE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.2f} {height:.2f}" width="{width / _SIZE:.2f}em" '
        f'height="{height / _SIZE:.2f}em" fill="currentColor">' + "".join(f'<path d="{d}"/>' for d in paths) + "</svg>"
    )


def _path_data(vertices: list[tuple[float, float]], codes: list[int]) -> str:
    """SVG path commands from matplotlib's vertices and codes (1 move, 2 line, 3 quadratic, 4 cubic, 79 close)."""
    command, length = {1: "M", 2: "L", 3: "Q", 4: "C"}, {1: 1, 2: 1, 3: 2, 4: 3}
    parts, i = [], 0
    while i < len(codes):
        code = int(codes[i])
        if code not in command:
            parts.append("Z")
            i += 1
            continue
        n = length[code]
        parts.append(command[code] + " ".join(f"{x:.2f} {y:.2f}" for x, y in vertices[i : i + n]))
        i += n
    return "".join(parts)
