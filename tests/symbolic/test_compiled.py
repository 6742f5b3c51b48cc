"""Compiled expressions against SymPy's own evaluation in many digits, and against its symbolic derivatives."""

import math

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Piecewise, Rational, Symbol

from pdekit.errors import InputError, ModelError
from pdekit.symbolic.compiled import Compiled

X, Y = sympy.symbols("x y", real=True)
T = Symbol("t", real=True)
A, B = sympy.symbols("a b", real=True)
EPS = 2.0**-52


def compiled(expressions):
    return Compiled(expressions, [X, Y], T, [A, B])


def exact(expression, point):
    """The value in 30 digits at doubles."""
    return float(expression.xreplace({s: sympy.Float(v, 40) for s, v in point.items()}).evalf(30))


EXPRESSIONS = [
    A * (B - X),
    3 - X,
    -X - Y,
    -A * X + B * Y - 2,
    X**2 + X**3 - X**7,
    X**16 / (Y**5 * 3),
    1 / X + 1 / X**2 + X ** Rational(-1, 2),
    X ** Rational(3, 2) * Y ** Rational(-5, 2),
    X**A + A**X + X ** (-A),
    X ** sympy.Float(2.0) + X ** sympy.Float(0.3),
    sympy.exp(-X * A) * sympy.sin(Y) ** 2 + sympy.cos(A * X) * sympy.tan(Y / 2),
    sympy.sqrt(2) * X / sympy.pi + sympy.E,
    sympy.log(X + A) / sympy.sqrt(X**2 + 1) - sympy.atan2(Y, X),
    sympy.tanh(X) + sympy.sinh(Y) * sympy.cosh(X) + sympy.asinh(X) + sympy.acosh(X + 1) + sympy.atanh(X / 9),
    sympy.asin(X / 9) + sympy.acos(Y / 9) * sympy.atan(A),
    sympy.erf(X) + sympy.erfc(Y),
    sympy.loggamma(X) + sympy.digamma(Y) + sympy.polygamma(2, X) + sympy.gamma(X),
    sympy.sec(X / 9) + sympy.csc(X) + sympy.cot(Y) + sympy.sech(X) + sympy.coth(Y),
    sympy.Abs(A - X) * sympy.sign(B - X) + sympy.Heaviside(A - Y),
    sympy.Max(X, Y, A) - sympy.Min(X, 1, B),
    Piecewise((X, X < A), (Y**2, (X < B) & (Y > 1)), (A, True)),
    Piecewise((1, X < A), (2, True)),
    -A / (X * B) + 2 / (A * B) - 1 / X,
    (X + A) ** 2 * (X + A) / (Y + B) ** 2 * T,
    A + B * T,
    sympy.Integer(3),
    sympy.S.Zero,
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
@pytest.mark.parametrize(("x", "y"), [(0.7, 1.9), (2.25, 0.4)])
def test_values(expression, x, y):
    point = {X: x, Y: y, T: 0.3, A: 1.3, B: 2.7}
    row = torch.tensor([[x, y]], dtype=torch.float64).expand(3, 2)
    value = compiled(expression)(0.3, row, torch.tensor([1.3, 2.7], dtype=torch.float64))
    assert value.shape == (3,)
    assert value.dtype == torch.float64
    # A few dozen roundings, magnified by the conditioning of the worst of these (tan, polygamma): 200 eps.
    assert value[1].item() == pytest.approx(exact(expression, point), rel=200 * EPS, abs=200 * EPS)


@pytest.mark.parametrize(
    "expression", [e for e in EXPRESSIONS if e.free_symbols and not e.has(sympy.polygamma)], ids=str
)
def test_autograd_matches_symbolic_derivatives(expression):
    x = torch.tensor([[0.7, 1.9], [2.25, 0.4], [1.1, 1.2]], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([1.3, 2.7], dtype=torch.float64).expand(3, 2).clone().requires_grad_()
    value = compiled(expression)(0.3, x, theta)
    if not value.requires_grad:
        return
    from_autograd = torch.autograd.grad(value.sum(), (x, theta), allow_unused=True)
    for block, symbols in zip(from_autograd, ((X, Y), (A, B)), strict=True):
        derivatives = [sympy.diff(expression, s).replace(sympy.DiracDelta, lambda *_: sympy.S.Zero) for s in symbols]
        truth = compiled(derivatives)(0.3, x, theta)
        torch.testing.assert_close(
            torch.zeros_like(truth) if block is None else block, truth, rtol=500 * EPS, atol=500 * EPS
        )


NUMBERS = st.floats(0.2, 3.0)


@st.composite
def expressions(draw, depth=3):
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from([X, Y, A, B, T, sympy.Integer(2), Rational(-1, 3), sympy.Float(0.7)]))
    first = draw(expressions(depth=depth - 1))
    kind = draw(st.sampled_from(["+", "-", "*", "/", "pow", "f"]))
    if kind == "f":
        smooth = [sympy.sin, sympy.tanh, sympy.atan, lambda z: sympy.exp(-(z**2)), lambda z: sympy.log(1 + z**2)]
        return draw(st.sampled_from(smooth))(first)
    if kind == "pow":
        return (1 + first**2) ** draw(st.sampled_from([2, -1, Rational(1, 2), Rational(-3, 2), sympy.Float(0.4), A]))
    second = draw(expressions(depth=depth - 1))
    return {"+": first + second, "-": first - second, "*": first * second, "/": first / (1 + second**2)}[kind]


@settings(max_examples=60, deadline=None)
@given(expressions(), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_any_expression_and_its_derivative_agree_with_sympy(expression, x, y, a, b):
    point = {X: x, Y: y, T: 0.3, A: a, B: b}
    both = [expression, sympy.diff(expression, X)]
    value = compiled(both)(0.3, torch.tensor([x, y], dtype=torch.float64), torch.tensor([a, b], dtype=torch.float64))
    for got, e in zip(value.tolist(), both, strict=True):
        # First-order error analysis is left out: 1e-9 of the largest term catches any wrong operation.
        scale = max([1.0, *(abs(exact(sympy.sympify(term), point)) for term in sympy.Add.make_args(sympy.expand(e)))])
        assert got == pytest.approx(exact(sympy.sympify(e), point), rel=1e-9, abs=1e-9 * scale)


def test_shapes():
    x = torch.rand(4, 5, 2)
    theta = torch.rand(2)
    assert compiled(X * A)(0.0, x, theta).shape == (4, 5)
    assert compiled([X, A, 1])(0.0, x, theta).shape == (4, 5, 3)
    assert compiled([A])(0.0, x, theta).shape == (4, 5, 1)
    assert compiled(sympy.Matrix([[X, 0, A], [1, Y, T]]))(0.0, x, theta).shape == (4, 5, 2, 3)
    assert compiled([X, Y])(0.0, torch.rand(2), theta).shape == (2,)
    assert compiled([X, Y])(0.0, torch.rand(0, 2), theta).shape == (0, 2)
    assert compiled(sympy.Integer(2))(None, torch.rand(3, 2)).tolist() == [2.0, 2.0, 2.0]


def test_rows_of_times_and_parameters():
    x = torch.rand(6, 2, dtype=torch.float64)
    theta = torch.rand(6, 2, dtype=torch.float64)
    t = torch.rand(6, 1, dtype=torch.float64)
    together = compiled([A * X + T, B])(t, x, theta)
    apart = torch.stack([compiled([A * X + T, B])(t[i], x[i], theta[i]) for i in range(6)])
    torch.testing.assert_close(together, apart, rtol=4 * EPS, atol=0)
    grid = compiled(A * X)(0.0, x, theta[:, None, :])
    assert grid.shape == (6, 6)
    torch.testing.assert_close(grid, theta[:, :1] * x[:, 0], rtol=4 * EPS, atol=0)


def test_matrix_entries_are_in_place():
    matrix = sympy.Matrix([[X, 2, A], [0, Y, T]])
    value = compiled(matrix)(0.5, torch.tensor([[3.0, 4.0]]), torch.tensor([7.0, 8.0]))
    assert value[0].tolist() == [[3.0, 2.0, 7.0], [0.0, 4.0, 0.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_state(dtype):
    f = compiled([A * X + T, sympy.sqrt(2), Piecewise((1, X < 0), (2, True)), sympy.gamma(X), sympy.atan2(X, 1)])
    for t in (0.5, torch.tensor(0.5), torch.tensor(0.5, dtype=torch.float64), 1):
        for theta in (torch.rand(2), torch.rand(2, dtype=torch.float64), [1.0, 2.0]):
            for x in (torch.rand(3, 2, dtype=dtype), torch.rand(2, dtype=dtype)):
                assert f(t, x, theta).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_device_follows_the_state():
    x = torch.rand(3, 2, device="cuda")
    assert compiled([A * X + T, 1])(0.5, x, torch.rand(2)).device == x.device


def test_functional_transforms():
    f = compiled([A * X**2 + Y * T, sympy.Max(X, 1)])
    x, theta = torch.rand(5, 2, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(lambda row: f(0.5, row, theta))(x), f(0.5, x, theta))
    thetas = torch.rand(3, 2, dtype=torch.float64)
    over_theta = torch.func.vmap(lambda p: f(0.5, x, p))(thetas)
    torch.testing.assert_close(over_theta[1], f(0.5, x, thetas[1]))
    value, tangent = torch.func.jvp(lambda z: f(0.5, z, theta), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent[:, 0], 2 * theta[0] * x[:, 0] + 0.5)
    assert value.shape == (5, 2)


def test_torch_compile_traces_without_a_break():
    f = compiled([A * X**2 + Y * T, B])
    x, theta = torch.rand(5, 2), torch.rand(2)
    traced = torch.compile(lambda z, p: f(0.5, z, p), backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(x, theta), f(0.5, x, theta))


def test_common_subexpressions_run_once():
    shared = sympy.sin(A * X**2)
    assert compiled([shared, shared * Y, shared**2]).operations == 5  # x*x, a*, sin, *y, square
    assert compiled(A * (B - X)).operations == 2  # as many as by hand
    assert compiled(A * B * X * T).operations == 3


def test_parameter_terms_cost_no_rows():
    """Everything that depends on parameters alone is a 0-d tensor until it meets the state."""
    f = compiled(sympy.exp(A) * X * B * sympy.sqrt(A + B))
    sizes = []

    def counting(function):
        def call(*arguments):
            result = function(*arguments)
            sizes.append(result.numel())
            return result

        return call

    f._program = [(counting(function), *rest) for function, *rest in f._program]
    f(0.0, torch.rand(100, 2), torch.rand(2))
    assert sizes.count(100) == 1


def test_inputs_that_do_not_fit():
    f = compiled([A * X + T])
    x, theta = torch.rand(4, 2), torch.rand(2)
    with pytest.raises(InputError, match=r"unsqueeze\(-1\)"):
        f(torch.rand(4), x, theta)
    with pytest.raises(InputError, match=r"\(\*batch, 2\)"):
        f(0.0, torch.rand(4, 3), theta)
    with pytest.raises(InputError, match="floating-point"):
        f(0.0, torch.ones(4, 2, dtype=torch.int64), theta)
    with pytest.raises(InputError, match="floating-point"):
        f(0.0, [[1.0, 2.0]], theta)
    with pytest.raises(InputError, match="a, b"):
        f(0.0, x, torch.rand(3))
    with pytest.raises(InputError, match="missing"):
        f(0.0, x)
    with pytest.raises(InputError, match="t is None"):
        f(None, x, theta)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (Symbol("z"), "z"),
        (sympy.DiracDelta(X), "DiracDelta.*jump"),
        (sympy.besseli(1, X), "besseli"),
        (sympy.Function("h")(X), "h"),
        (sympy.I * X, "real"),
        (sympy.Derivative(sympy.Function("h")(X), X), "Derivative|h"),
        (Piecewise((X, X > 0)), "everywhere"),
    ],
)
def test_refuses_what_torch_cannot_compute(expression, message):
    with pytest.raises(ModelError, match=message):
        compiled(expression)


def test_gamma_below_zero():
    x = torch.tensor([[-0.5, 0.0], [-1.5, 0.0], [-2.25, 0.0]], dtype=torch.float64)
    truth = [math.gamma(v) for v in x[:, 0].tolist()]
    torch.testing.assert_close(
        compiled(sympy.gamma(X))(0, x), torch.tensor(truth, dtype=torch.float64), rtol=1e-14, atol=0
    )
