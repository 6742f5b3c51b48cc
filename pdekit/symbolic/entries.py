"""Entries of a model, as text, SymPy or numbers, read into expressions in the model's own symbols."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sympy import Basic, Expr, Float, Integer, MatrixBase, Rational, Symbol

from pdekit.errors import ExpressionError, ModelError
from pdekit.symbolic.operations import check_supported
from pdekit.symbolic.parser import canonical, free_names, parse_expression

Entry = str | Expr | float
Shape = tuple[int, ...]


def as_number(value: float) -> Expr:
    """A double as a SymPy number: exact for whole numbers and simple fractions, so that 0.5 gives a square root."""
    value = float(value)
    numerator, denominator = value.as_integer_ratio()
    exact = denominator <= 16 and abs(numerator) <= 2**53
    return Rational(numerator, denominator) if exact else Float(value)


def names_in(entry: Entry) -> tuple[str, ...]:
    """The names that an entry uses, in the order of first appearance in text, sorted in SymPy expressions."""
    if isinstance(entry, str):
        return free_names(entry)
    return tuple(sorted(map(str, entry.free_symbols))) if isinstance(entry, Basic) else ()


def read_entry(entry: Entry, symbols: Mapping[str, Symbol], params: Sequence[str], where: str) -> Expr:
    """One entry as an expression in the model's symbols.

    Raises:
        ExpressionError: If text does not read as a formula.
        ModelError: If a SymPy expression has unknown symbols or functions, or the entry is neither text, SymPy nor a
            number.
    """
    if isinstance(entry, str):
        try:
            return parse_expression(entry, symbols)
        except ExpressionError as error:
            unknown = "unknown name" in str(error)
            remedy = " Declare it in `params` if it is a parameter." if unknown else ""
            raise ExpressionError(f"{where.capitalize()}: {error}{remedy}") from None
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        if not math.isfinite(entry):
            raise ModelError(f"The {where} must be finite, got {entry}.")
        return Integer(entry) if isinstance(entry, int) else Float(entry)
    if not isinstance(entry, Expr):
        raise ModelError(f"The {where} must be text, a SymPy expression or a number, got {type(entry).__name__}.")
    unknown = sorted(set(map(str, entry.free_symbols)) - set(symbols))
    if unknown:
        raise ModelError(
            f"The {where}, {entry}, contains {', '.join(unknown)}, which is neither state, time nor parameter. "
            f"Declare it in `params` (now: {', '.join(params) or 'none'})."
        )
    check_supported(entry, f"The {where}")
    return canonical(entry, symbols)


def shape_diffusion(diffusion: Any, dim: int) -> tuple[Shape, list[Entry]]:
    """The entries of a diffusion, row by row, with their shape: (d,) for diagonal noise or (d, m).

    Raises:
        ModelError: If the shape does not fit `dim` states.
    """
    shape: Shape
    entries: list[Any]
    if isinstance(diffusion, MatrixBase):
        shape, entries = diffusion.shape, list(diffusion.flat())
    elif isinstance(diffusion, str | Expr | int | float):
        shape, entries = (1,), [diffusion]
    else:
        rows = list(diffusion)
        nested = [isinstance(row, list | tuple) for row in rows]
        if any(nested) and not all(nested):
            raise ModelError("`diffusion` mixes rows and single entries: give a list of entries or a list of rows.")
        if not any(nested):
            shape, entries = (len(rows),), rows
        else:
            widths = {len(row) for row in rows}
            if len(widths) != 1 or 0 in widths:
                raise ModelError(
                    f"The rows of `diffusion` must have one length of at least 1, got {sorted(map(len, rows))}."
                )
            shape, entries = (len(rows), widths.pop()), [entry for row in rows for entry in row]
    if shape[0] != dim or 0 in shape:
        expected = f"{dim} entries (diagonal noise) or a matrix with {dim} rows"
        raise ModelError(f"`diffusion` must have {expected}, one per state; got shape {shape}.")
    return shape, entries
