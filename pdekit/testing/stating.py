"""Trials stated as text, as the message of a failure prints them."""

from collections.abc import Sequence
from typing import Any, get_args

import sympy
from sympy import Expr, ImmutableMatrix, Symbol

from pdekit.errors import InputError
from pdekit.sde import Convention, NoiseType
from pdekit.symbolic import parse_expression
from pdekit.symbolic.oracles import Equation
from pdekit.testing.equations import SymbolicEquation
from pdekit.testing.functions import TIME, Columns, HollowColumns, Layered, state_symbols
from pdekit.testing.networks import ACTIVATIONS, Network
from pdekit.testing.options import known
from pdekit.testing.specifications import Coefficients

Text = str | float | Expr


def vector(*entries: Text, dim: int | None = None) -> Columns:
    """A vector field of x1 ... xd and t, one entry per state.

    Example:
        >>> vector("x1*x2", "sin(t)")
        testing.vector('x1*x2', 'sin(t)', dim=2)
    """
    d = len(entries) if dim is None else dim
    if len(entries) != d or d < 1:
        raise InputError(f"A vector field has one entry per state, got {len(entries)} entries for {d} states.")
    return Columns(d, _read(entries, [*state_symbols(d), TIME]))


def scalar(entry: Text, dim: int) -> Columns:
    """A scalar function of x1 ... xd and t."""
    if dim < 1:
        raise InputError(f"A function has one state at least, got dim={dim}.")
    return Columns(dim, _read([entry], [*state_symbols(dim), TIME]), scalar=True)


def layered(
    weight: Sequence[Sequence[Text]], bias: Sequence[Text], outer: Sequence[Text], *, scalar: bool = False
) -> Layered:
    """g(W x + b) with g in z1 ... zh and t."""
    inner = [Symbol(f"z{i + 1}", real=True) for i in range(len(weight))]
    return Layered(_matrix(weight, []), _read(bias, []), _read(outer, [*inner, TIME]), scalar)


def network(
    weights: Sequence[Sequence[Sequence[Text]]],
    biases: Sequence[Sequence[Text]],
    activation: str,
    *,
    scalar: bool = False,
) -> Network:
    """A perceptron of numbers, with an activation such as `"tanh"` or `"silu"` between its layers."""
    if activation not in ACTIVATIONS:
        raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
    columns = tuple(_matrix([[b] for b in bias], []) for bias in biases)
    return Network(tuple(_matrix(w, []) for w in weights), columns, activation, scalar)


def hollow(features: Sequence[Sequence[Text]], tau: Sequence[Text]) -> HollowColumns:
    """f_i = tau_i(x_i, h_i): row i of `features` in the other states and t, tau_i in x_i and h1 ... hk."""
    state = state_symbols(len(tau))
    count = len(features[0]) if features else 0
    inner = [Symbol(f"h{j + 1}", real=True) for j in range(count)]
    for i, row in enumerate(_matrix(features, [*state, TIME]).tolist()):
        if any(state[i] in e.free_symbols for e in row):
            raise InputError(f"Row {i} of the features must not contain {state[i]}: {row}.")
    own = tuple(_entry(e, [x, *inner]) for e, x in zip(tau, state, strict=True))
    return HollowColumns(len(tau), _matrix(features, [*state, TIME]), own)


def equation(
    drift: Sequence[Text],
    diffusion: Sequence[Sequence[Text]],
    *,
    convention: Convention = "ito",
    noise_type: NoiseType = "general",
    separable: bool = False,
) -> SymbolicEquation:
    """dX = f dt + G dW in x1 ... xd and t; G as rows, also for diagonal noise.

    Raises:
        InputError: If the formulas contradict what is declared.
    """
    known([convention], get_args(Convention), "convention")
    known([noise_type], get_args(NoiseType), "noise_type")
    state = state_symbols(len(drift))
    symbols = [*state, TIME]
    found = Equation(state, TIME, _read(drift, symbols), _matrix(diffusion, symbols), convention)
    _check_declared(found.diffusion, state, noise_type, separable)
    return SymbolicEquation(found, noise_type, separable)


def _check_declared(matrix: ImmutableMatrix, state: Sequence[Symbol], noise_type: NoiseType, separable: bool) -> None:
    if noise_type == "scalar" and matrix.cols != 1:
        raise InputError(f"Scalar noise is one noise for all states: G must have one column, got {matrix.cols}.")
    if noise_type == "additive" and matrix.free_symbols & set(state):
        raise InputError(f"Additive noise doesn't depend on the state, but G does: {matrix.tolist()}.")
    if noise_type == "diagonal" and not matrix.is_diagonal():
        raise InputError(f"Diagonal noise needs a diagonal G, given as rows, got {matrix.tolist()}.")
    if separable and noise_type != "diagonal":
        raise InputError(f"separable=True is said of diagonal noise, got noise_type={noise_type!r}.")
    for x, g in zip(state, matrix.diagonal() if separable else (), strict=False):
        if (g.free_symbols & set(state)) - {x}:
            raise InputError(f"In separable noise the entry of {x} is a function of {x} and t alone, got {g}.")


def coefficients(
    drift: Sequence[Text],
    factor: Sequence[Sequence[Text]] | None = None,
    tensor: Sequence[Sequence[Text]] | None = None,
    potential: Text = 0,
) -> Coefficients:
    """b, C = S S^T or C itself, and c of a second-order operator."""
    if (factor is None) == (tensor is None):
        raise InputError("Give one of factor= (S with C = S S^T) and tensor= (C).")
    symbols = [*state_symbols(len(drift)), TIME]
    s, c = (None if m is None else _matrix(m, symbols) for m in (factor, tensor))
    return Coefficients(_read(drift, symbols), s, c, _read([potential], symbols)[0])


def _read(entries: Sequence[Text], symbols: Sequence[Symbol]) -> tuple[Expr, ...]:
    return tuple(_entry(e, symbols) for e in entries)


def _entry(entry: Any, symbols: Sequence[Symbol]) -> Expr:
    if isinstance(entry, str):
        return parse_expression(entry, {s.name: s for s in symbols})
    return sympy.sympify(entry, strict=True)


def _matrix(rows: Sequence[Sequence[Text]], symbols: Sequence[Symbol]) -> ImmutableMatrix:
    return ImmutableMatrix([[_entry(e, symbols) for e in row] for row in rows])


__all__ = ["coefficients", "equation", "hollow", "layered", "network", "scalar", "vector"]
