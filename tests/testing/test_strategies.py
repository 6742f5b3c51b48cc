"""What the strategies draw is what they promise, and shrinks to something short."""

import hypothesis
import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.symbolic import oracles
from pdekit.symbolic.evaluation import evaluate
from pdekit.testing import check_density, check_hollow, check_sde, strategies
from pdekit.testing.functions import TIME, state_symbols


def simplest(strategy, condition):
    quiet = settings(max_examples=100, deadline=None, database=None, derandomize=True)
    return hypothesis.find(strategy, condition, settings=quiet)


@settings(max_examples=30)
@given(st.data())
def test_expressions_are_real_and_finite(data):
    symbols = (*state_symbols(2), TIME)
    expression = data.draw(strategies.expressions(symbols, 3))
    assert expression.is_extended_real is not False
    assert expression.free_symbols <= set(symbols)
    points = np.column_stack([data.draw(strategies.points(2)), np.full(3, data.draw(strategies.times()))])
    derivatives = [expression, *(sympy.diff(expression, x) for x in symbols)]
    assert np.isfinite(evaluate(derivatives, symbols, points).value).all()


@settings(max_examples=20)
@given(st.data())
def test_functions_have_what_they_are_asked_for(data):
    dim = data.draw(strategies.dims())
    assert 1 <= dim <= 3
    for form in ("columns", "layered", "hollow"):
        field = data.draw(strategies.functions(dim, scalar=False, form=form))
        assert (field.dim, len(field.outputs), field.scalar, field.timed) == (dim, dim, False, False)
        if form != "hollow":
            scalar = data.draw(strategies.functions(dim, scalar=True, form=form))
            assert (scalar.dim, len(scalar.outputs), scalar.scalar) == (dim, 1, True)


@settings(max_examples=30)
@given(st.data())
def test_hollow_features_are_free_of_their_own_state(data):
    field = data.draw(strategies.hollow_fields(data.draw(strategies.dims()), time=True))
    for i, x in enumerate(field.state):
        assert x not in field.features.row(i).free_symbols
        assert field.tau[i].free_symbols <= {x, *field.symbols}
    t, x = torch.tensor(0.5), torch.zeros(1, field.dim, dtype=torch.float64)
    h = field.module().condition(*([t] if field.timed else []), x)
    assert h.shape == (1, field.dim, len(field.symbols))


@settings(max_examples=40)
@given(st.data())
def test_equations_have_what_they_declare(data):
    drawn = data.draw(strategies.equations(data.draw(strategies.dims())))
    g, state = drawn.equation.diffusion, drawn.equation.state
    assert drawn.equation.convention in ("ito", "stratonovich")
    if drawn.noise_type == "additive":
        assert not g.free_symbols & set(state)
    if drawn.noise_type == "diagonal":
        assert g.is_diagonal()
        assert g.shape == (drawn.dim, drawn.dim)
    if drawn.noise_type == "scalar":
        assert g.cols == 1
    if drawn.separable:
        assert drawn.noise_type == "diagonal"
        assert all(g[i, i].free_symbols <= {x, TIME} for i, x in enumerate(state))


@settings(max_examples=10)
@given(st.data())
def test_equations_pass_their_check(data):
    check_sde(data.draw(strategies.equations(data.draw(strategies.dims()), depth=1)).sde)


@pytest.mark.parametrize("kind", ["additive", "separable", "diagonal", "scalar", "general", "degenerate"])
@settings(max_examples=5)
@given(data=st.data())
def test_noise_of_each_kind_can_be_asked_for(kind, data):
    drawn = data.draw(strategies.equations(2, noise=[kind], conventions=["stratonovich"], time=False))
    expected = "diagonal" if kind in ("separable", "degenerate") else kind
    assert (drawn.noise_type, drawn.separable) == (expected, kind == "separable")
    assert drawn.equation.convention == "stratonovich"
    assert not any(TIME in e.free_symbols for e in (*drawn.equation.drift, *drawn.equation.diffusion))
    if kind == "degenerate":
        assert 0 in drawn.equation.diffusion.diagonal()


@settings(max_examples=8)
@given(st.data())
def test_hollow_nets_are_hollow(data):
    dim, time = data.draw(st.integers(2, 4)), data.draw(st.booleans())
    net = data.draw(strategies.hollow_nets(dim, time=time))
    check_hollow(net, dim, time=0.5 if time else None)


@settings(max_examples=6)
@given(st.data())
def test_mixtures_have_mass_one(data):
    dim = data.draw(strategies.dims(2))
    mixture = data.draw(strategies.gaussian_mixtures(dim))
    assert not mixture.timed
    density = mixture.module()
    # Narrow components far from one another: the box makes sure that quadrature sees them.
    check_density(lambda x: torch.log(density(x)), dim, lower=[-14] * dim, upper=[14] * dim, rtol=1e-4)


@settings(max_examples=20)
@given(st.data())
def test_log_densities_vanish_far_away(data):
    density = data.draw(strategies.log_densities(2))
    far = evaluate([density.expression], (*state_symbols(2), TIME), np.array([[100.0, 0, 0.5], [0, -100, 1]])).value
    assert (far < -100).all()


@settings(max_examples=30)
@given(st.data())
def test_points_and_times_are_exact_in_float32(data):
    points, t = data.draw(strategies.points(3, 4)), data.draw(strategies.times())
    assert points.shape == (4, 3)
    assert np.abs(points).max() <= 1.5
    assert 0 <= t <= 2
    np.testing.assert_array_equal(points.astype(np.float32).astype(float), points)
    assert float(np.float32(t)) == t
    assert all(n >= 0 for n in data.draw(strategies.batch_shapes()))


def test_a_scalar_with_a_laplacian_shrinks_to_a_power():
    found = simplest(strategies.scalars(2), lambda u: oracles.laplacian(u.expression, u.state) != 0)
    assert len(str(found)) <= len("sin(x1)")
    assert found.expression.free_symbols == {state_symbols(2)[0]}


def test_other_things_shrink_as_well():
    x1, x2 = state_symbols(2)
    assert str(simplest(strategies.fields(2), lambda f: True)) == "[x1, x1]"
    mixed = simplest(strategies.scalars(2), lambda u: sympy.diff(u.expression, x1, x2) != 0)
    assert len(str(mixed)) <= len("(x1 + x2)**2")
    bent = simplest(strategies.layered(1, scalar=True), lambda u: oracles.laplacian(u.outputs[0], u.state) != 0)
    assert bent.weight.rows == 1
    assert len(str(bent.outer[0])) <= len("sin(z1)")
    assert simplest(strategies.points(2), lambda x: True).tolist() == [[0, 0]] * 3
    equation = simplest(strategies.equations(1), lambda e: e.equation.ito_drift() != e.equation.drift).equation
    assert len(str(equation.drift)) <= len("(x1,)")
    assert len(str(equation.diffusion[0, 0])) <= len("x1**2")
