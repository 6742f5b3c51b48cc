"""What the options of conditioners refuse, in one wording."""

from collections.abc import Sequence

from pdekit.errors import ModelError


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is not an integer of at least `least`.

    Raises:
        ModelError: With the name, what was expected and what came.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ModelError(f"{name} must be an integer of at least {least}, got {value!r}.")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is none of `choices`.

    Raises:
        ModelError: With the values that exist.
    """
    if value not in choices:
        raise ModelError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_heads(width: int, heads: int) -> None:
    """Refuse a width that normalisation would erase or that the heads cannot share evenly.

    Raises:
        ModelError: If width is below 2 or not a multiple of heads.
    """
    check_count("width", width, least=2)
    check_count("heads", heads)
    if width % heads:
        raise ModelError(f"heads must divide width={width}, got heads={heads}; try width={heads * 16}.")


def counts(name: str, values: object, fewest: int = 1) -> tuple[int, ...]:
    """The tuple of positive integers that `values` holds; a list, which is what JSON makes of a tuple, is welcome.

    Raises:
        ModelError: If it is no tuple or list, has fewer than `fewest` entries, or an entry is not a positive integer.
    """
    if not isinstance(values, tuple | list) or len(values) < fewest:
        raise ModelError(f"{name} must be a tuple of at least {fewest} positive integers, got {values!r}.")
    for position, value in enumerate(values):
        check_count(f"{name}[{position}]", value)
    return tuple(values)


__all__ = ["check_choice", "check_count", "check_heads", "counts"]
