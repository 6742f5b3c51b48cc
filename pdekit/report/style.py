"""One look for every figure: a palette that color-blind readers can tell apart, thin axes, a quiet grid.

The colors are also names in the page's style sheet, so that figures follow a reader's dark mode.
"""

from typing import Any

from pdekit.errors import InputError

INK = "#1c2430"  # axis labels
MUTED = "#5d6978"  # ticks
GRID = "#e4e7ec"
OBSERVED = "#6b7a8c"  # data: slate
FITTED = "#0072b2"  # the model: blue (Okabe and Ito, 2008)
BAND = "#8fc1e3"  # confidence bands around FITTED; fill with linewidth=0
SIMULATED = "#d55e00"  # simulations from the model: vermilion
REFERENCE = "#9a6fb0"  # truth, theory or a threshold: purple, drawn dashed
PALETTE = (FITTED, SIMULATED, "#009e73", "#cc79a7", "#e69f00", OBSERVED)

# Every color that the page may replace in dark mode, by the name of its CSS variable.
THEME = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "observed": OBSERVED,
    "fitted": FITTED,
    "band": BAND,
    "simulated": SIMULATED,
    "reference": REFERENCE,
}

_RC = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "grid.linestyle": "-",
    "grid.alpha": 1.0,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.direction": "out",
    "ytick.direction": "out",
}


def new_figure(
    *,
    nrows: int = 1,
    ncols: int = 1,
    wide: bool = False,
    height: float | None = None,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Any, Any]:
    """A matplotlib figure with axes in the report's look; matplotlib's global settings are left alone.

    Args:
        nrows: Rows of axes.
        ncols: Columns of axes.
        wide: Whether the figure will span both columns of the page (pass the same to `Figure`).
        height: Inches; by default 3.4 for one row and 2.6 for each of several.
        sharex: Whether axes share x.
        sharey: Whether axes share y.

    Returns:
        The `matplotlib.figure.Figure`, and one `Axes` or a NumPy array of them as `Figure.subplots` gives.

    Raises:
        InputError: If there is no row or column, or the height is not positive.

    Example:
        >>> canvas, axes = new_figure(ncols=2)
        >>> len(axes)
        2
    """
    if nrows < 1 or ncols < 1:
        raise InputError(f"A figure needs at least one row and one column of axes, got {nrows} x {ncols}.")
    if height is None:
        height = 3.4 if nrows == 1 else 2.6 * nrows
    if not height > 0:
        raise InputError(f"A figure's height must be positive, got {height}.")
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {**_RC, "axes.prop_cycle": cycler(color=PALETTE)}
    with matplotlib.rc_context(look):
        # The two widths make text equally large on the page in either kind of figure.
        figure = Figure(figsize=(12.4 if wide else 6.0, height), layout="constrained")
        return figure, figure.subplots(nrows, ncols, sharex=sharex, sharey=sharey)


def add_legend(axes: Any, **options: Any) -> None:
    """A frameless legend in the report's look, with matplotlib's own `options` (such as `loc` or `ncols`)."""
    axes.legend(**{"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 1.6, **options})


def plain_label(text: str) -> str:
    r"""A user's text as an axis label: dollar signs stay dollar signs and start no formula.

    Example:
        >>> plain_label("price in $")
        'price in \\$'
    """
    return text.replace("$", r"\$")
