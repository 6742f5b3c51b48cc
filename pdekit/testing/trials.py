"""Trials of a specification, drawn by Hypothesis."""

from hypothesis import strategies as st
from sympy import ImmutableMatrix

from pdekit.testing import strategies
from pdekit.testing.functions import TIME, state_symbols
from pdekit.testing.specifications import Coefficients, Form, Specification, Trial


@st.composite
def trials(draw: st.DrawFn, specification: Specification, form: Form = "columns", most_dims: int = 3) -> Trial:
    """Functions, equations, points and a time for a specification."""
    dim = draw(strategies.dims(most_dims))
    function = equation = coefficients = None
    if specification.density:
        function = draw(strategies.log_densities(dim))
    elif specification.scalar is not None:
        time = draw(st.booleans())
        function = draw(
            strategies.functions(dim, scalar=specification.scalar, form=form, time=time, depth=specification.depth)
        )
    if specification.equation:
        equation = draw(strategies.equations(dim))
    if specification.general:
        coefficients = draw(general_coefficients(dim))
    return Trial(function, equation, coefficients, draw(strategies.points(dim)), draw(strategies.times()))


@st.composite
def general_coefficients(draw: st.DrawFn, dim: int) -> Coefficients:
    """b, C by a factor or as an indefinite tensor, and c."""
    entry = strategies.expressions((*state_symbols(dim), TIME), 1)
    drift = tuple(draw(entry) for _ in range(dim))
    columns = draw(st.integers(1, 2))
    if draw(st.booleans()):
        entry = strategies.coefficients()  # constants, which operators take as tensors
    if draw(st.booleans()):
        return Coefficients(drift, ImmutableMatrix(dim, columns, lambda *_: draw(entry)), None, draw(entry))
    return Coefficients(drift, None, ImmutableMatrix(dim, dim, lambda *_: draw(entry)), draw(entry))
