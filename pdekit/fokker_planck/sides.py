"""Where a density lives, and what happens at each side of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

from pdekit.errors import InputError

Side = Literal["natural", "reflecting", "absorbing", "periodic"]


@dataclass(frozen=True)
class Domain:
    """A box with a rule for each of its sides.

    Args:
        lower: Lower ends, infinite where there is none, (d,).
        upper: Upper ends, likewise.
        sides: What happens at the two ends of each state. Through a natural side nothing goes: it is infinitely far
            away, or the process does not get there or is turned back by its own coefficients.
        names: The names of the states, for messages.

    Raises:
        InputError: If ends are out of order, or a rule does not fit its side.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    sides: tuple[tuple[Side, Side], ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, low, high, sides in zip(self.names, self.lower, self.upper, self.sides, strict=True):
            if not low < high:
                raise InputError(
                    f"The domain of {name} must have its lower end below its upper one, got {low}, {high}."
                )
            if ("periodic" in sides) and sides != ("periodic", "periodic"):
                raise InputError(f"A state is periodic at both sides or at none; {name} has {sides}.")
            for end, side in zip((low, high), sides, strict=True):
                if side != "natural" and not np.isfinite(end):
                    raise InputError(
                        f"A side that is {side} needs a finite end: {name} in ({low:g}, {high:g}) has {end:g}. Give a "
                        "number for it in domain=, or call this side natural."
                    )

    @classmethod
    def of(cls, domain: Any, boundary: Any, dim: int, default: Any, names: tuple[str, ...]) -> "Domain":
        """The domain that a user states.

        Args:
            domain: (lower, upper) of each state, None or infinity for no end; None for `default`; a single pair for
                one state.
            boundary: One rule, one for each state, or a pair for each state.
            dim: d.
            default: The model's own domain.
            names: The names of the states.
        """
        ends = _ends(default if domain is None else domain, dim)
        return cls(tuple(e[0] for e in ends), tuple(e[1] for e in ends), _sides(boundary, dim), names)

    @property
    def dim(self) -> int:
        """The number of states d."""
        return len(self.lower)

    @property
    def conserves(self) -> bool:
        """Whether no mass is lost."""
        return not any("absorbing" in sides for sides in self.sides)

    def periodic(self, i: int) -> bool:
        """Whether state i is."""
        return self.sides[i][0] == "periodic"

    def contains(self, x: np.ndarray, *, wrapped: bool = False) -> np.ndarray:
        """Which states (n, d) lie inside or on a side, (n,); of periodic ones, if `wrapped`, all."""
        free = np.array([wrapped and self.periodic(i) for i in range(self.dim)])
        return np.all((x >= np.array(self.lower)) & (x <= np.array(self.upper)) | free, axis=-1)

    def __str__(self) -> str:
        parts = [
            f"{n} in ({low:g}, {high:g}) {a if a == b else a + '/' + b}"
            for n, low, high, (a, b) in zip(self.names, self.lower, self.upper, self.sides, strict=True)
        ]
        return ", ".join(parts)


def _ends(domain: Any, dim: int) -> list[tuple[float, float]]:
    try:
        rows = list(domain)
        if dim == 1 and len(rows) == 2 and not any(isinstance(end, Sequence) for end in rows):
            rows = [rows]
        ends = [(-np.inf if low is None else float(low), np.inf if high is None else float(high)) for low, high in rows]
    except (TypeError, ValueError) as cause:
        raise InputError(f"domain must be (lower, upper) of each of the {dim} states, got {domain!r}.") from cause
    if len(ends) != dim or np.isnan(ends).any():
        raise InputError(f"domain must be (lower, upper) of each of the {dim} states, got {domain!r}.")
    return ends


def _sides(boundary: Any, dim: int) -> tuple[tuple[Side, Side], ...]:
    rows = [boundary] * dim if isinstance(boundary, str) else list(boundary) if isinstance(boundary, Sequence) else []
    if dim == 1 and len(rows) == 2 and all(isinstance(side, str) for side in rows):
        rows = [rows]
    pairs = [(row, row) if isinstance(row, str) else tuple(row) for row in rows if isinstance(row, str | Sequence)]
    known = get_args(Side)
    if len(pairs) != dim or not all(len(pair) == 2 and set(pair) <= set(known) for pair in pairs):
        raise InputError(
            f"boundary must be one of {', '.join(known)}, or one (or a pair of them) for each of the {dim} states, got "
            f"{boundary!r}."
        )
    return tuple((cast(Side, pair[0]), cast(Side, pair[1])) for pair in pairs)


__all__ = ["Domain", "Side"]
