"""Hypothesis strategies: fields, scalars, equations, densities, hollow nets, points and shapes.

Everything is drawn so that it shrinks to something a reader takes in at a glance: expressions towards a single symbol,
numbers towards small integers, dimensions and shapes towards one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import sympy
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sympy import Expr, ImmutableMatrix, Rational, Symbol

from pdekit.nets import (
    AttentionConditioner,
    ConvolutionConditioner,
    HollowNet,
    HollowTransformerConditioner,
    MaskedConditioner,
    MLPTransformer,
    PoolingConditioner,
    ScanConditioner,
)
from pdekit.sde import Convention, NoiseType
from pdekit.symbolic.oracles import Equation
from pdekit.testing.equations import SymbolicEquation
from pdekit.testing.functions import TIME, Columns, HollowColumns, Layered, SymbolicFunction, state_symbols
from pdekit.testing.networks import ACTIVATIONS, Network
from pdekit.testing.options import known
from pdekit.testing.specifications import FORMS

_NOISE = ("additive", "separable", "diagonal", "scalar", "general", "degenerate")
_STEP = 64  # points lie on a lattice of 1/64, which float32 and bfloat16's products hold exactly
_UNARY: tuple[Callable[[Expr], Expr], ...] = (
    sympy.sin,
    sympy.tanh,
    lambda z: z**2,
    sympy.cos,
    lambda z: z**3,
    lambda z: sympy.exp(-(z**2)),
    lambda z: 1 / (1 + z**2),
    lambda z: sympy.sqrt(1 + z**2),
    lambda z: sympy.log(1 + z**2),
    sympy.atan,
    lambda z: sympy.exp(sympy.sin(z)),
    sympy.erf,
)


def coefficients() -> SearchStrategy[Any]:
    """Small numbers other than 0, exact in binary."""
    return st.sampled_from([Rational(n, 4) for n in (4, -4, 8, 2, -2, 1, 3, -3, -6, 6)])


@st.composite
def expressions(draw: st.DrawFn, symbols: Sequence[Symbol], depth: int = 3) -> Expr:
    """A smooth expression of `symbols`, defined everywhere; shrinks to the first symbol."""
    # Products and functions twice: of a bare symbol every second derivative is zero, which proves little.
    kinds = ["symbol", "scaled", "sum", "product", "function", "product", "function"] if depth else ["symbol"]
    kind = draw(st.sampled_from(kinds))
    again = partial(expressions, symbols, depth - 1)
    if kind == "symbol":
        return draw(st.sampled_from(list(symbols)))
    if kind == "scaled":
        return draw(coefficients()) * draw(again())
    if kind == "function":
        return draw(st.sampled_from(_UNARY))(draw(again()))
    a, b = draw(again()), draw(again())
    return a + b if kind == "sum" else a * b


def _symbols(dim: int, time: bool) -> tuple[Symbol, ...]:
    return (*state_symbols(dim), TIME) if time else state_symbols(dim)


@st.composite
def scalars(draw: st.DrawFn, dim: int, *, time: bool = False, depth: int = 3) -> Columns:
    """A scalar function of d states."""
    return Columns(dim, (draw(expressions(_symbols(dim, time), depth)),), scalar=True)


@st.composite
def fields(draw: st.DrawFn, dim: int, *, time: bool = False, depth: int = 3) -> Columns:
    """A vector field of d states."""
    return Columns(dim, tuple(draw(expressions(_symbols(dim, time), depth)) for _ in range(dim)))


@st.composite
def layered(draw: st.DrawFn, dim: int, *, scalar: bool, time: bool = False, depth: int = 3) -> Layered:
    """A function with a linear first layer of one to three units."""
    width = draw(st.integers(1, 3))
    weight = ImmutableMatrix(width, dim, lambda *_: draw(coefficients()))
    bias = tuple(draw(coefficients()) for _ in range(width))
    inner = [Symbol(f"z{i + 1}", real=True) for i in range(width)]
    symbols = (*inner, TIME) if time else tuple(inner)
    outer = [draw(expressions(symbols, depth - 1)) for _ in range(1 if scalar else dim)]
    if not any(e.free_symbols & set(inner) for e in outer):
        outer[0] += inner[0]  # a layer that nothing uses is none
    return Layered(weight, bias, tuple(outer), scalar)


@st.composite
def networks(draw: st.DrawFn, dim: int, *, scalar: bool, layers: int = 1) -> Network:
    """A perceptron of one or two hidden layers of one to three units, with any smooth activation of torch."""
    widths = [dim, *(draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, layers)))), 1 if scalar else dim]
    weights = tuple(ImmutableMatrix(m, n, lambda *_: draw(coefficients())) for n, m in pairwise(widths))
    biases = tuple(ImmutableMatrix(m, 1, lambda *_: draw(coefficients())) for m in widths[1:])
    return Network(weights, biases, draw(st.sampled_from(list(ACTIVATIONS))), scalar)


@st.composite
def hollow_fields(draw: st.DrawFn, dim: int, *, time: bool = False, depth: int = 3) -> HollowColumns:
    """A hollow field: features free of their own state, and a transformer for each dimension."""
    count = draw(st.integers(1, 2))
    state = state_symbols(dim)
    rows = []
    for i in range(dim):
        others = [*state[:i], *state[i + 1 :], *([TIME] if time else [])]
        entry = expressions(others, depth - 2) if others else st.sampled_from([sympy.S.One])
        rows.append([draw(entry) for _ in range(count)])
    features = [Symbol(f"h{j + 1}", real=True) for j in range(count)]
    tau = tuple(draw(expressions((x, *features), depth - 1)) for x in state)
    return HollowColumns(dim, ImmutableMatrix(rows), tau)


def dims(most: int = 3) -> SearchStrategy[int]:
    """Dimensions from 1."""
    return st.integers(1, most)


@st.composite
def equations(
    draw: st.DrawFn,
    dim: int,
    *,
    noise: Sequence[str] = _NOISE,
    conventions: Sequence[Convention] = ("ito", "stratonovich"),
    time: bool = True,
    depth: int = 2,
) -> SymbolicEquation:
    """An SDE. `"degenerate"` leaves a state without noise; `"general"` has any number of noises up to three."""
    known(noise, _NOISE, "noise")
    known(conventions, get_args(Convention), "conventions")
    symbols = _symbols(dim, time)
    kind = draw(st.sampled_from(list(noise)))
    entry = partial(expressions, symbols, depth)
    drift = tuple(draw(entry()) for _ in range(dim))
    declared, diffusion = _diffusion(draw, kind, dim, entry, time)
    equation = Equation(state_symbols(dim), TIME, drift, diffusion, draw(st.sampled_from(list(conventions))))
    return SymbolicEquation(equation, declared, separable=kind == "separable")


def _diffusion(
    draw: st.DrawFn, kind: str, dim: int, entry: Callable[[], Any], time: bool
) -> tuple[NoiseType, ImmutableMatrix]:
    if kind in ("diagonal", "degenerate", "separable"):
        state = state_symbols(dim)
        if kind == "separable":
            found = [draw(expressions((x, TIME) if time else (x,), 2)) for x in state]
        else:
            found = [draw(entry()) for _ in range(dim)]
        if kind == "degenerate":
            found[draw(st.integers(0, dim - 1))] = sympy.S.Zero
        return "diagonal", ImmutableMatrix(sympy.diag(*found))
    if kind == "scalar":
        return "scalar", ImmutableMatrix(dim, 1, lambda *_: draw(entry()))
    columns = draw(st.integers(1, 3))
    if kind == "additive":
        constant = expressions((TIME,), 1) if time else coefficients()
        return "additive", ImmutableMatrix(dim, columns, lambda *_: draw(constant))
    return "general", ImmutableMatrix(dim, columns, lambda *_: draw(entry()))


@st.composite
def log_densities(draw: st.DrawFn, dim: int, *, time: bool = True) -> Columns:
    """The logarithm of a density, not normalised and not Gaussian."""
    gaussian = -sum((draw(coefficients()) * x) ** 2 for x in state_symbols(dim)) / 2
    return Columns(dim, (gaussian + sympy.sin(draw(expressions(_symbols(dim, time), 2))),), scalar=True)


@st.composite
def gaussian_mixtures(draw: st.DrawFn, dim: int) -> Columns:
    """A normalised density: a mixture of one to three normal densities with diagonal covariance."""
    count, total = draw(st.integers(1, 3)), sympy.S.Zero
    for _ in range(count):
        product = Rational(1, count)
        for x in state_symbols(dim):
            mean, scale = draw(coefficients()), abs(draw(coefficients()))
            product *= sympy.exp(-(((x - mean) / scale) ** 2) / 2) / (scale * sympy.sqrt(2 * sympy.pi))
        total += product
    return Columns(dim, (total,), scalar=True)


def numbers_on_lattice(most: float = 1.5) -> SearchStrategy[float]:
    """Numbers in [-most, most] that are multiples of 1/64, exact in every dtype that is tried."""
    bound = int(most * _STEP)
    return st.integers(-bound, bound).map(lambda n: n / _STEP)


@st.composite
def points(draw: st.DrawFn, dim: int, count: int = 3) -> np.ndarray:
    """States (count, dim), exact in float32."""
    return np.array([[draw(numbers_on_lattice()) for _ in range(dim)] for _ in range(count)]).reshape(count, dim)


def times() -> SearchStrategy[float]:
    """A time in [0, 2], exact in float32."""
    return st.integers(0, 2 * _STEP).map(lambda n: n / _STEP)


def batch_shapes() -> SearchStrategy[tuple[int, ...]]:
    """Shapes of batches: none, one axis, two axes, and empty ones."""
    return st.sampled_from([(1,), (), (4,), (2, 3), (0,), (1, 1), (3, 0)])


@st.composite
def hollow_nets(draw: st.DrawFn, dim: int, *, time: bool = False, dtype: torch.dtype = torch.float64) -> HollowNet:
    """A HollowNet with any of the conditioners, small sizes and a seed."""
    features = draw(st.integers(1, 4))
    conditioner = draw(
        st.sampled_from(
            [
                MaskedConditioner(features=features, hidden=(8, 8)),
                ScanConditioner(features=features, width=4, hidden=4),
                PoolingConditioner(features=features, hidden=(6,)),
                AttentionConditioner(features=features, width=4),
                HollowTransformerConditioner(features=features, width=4),
                ConvolutionConditioner(shape=(dim,), features=features, hidden=(6,), kernel=3),
            ]
        )
    )
    transformer = draw(st.sampled_from([MLPTransformer(hidden=(5,)), MLPTransformer(hidden=(5, 4), gated=False)]))
    seed = draw(st.integers(0, 999))
    return HollowNet(dim, conditioner, transformer, time=time, seed=seed).to(dtype)


def functions(
    dim: int, *, scalar: bool, form: str, time: bool = False, depth: int = 3
) -> SearchStrategy[SymbolicFunction]:
    """Functions of one form: `"columns"`, `"layered"`, `"network"` or `"hollow"` (vector fields only)."""
    known([form], ("columns", "layered", "network") if scalar else FORMS, "form")
    if form == "network":
        return networks(dim, scalar=scalar, layers=2 if depth > 2 else 1)
    if form == "hollow":
        return hollow_fields(dim, time=time, depth=depth)
    if form == "layered":
        return layered(dim, scalar=scalar, time=time, depth=depth)
    return scalars(dim, time=time, depth=depth) if scalar else fields(dim, time=time, depth=depth)


__all__ = [
    "batch_shapes",
    "coefficients",
    "dims",
    "equations",
    "expressions",
    "fields",
    "functions",
    "gaussian_mixtures",
    "hollow_fields",
    "hollow_nets",
    "layered",
    "log_densities",
    "networks",
    "numbers_on_lattice",
    "points",
    "scalars",
    "times",
]
