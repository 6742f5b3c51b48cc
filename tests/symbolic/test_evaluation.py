"""Numbers from expressions: right to the last bit, with an honest account of what rounding may do."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.errors import InputError, NumericalError
from pdekit.symbolic import oracles
from pdekit.symbolic.evaluation import evaluate
from pdekit.testing import strategies

X, Y = sp.symbols("x y", real=True)
EPS = np.finfo(float).eps


def one(expression, *values, **options):
    found = evaluate([expression], [X, Y][: len(values)], np.array([values], float), **options)
    return tuple(float(part[0, 0]) for part in found)


def test_catastrophic_cancellation():
    small = 2.0**-30
    assert one(1 - sp.cos(X), small)[0] == small**2 / 2
    assert one((sp.exp(X) - 1 - X) / X**2, small, digits=50)[0] == 0.5 + small / 6
    assert one((X + 1) ** 3 - 3 * X**2 - 3 * X - 1, small)[0] == small**3
    # The points are binary numbers: 0.1 + 0.2 - 0.3 is not zero.
    assert one(X + Y - sp.Rational(3, 10), 0.1, 0.2)[0] == pytest.approx(1.6653345369377e-17, rel=1e-13)


def test_values_against_closed_forms():
    assert one(sp.sqrt(X), 2.0)[0] == math.sqrt(2)
    assert one(sp.exp(X), 1.0)[0] == math.e
    assert one(sp.pi * X, 1.0)[0] == math.pi
    assert one(X**Y, 3.0, 5.0)[0] == 243
    assert one(X**-3, 2.0)[0] == 0.125
    assert one(sp.S(7), 2.0)[0] == 7


def test_functions_with_kinks_and_special_functions():
    functions = [
        *(sp.Abs(X), sp.sign(X), sp.Min(X, Y), sp.Max(X, Y, 1), sp.Heaviside(X), sp.Heaviside(X, 1)),
        *(sp.erf(X), sp.loggamma(Y), sp.atan2(X, Y), sp.diff(sp.loggamma(Y), Y)),
    ]
    points = np.array([[-1.5, 0.5], [0.0, 3.0], [2.0, 1.0]])
    found = evaluate(functions, [X, Y], points).value
    digamma = [-1.9635100260214235, 0.9227843350984671, -0.5772156649015329]
    for row, (x, y), psi in zip(found, points.tolist(), digamma, strict=True):
        expected = [
            *(abs(x), np.sign(x), min(x, y), max(x, y, 1), np.heaviside(x, 0.5), np.heaviside(x, 1)),
            *(math.erf(x), math.lgamma(y), math.atan2(x, y), psi),
        ]
        assert row == pytest.approx(expected, rel=4 * EPS, abs=1e-300)


def test_derivatives_of_functions_with_kinks():
    assert one(sp.diff(sp.Abs(X) * X, X), -2.0)[0] == 4
    assert one(sp.diff(sp.Max(X, Y) ** 2, X), 2.0, 1.0)[0] == 4
    assert one(sp.diff(sp.Max(X, Y) ** 2, X), 1.0, 2.0)[0] == 0


@settings(max_examples=60)
@given(strategies.expressions((X, Y), 3), st.lists(strategies.numbers_on_lattice(), min_size=2, max_size=2))
def test_magnitude_bounds_what_float64_gets_wrong(expression, point):
    value, magnitude, error = one(expression, *point)
    assert magnitude >= abs(value) * (1 - EPS)
    computed = float(sp.lambdify([X, Y], expression, "scipy")(*point))
    # Values near the end of the range have fewer digits.
    assert abs(computed - value) <= 50 * EPS * magnitude + error + 1e-300


@settings(max_examples=40)
@given(strategies.expressions((X, Y), 2), st.lists(strategies.numbers_on_lattice(), min_size=2, max_size=2))
def test_magnitude_bounds_what_float64_gets_wrong_in_derivatives(expression, point):
    derivative = sp.diff(expression, X, 2) + sp.diff(expression, Y, 2)
    value, magnitude, error = one(derivative, *point)
    computed = float(sp.lambdify([X, Y], derivative, "scipy")(*point))
    assert abs(computed - value) <= 50 * EPS * magnitude + error + 1e-300


@pytest.mark.parametrize(
    ("expression", "point"),
    [(1 - sp.cos(X), 1e-6), (sp.exp(X) - 1, 1e-9), (sp.sin(X + 1000) - sp.sin(1000), 1e-8), (sp.log(1 + X), 1e-10)],
)
def test_magnitude_sees_cancellation(expression, point):
    value, magnitude, _ = one(expression, point)
    wrong = abs(float(sp.lambdify(X, expression, "numpy")(point)) - value)
    assert 100 * EPS * abs(value) < wrong <= 50 * EPS * magnitude


@settings(max_examples=30)
@given(st.integers(-3, 3), st.integers(-3, 3), st.floats(0.25, 4), st.floats(-4, -0.25))
def test_magnitude_of_a_product_is_about_its_size(a, b, x, y):
    value, magnitude, _ = one(sp.Rational(3, 4) * X**a * Y**b, x, y)
    assert abs(value) * (1 - EPS) <= magnitude <= 10 * abs(value)


def test_magnitude_of_a_sum():
    assert one(X + Y, 3.0, -3.0)[:2] == (0, 6)
    assert one((X + Y) * 2, 3.0, -3.0)[:2] == (0, 12)
    assert one(X, 3.0)[:2] == (3, 3)


def test_magnitude_of_a_function_of_a_sum():
    # Its own size, and slope times the size of the sum: 81 + 4 * 27 * 3.
    assert one((X + Y) ** 4, 2.0, 1.0)[:2] == pytest.approx((81, 405))
    assert one((X + Y) ** -1, 3.0, 1.0)[:2] == (0.25, 0.5)
    assert one(sp.exp(X + Y), 1.0, -1.0)[:2] == (1, 3)


@settings(max_examples=30)
@given(strategies.expressions((X, Y), 2), st.lists(strategies.numbers_on_lattice(), min_size=2, max_size=2))
def test_more_digits_change_nothing_beyond_the_error(expression, point):
    derivative = sp.diff(expression, X, 2)
    (value, _, error), (better, _, less) = one(derivative, *point, digits=20), one(derivative, *point, digits=60)
    assert abs(value - better) <= error + less + EPS * abs(better)
    assert less <= error


@pytest.mark.parametrize("digits", [20, 30, 45])
def test_the_error_tells_how_many_digits_are_lost(digits):
    # cosh 40 - sinh 40 = exp(-40) loses 35 digits.
    value, _, error = one(sp.cosh(X) - sp.sinh(X), 40.0, digits=digits)
    assert abs(value - math.exp(-40)) <= error + EPS * math.exp(-40)
    assert (error < 1e-6 * math.exp(-40)) == (digits == 45)


def test_the_working_precision_of_others_is_left_alone():
    before = mpmath.mp.dps
    one(sp.exp(X), 1.0, digits=50)
    assert mpmath.mp.dps == before


def test_shapes():
    found = evaluate([X, Y, X * Y], [X, Y], np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(found.value, [[1, 2, 2], [3, 4, 12]])
    assert evaluate([X], [X], np.zeros((0, 1))).value.shape == (0, 1)
    assert evaluate([], [X], np.zeros((3, 1))).magnitude.shape == (3, 0)
    assert evaluate([X], [X], np.array([[2]])).value[0, 0] == 2


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((3, 1)), np.zeros((3, 3)), np.zeros((1, 1, 2)), 1.0])
def test_points_of_another_shape(points):
    with pytest.raises(InputError, match=r"points must have shape \(n, 2\), one column per symbol, got"):
        evaluate([X], [X, Y], points)


def test_unknown_symbols_and_functions_and_too_few_digits():
    a, b = sp.symbols("a b")
    with pytest.raises(InputError, match="contain a, b, for which there is no value"):
        evaluate([b * X + a], [X], np.zeros((1, 1)))
    with pytest.raises(InputError, match="at least 20, got 15"):
        evaluate([X], [X], np.zeros((1, 1)), digits=15)
    with pytest.raises(InputError, match="There is no value of mystery to any number of digits"):
        evaluate([sp.Function("mystery")(X)], [X], np.zeros((1, 1)))
    with pytest.raises(InputError, match="There is no value of DiracDelta"):
        evaluate([sp.diff(sp.Heaviside(X), X)], [X], np.ones((1, 1)))


@pytest.mark.parametrize(
    ("expression", "x"),
    [(sp.log(X), -1.0), (sp.log(X), 0.0), (sp.sqrt(X), -2.0), (sp.asin(X), 2.0), (X, math.nan), (X, math.inf)],
)
def test_no_finite_real_value(expression, x):
    with pytest.raises(NumericalError, match="has no finite real value at this point"):
        one(expression, x)


def test_terms_that_cancel_exactly_keep_their_magnitude():
    u = sp.exp(X / 3) * sp.sin(Y / 3)  # harmonic
    found = evaluate([oracles.laplacian(u, [X, Y])], [X, Y], np.array([[1.1, -2.3]]))
    assert abs(found.value[0, 0]) < 1e-16
    assert found.magnitude[0, 0] > 0.1
    ou = oracles.Equation((X,), Y, (-X,), sp.ImmutableMatrix([[1]]))
    found = evaluate([ou.log_fokker_planck(-(X**2))], [X], np.array([[1.7]]))
    assert abs(found.value[0, 0]) < 1e-15
    assert found.magnitude[0, 0] > 1


def test_powers_of_what_rounds_to_zero():
    found = evaluate([(X / 10 + Y / 5 - sp.Rational(3, 10)) ** 2], [X, Y], np.array([[1.0, 1.0]]))
    assert abs(found.value[0, 0]) < 1e-60
    assert found.magnitude[0, 0] > 1e-17


@pytest.mark.parametrize(("expression", "x"), [(1 / X, 0.0), (sp.exp(X), 1e4), (sp.asin(X * X), 1.0)])
def test_what_divides_by_zero_or_overflows(expression, x):
    with pytest.raises(NumericalError, match="no finite real value"):
        evaluate([expression], [X], np.array([[x]]))
