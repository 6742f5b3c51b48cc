"""Names of states that can stand in formulas, from names of columns."""

import keyword
import re
from collections.abc import Sequence

from pdekit.symbolic.vocabulary import CONSTANTS, FUNCTIONS


def state_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Names that can stand in formulas: "log rate" becomes log_rate.

    Example:
        >>> state_names(["log rate", "2nd", "sin", "x"])
        ('log_rate', 'x_2nd', 'sin_', 'x')
    """
    out: list[str] = []
    for column in columns:
        name = re.sub(r"\W+", "_", column).strip("_") or "x"
        name = f"x_{name}" if name[0].isdigit() else name
        name += "_" * (name in FUNCTIONS or name in CONSTANTS or keyword.iskeyword(name))
        while name in out:
            name += "_"
        out.append(name)
    return tuple(out)
