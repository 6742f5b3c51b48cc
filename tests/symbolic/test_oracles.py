"""The SymPy oracles against truth of another kind: work by hand, numerical differentiation, laws, closed forms."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.errors import ModelError
from pdekit.symbolic import models
from pdekit.symbolic.oracles import (
    Equation,
    biharmonic,
    dimwise_derivative,
    divergence,
    laplacian,
    second_order,
)
from pdekit.testing import strategies
from pdekit.testing.functions import TIME as T
from pdekit.testing.functions import state_symbols

X, Y, Z = state_symbols(3)
AT = {X: sp.Rational(1, 2), Y: 2, Z: -1, T: 3}


def number(expression):
    return sp.nsimplify(sp.sympify(expression).subs(AT))


def same(a, b):
    return sp.simplify(a - b) == 0


# By hand, at x = 1/2, y = 2, z = -1, t = 3.


def test_divergence_and_derivatives_by_hand():
    f = (X**3 * Y, X * Y**2, Y * Z**3)
    assert dimwise_derivative(f, (X, Y, Z)) == (3 * X**2 * Y, 2 * X * Y, 3 * Y * Z**2)
    assert number(divergence(f, (X, Y, Z))) == sp.Rational(3, 2) + 2 + 6
    assert [number(e) for e in dimwise_derivative(f, (X, Y, Z), 2)] == [6, 1, -12]
    assert [number(e) for e in dimwise_derivative(f, (X, Y, Z), 4)] == [0, 0, 0]


def test_laplacian_and_biharmonic_by_hand():
    u = X**4 * Y**2 + Z**5
    assert number(laplacian(u, (X, Y, Z))) == 12 * sp.Rational(1, 4) * 4 + 2 * sp.Rational(1, 16) - 20
    # d_x^4 = 24 y^2, 2 d_x^2 d_y^2 = 48 x^2, d_z^4 = 120 z.
    assert number(biharmonic(u, (X, Y, Z))) == 96 + 12 - 120


def test_second_order_by_hand():
    u = X**2 * Y
    c = sp.Matrix([[2, 3], [5, 7]])  # not symmetric: u_xx = 2y = 4, u_xy = 2x = 1, u_yy = 0
    found = second_order(u, (X, Y), drift=(X, 1), tensor=c, potential=T)
    assert number(found) == sp.Rational(1, 2) * 2 + sp.Rational(1, 4) + 2 * 4 + (3 + 5) * 1 + 3 * sp.Rational(1, 2)


def test_equation_by_hand():
    # G = x, Stratonovich: f_ito = -x + x/2, D = x^2/2, p = x^3:
    # L* p = (x p / 2)' + (x^2 p / 2)'' = 2 x^3 + 10 x^3; L p = -3/2 x^3 + 3 x^3.
    eq = Equation((X,), T, (-X,), sp.ImmutableMatrix([[X]]), "stratonovich")
    assert same(eq.fokker_planck(X**3), 12 * X**3)
    assert same(eq.generator(X**3), sp.Rational(3, 2) * X**3)
    # J = -x^4/2 - (x^5/2)' = -3 x^4.
    assert same(eq.current(X**3)[0], -3 * X**4)


def test_general_noise_by_hand():
    # G = [[y, 1], [0, x]]: 1/2 sum_jk G_jk d_j G_ik is 1/2 G_22 0 + ...; only dG_11/dy = 1 and dG_22/dx = 1:
    # i=1: 1/2 G_21 = 0; i=2: 1/2 G_12 = 1/2.
    g = sp.ImmutableMatrix([[Y, 1], [0, X]])
    assert Equation((X, Y), T, (X, Y), g, "stratonovich").ito_drift()[1].doit() == Y + sp.Rational(1, 2)
    assert Equation((X, Y), T, (X, Y), g).ito_drift() == (X, Y)
    assert Equation((X, Y), T, (X, Y), g).tensor == sp.Matrix([[Y**2 + 1, X], [X, X**2]]) / 2


def test_log_form_by_hand():
    # dX = dW, log p = -x^2: p''/(2p) = (4 x^2 - 2)/2; flow = -1/2 (log p)' = x.
    eq = Equation((X,), T, (sp.S.Zero,), sp.ImmutableMatrix([[1]]))
    assert same(eq.log_fokker_planck(-(X**2)), 2 * X**2 - 1)
    assert same(eq.residual(T - X**2), 2 - 2 * X**2)
    assert same(eq.probability_flow(-(X**2))[0], X)


def test_shapes_must_fit():
    with pytest.raises(ModelError, match="2 states needs as many drifts and rows of G; got 1 and 2"):
        Equation((X, Y), T, (X,), sp.ImmutableMatrix([[1], [1]]))
    with pytest.raises(ValueError, match="longer"):
        dimwise_derivative((X,), (X, Y))


def test_the_equation_of_a_model():
    model = models.geometric_brownian_motion()
    eq, (x,) = Equation.of(model), model.state
    mu, sigma = model.param_symbols
    assert (eq.drift, eq.diffusion[0, 0], eq.convention) == ((mu * x,), sigma * x, "ito")
    assert sp.expand(eq.generator(x**2) - (2 * mu + sigma**2) * x**2) == 0


# mpmath differentiates numbers, and knows no rule of calculus.


def numeric(expression, symbols):
    function = sp.lambdify(symbols, expression, "mpmath")
    return lambda *values: mpmath.mpf(function(*values))


def assert_near(symbolic, numerical, symbols, point):
    with mpmath.workdps(40):
        expected = mpmath.mpf(sp.sympify(symbolic).subs(dict(zip(symbols, map(sp.Rational, point), strict=True))).n(40))
        assert abs(expected - numerical) <= mpmath.mpf(10) ** -15 * (1 + abs(numerical)), (symbolic, point)


def unit(dim, i, order=1):
    return tuple(order if j == i else 0 for j in range(dim))


@settings(max_examples=15)
@given(
    strategies.expressions((X, Y), 2),
    strategies.expressions((X, Y), 2),
    st.lists(strategies.numbers_on_lattice(), min_size=2, max_size=2),
)
def test_derivatives_against_numerical_differentiation(f, g, point):
    with mpmath.workdps(60):
        state, at = (X, Y), tuple(map(mpmath.mpf, point))
        f_at, g_at = numeric(f, state), numeric(g, state)

        def diff(function, *orders):
            return mpmath.diff(function, at, orders)

        assert_near(divergence((f, g), state), diff(f_at, 1, 0) + diff(g_at, 0, 1), state, point)
        third = dimwise_derivative((f, g), state, 3)
        assert_near(third[0], diff(f_at, 3, 0), state, point)
        assert_near(third[1], diff(g_at, 0, 3), state, point)
        assert_near(laplacian(f, state), diff(f_at, 2, 0) + diff(f_at, 0, 2), state, point)
        fourth = diff(f_at, 4, 0) + 2 * diff(f_at, 2, 2) + diff(f_at, 0, 4)
        assert_near(biharmonic(f, state), fourth, state, point)


@settings(max_examples=10)
@given(
    strategies.equations(2, time=False, depth=1),
    strategies.expressions((X, Y), 2),
    st.lists(strategies.numbers_on_lattice(), min_size=2, max_size=2),
)
def test_equations_against_numerical_differentiation(drawn, p, point):
    eq, state = drawn.equation, (X, Y)
    with mpmath.workdps(60):
        at = tuple(map(mpmath.mpf, point))
        g = [[numeric(eq.diffusion[i, k], state) for k in range(eq.diffusion.cols)] for i in range(2)]
        u = numeric(p, state)
        columns = range(eq.diffusion.cols)

        def ito(i):
            def value(*z):
                found = numeric(eq.drift[i], state)(*z)
                if eq.convention == "stratonovich":
                    found += (
                        sum(g[j][k](*z) * mpmath.diff(g[i][k], z, unit(2, j)) for j in range(2) for k in columns) / 2
                    )
                return found

            return value

        def tensor(i, j):
            return lambda *z: sum(g[i][k](*z) * g[j][k](*z) for k in columns) / 2

        def spread(i, j):
            return lambda *z: tensor(i, j)(*z) * u(*z)

        drift = [ito(i)(*at) for i in range(2)]
        both = {
            (i, j): tuple(a + b for a, b in zip(unit(2, i), unit(2, j), strict=True)) for i in (0, 1) for j in (0, 1)
        }
        backward = sum(drift[i] * mpmath.diff(u, at, unit(2, i)) for i in range(2))
        backward += sum(tensor(i, j)(*at) * mpmath.diff(u, at, both[i, j]) for i, j in both)
        assert_near(eq.generator(p), backward, state, point)
        # The drift's own derivative: central differences of a function that itself differentiates, hence few digits.
        forward = sum(mpmath.diff(spread(i, j), at, both[i, j]) for i, j in both)
        step = mpmath.mpf(10) ** -12
        for i in range(2):
            ahead, behind = (tuple(a + s * step * (i == j) for j, a in enumerate(at)) for s in (1, -1))
            forward -= (ito(i)(*ahead) * u(*ahead) - ito(i)(*behind) * u(*behind)) / (2 * step)
        assert_near(eq.fokker_planck(p), forward, state, point)
        current = eq.current(p)
        for i in range(2):
            value = drift[i] * u(*at) - sum(mpmath.diff(spread(i, j), at, unit(2, j)) for j in range(2))
            assert_near(current[i], value, state, point)


# Laws.

NODES = np.linspace(-9, 9, 721)
WEIGHT = NODES[1] - NODES[0]  # the sum over an even grid of analytic functions that vanish fast is exact to rounding


def integral(expression):
    return float(np.sum(sp.lambdify(X, expression, "numpy")(NODES) * np.ones_like(NODES))) * WEIGHT


@pytest.mark.parametrize("convention", ["ito", "stratonovich"])
@pytest.mark.parametrize("noise", [sp.S(1), 1 + sp.sin(X) / 2, X])
def test_conservation_and_adjointness(noise, convention):
    eq = Equation((X,), T, (sp.sin(X) - X,), sp.ImmutableMatrix([[noise, 1]]), convention)
    p, u = sp.exp(-(X**2)) * (2 + sp.sin(X)), sp.cos(sp.Rational(13, 10) * X) + X**2 / 10
    forward = eq.fokker_planck(p)
    assert abs(integral(forward)) < 1e-12
    assert integral(u * forward) == pytest.approx(integral(p * eq.generator(u)), abs=1e-12)
    assert abs(integral(u * forward)) > 0.1


@settings(max_examples=5)
@given(strategies.equations(2, depth=1), strategies.log_densities(2))
def test_laws_between_the_operators(drawn, density):
    eq, log_p = drawn.equation, density.expression
    p, at = sp.exp(log_p), {X: sp.Rational(3, 8), Y: sp.Rational(-5, 8), T: sp.Rational(1, 4)}

    def equal(a, b):
        a, b = (sp.sympify(e).subs(at).n(40) for e in (a, b))
        assert abs(a - b) <= sp.Float("1e-30") * (1 + abs(a))

    equal(eq.log_fokker_planck(log_p) * p, eq.fokker_planck(p))
    equal(eq.residual(log_p) * p, sp.diff(p, T) - eq.fokker_planck(p))
    equal(-divergence(eq.current(p), eq.state), eq.fokker_planck(p))
    for flow, current in zip(eq.probability_flow(log_p), eq.current(p), strict=True):
        equal(flow * p, current)


def test_an_ito_equation_and_its_stratonovich_twin():
    # G = [[x y, 1], [sin x, y]]; 1/2 sum_jk G_jk d_j G_ik by hand:
    # i=1: 1/2 (x y * y + sin x * x), i=2: 1/2 (x y * cos x + y * 1).
    g = sp.ImmutableMatrix([[X * Y, 1], [sp.sin(X), Y]])
    half = sp.Rational(1, 2)
    twin = (Y - half * (X * Y**2 + X * sp.sin(X)), X - half * (X * Y * sp.cos(X) + Y))
    ito, other = Equation((X, Y), T, (Y, X), g), Equation((X, Y), T, twin, g, "stratonovich")
    u = sp.exp(X) * sp.sin(Y) + T * X * Y
    for name in ("generator", "fokker_planck", "log_fokker_planck", "residual"):
        assert same(getattr(ito, name)(u), getattr(other, name)(u)), name
    for name in ("current", "probability_flow", "ito_drift"):
        arguments = () if name == "ito_drift" else (u,)
        pairs = zip(getattr(ito, name)(*arguments), getattr(other, name)(*arguments), strict=True)
        assert all(same(a, b) for a, b in pairs), name


# Densities in closed form.


def test_the_heat_kernel_has_no_residual():
    t = sp.Symbol("s", positive=True)
    eq = Equation((X, Y), t, (sp.S.Zero, sp.S.Zero), sp.ImmutableMatrix(sp.eye(2)))
    assert same(eq.residual(-(X**2 + Y**2) / (2 * t) - sp.log(2 * sp.pi * t)), 0)
    assert not same(eq.residual(-(X**2 + Y**2) / (2 * t) - sp.log(t) / 2), 0)


def test_the_ornstein_uhlenbeck_density_has_no_residual():
    t, k, s = sp.symbols("s k sigma", positive=True)
    m, start = sp.symbols("m x0", real=True)
    eq = Equation((X,), t, (k * (m - X),), sp.ImmutableMatrix([[s]]))
    mean, variance = m + (start - m) * sp.exp(-k * t), s**2 / (2 * k) * (1 - sp.exp(-2 * k * t))
    log_p = -((X - mean) ** 2) / (2 * variance) - sp.log(2 * sp.pi * variance) / 2
    assert same(eq.residual(log_p), 0)
    # The flow moves quantiles: d/dt (mean + z sqrt(variance)).
    flow = sp.diff(mean, t) + (X - mean) * sp.diff(variance, t) / (2 * variance)
    assert same(eq.probability_flow(log_p)[0], flow)


def test_geometric_brownian_motion_in_both_conventions():
    t, s, x = sp.symbols("s sigma x", positive=True)
    r = sp.Symbol("r", real=True)
    log_p = -((sp.log(x) - r * t) ** 2) / (2 * s**2 * t) - sp.log(x) - sp.log(2 * sp.pi * s**2 * t) / 2
    g = sp.ImmutableMatrix([[s * x]])
    assert same(Equation((x,), t, (r * x,), g, "stratonovich").residual(log_p), 0)
    assert same(Equation((x,), t, ((r + s**2 / 2) * x,), g).residual(log_p), 0)
    assert not same(Equation((x,), t, (r * x,), g).residual(log_p), 0)


def test_a_tail_whose_density_underflows():
    eq = Equation((X,), T, (-X,), sp.ImmutableMatrix([[1]]))
    # L* p / p of exp(-x^2) is 1 - 2 x^2 + (4 x^2 - 2) / 2; at x = 1000 exp(-x^2) has no double.
    assert eq.log_fokker_planck(-(X**2)).subs(X, 1000) == 0
    assert eq.log_fokker_planck(-2 * X**2).subs(X, 1000) == 1 - 4 * 10**6 + (16 * 10**6 - 4) // 2
