"""The initial law that flags ask for: numbers, normal laws, a file of samples, or a formula."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdekit.cli.arguments import number_list
from pdekit.errors import DataError, InputError

_FLAG = "--initial"
_NORMAL = re.compile(r"\s*normal\s*\(([^()]*)\)\s*", re.IGNORECASE)
_FILES = (".csv", ".tsv", ".txt")


def read_initial(given: Sequence[str] | None, states: Sequence[str]) -> Any:
    """What `FokkerPlanckProblem(initial=...)` takes; None if nothing is given.

    Args:
        given: Once per state a number or "normal(mean, sd)"; or once a file of samples or a density as a formula.
        states: Names of the states.

    Raises:
        InputError: If it is none of these.
        DataError: If the file can't be read.

    Example:
        >>> read_initial(["1.0"], ["x"])
        [1.0]
        >>> read_initial(["normal(1, 0.5)"], ["x"]).covariance_matrix.tolist()
        [[0.25]]
    """
    if not given:
        return None
    normals = [_NORMAL.fullmatch(text) for text in given]
    if any(normals):
        return _normal([m[1] if m else None for m in normals], states)
    if len(given) == 1 and Path(given[0]).suffix.lower() in _FILES:
        return _samples(given[0], states)
    if len(given) == 1 and not _is_number(given[0].split(",")[0]):
        return given[0]  # a formula, which the problem reads through the whitelist
    point = number_list(given, _FLAG)
    if len(point) != len(states):
        raise InputError(
            f"{_FLAG} takes one number for each of {', '.join(states)}; got {len(point)}: {', '.join(given)}."
        )
    return list(point)


def _normal(inner: Sequence[str | None], states: Sequence[str]) -> Any:
    import torch

    expected = f"normal(mean, sd), once per state ({', '.join(states)}), such as {_FLAG} 'normal(0, 0.5)'"
    pairs: list[tuple[float, ...]] = [() if text is None else number_list([text], _FLAG) for text in inner]
    if len(pairs) != len(states) or any(len(pair) != 2 for pair in pairs):
        raise InputError(f"{_FLAG} takes {expected}; got {len(pairs)} of them, or other things beside them.")
    if any(pair[1] <= 0 for pair in pairs):
        raise InputError(f"{_FLAG} takes {expected}, and sd must be positive; for sd = 0 give the number alone.")
    mean, sd = (torch.tensor(part, dtype=torch.float64) for part in zip(*pairs, strict=True))
    return torch.distributions.MultivariateNormal(mean, torch.diag(sd**2))


def _samples(path: str, states: Sequence[str]) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(path, sep=r"\s*[,;\t]\s*", engine="python")
    except FileNotFoundError:
        raise InputError(f"There is no file {path!r}, which {_FLAG} names.") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} of {_FLAG} can't be read: {error}") from None
    columns = [str(name).strip() for name in table.columns]
    if all(_is_number(name) for name in columns):
        raise DataError(f"{path} has no header: its first line should name the states, {', '.join(states)}.")
    table.columns = columns
    if not set(states) <= set(columns):
        raise DataError(f"{path} should have the columns {', '.join(states)}; its columns are {', '.join(columns)}.")
    try:
        values = table[list(states)].to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} should hold numbers: {error}.") from None
    if len(values) < 2:
        raise DataError(f"{path} should hold samples, at least two rows of them; it has {len(values)}.")
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
