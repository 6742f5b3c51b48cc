"""The whitelist parser: what it reads, what it refuses and how, and that written text is read back equal."""

import time

import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdekit.errors import ExpressionError, ModelError
from pdekit.symbolic.parser import canonical, check_name, free_names, parse_expression
from pdekit.symbolic.printer import write_expression
from pdekit.symbolic.vocabulary import FUNCTIONS

SYMBOLS = {
    "x": sympy.Symbol("x", positive=True),
    "m": sympy.Symbol("m", negative=True),
    **{
        name: sympy.Symbol(name, real=True) for name in ("y", "theta", "mu", "beta", "gamma", "S", "I", "N", "E", "lam")
    },
}
X, Y = SYMBOLS["x"], SYMBOLS["y"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("theta*(mu - x)", SYMBOLS["theta"] * (SYMBOLS["mu"] - X)),
        (
            "beta*S*I/N - gamma*I",
            SYMBOLS["beta"] * SYMBOLS["S"] * SYMBOLS["I"] / SYMBOLS["N"] - SYMBOLS["gamma"] * SYMBOLS["I"],
        ),
        ("-x**2", -(X**2)),
        ("x**-1", 1 / X),
        ("2**3**2", sympy.Integer(512)),
        ("x - y - 1", X - Y - 1),
        ("x/y/2", X / Y / 2),
        ("1/2", sympy.Rational(1, 2)),
        ("0.5*x", sympy.Float(0.5) * X),
        ("1e-3", sympy.Float(1e-3)),
        ("  x +\n  y ", X + Y),
        ("+x", X),
        ("pi", sympy.pi),
        ("E", SYMBOLS["E"]),  # a declared symbol wins over the constant
        ("abs(y) + Abs(y)", 2 * sympy.Abs(Y)),
        ("max(y, 0)", sympy.Max(Y, 0)),
        ("ln(x) + log10(x)", sympy.log(X) + sympy.log(X) / sympy.log(10)),
        ("atan2(y, x)", sympy.atan2(Y, X)),
        ("loggamma(x)", sympy.loggamma(X)),
        ("gamma*(x + 1)", SYMBOLS["gamma"] * (X + 1)),
        ("x_1", sympy.Symbol("x_1")),
        ("θ*x", sympy.Symbol("θ", real=True) * X),
    ],
)
def test_reads(text, expected):
    symbols = {**SYMBOLS, "x_1": sympy.Symbol("x_1"), "θ": sympy.Symbol("θ", real=True)}
    assert parse_expression(text, symbols) == expected


def test_constants_without_such_symbols():
    assert parse_expression("E**2 + pi", {}) == sympy.exp(2) + sympy.pi


def test_sigmoid_is_the_logistic_function():
    assert sympy.simplify((parse_expression("sigmoid(y)", SYMBOLS) - 1 / (1 + sympy.exp(-Y))).rewrite(sympy.exp)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('ls')", "attributes"),
        ("__import__('os')", "not a function that formulas may call"),
        ("x.__class__", "attributes"),
        ("().__class__.__bases__", "attributes"),
        ("sin.x(3)", "attributes"),
        ("exec('1')", "not a function"),
        ("print", "unknown name 'print'"),
        ("lambda: x", "reserved|lam"),
        ("lambda*x", "'lam'"),
        ("if*x", "reserved"),
        ("x[0]", "indexing"),
        ("[x]", "lists"),
        ("[a for a in x]", "not arithmetic"),
        ("{x}", "not arithmetic"),
        ("(x for x in y)", "not arithmetic"),
        ("'x'", "expected a real number"),
        ("b'x'", "expected a real number"),
        ("f'{x}'", "not arithmetic"),
        ("True", "expected a real number"),
        ("None", "expected a real number"),
        ("...", "expected a real number"),
        ("1j", "expected a real number"),
        ("x < 1", "comparisons"),
        ("x == 1", "comparisons"),
        ("x and y", "'and'"),
        ("not x", "not arithmetic"),
        ("x if y else 0", "'if ... else'"),
        ("(x := 1)", "assignments"),
        ("x = 1", "right-hand side"),
        ("x, y", "one formula"),
        ("sin(*x)", "unpacking"),
        ("sin(x=1)", "keyword"),
        ("sin(**x)", "keyword"),
        ("sin()", "takes 1 argument, got 0"),
        ("sin(x, y)", "takes 1 argument, got 2"),
        ("Max(x)", "2 to 16"),
        ("x^2", r"write \*\*"),
        ("x # the state", "comments"),
        ("x\0", "unexpected"),
        ("x@y", "not arithmetic"),
        ("x//y", "not arithmetic"),
        ("x % y", "not arithmetic"),
        ("~x", "not arithmetic"),
        ("x << 2", "not arithmetic"),
        ("2x", r"write 2\*x"),
        ("2(x + 1)", r"'\*' is missing"),
        ("(x)(y)", r"write x\*"),
        ("(x + 1)(y)", r"'\*' is missing"),
        ("x(2)", r"write x\*"),
        ("gamma(2)", r"write gamma\*"),
        ("sin", r"write sin\(...\)"),
        ("x +", "not a formula"),
        ("(x", "not a formula"),
        ("x y", "not a formula"),
        ("await x", "not arithmetic"),
        ("thta*x", "did you mean 'theta'"),
        ("sinn(x)", "did you mean 'sin'"),
        ("", "empty"),
        (" \n", "empty"),
        ("x/0", "division by zero"),
        ("x/(1/2 - 0.5)", "division by zero"),
        ("1/(x - x)", "division by zero"),
        ("0**-1", "division by zero"),
        ("log(0)", "not real and finite"),
        ("sqrt(-1)", "not real"),
        ("(-2)**0.5", "not real"),
        ("(-2)**x", "not real"),
        ("(-x)**(2/3)", "not real"),
        ("asin(2)", "not real"),
        ("loggamma(0)", "cannot be computed|not real"),
        ("tan(pi/2)", "not real and finite"),
        ("1e400", "too large"),
        ("9" * 400, "too large"),
        ("1e308*10", "fits a double"),
        ("exp(1000)", "fits a double"),
        ("exp(exp(exp(100)))", "fits a double"),
        ("10**1000000", "exponent"),
        ("9**9**9", "exponent"),
        ("9**9**9**9", "exponent"),
        ("x**1000000", "exponent"),
        ("(x**100)**100", "exponents multiply"),
        ("(1000001/1000000)**100", "too large or too small"),
        ("0.1**-400", "exponent"),
        ("1e200**2", "too large or too small"),
        ("x*" * 1500 + "x", "at most 2000"),
        ("-" * 1990 + "x", "deep"),
        ("(" * 150 + "x" + ")" * 150, None),
        ("(" * 900 + "x" + ")" * 900, "not a formula|deep"),
        ("sin(" * 60 + "x" + ")" * 60, "deep"),
        ("sin(" * 300 + "x" + ")" * 300, "deep|not a formula"),
        ("x**" * 600 + "x", "deep"),
        ("[" * 900, "not a formula|deep"),
        ("Max(" + ", ".join(f"x*y**{i}" for i in range(20)) + ")", "2 to 16"),
    ],
)
def test_refuses_quickly_and_says_why(text, message):
    start = time.perf_counter()
    if message is None:
        parse_expression(text, SYMBOLS)
    else:
        with pytest.raises(ExpressionError, match=message) as caught:
            parse_expression(text, SYMBOLS)
        assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 2.0  # a numeric tower would run for ever


def test_names_the_column_in_characters():
    with pytest.raises(ExpressionError, match="at column 9: unknown name 'z'"):
        parse_expression("  θ*x + z", {**SYMBOLS, "θ": sympy.Symbol("θ")})


@pytest.mark.parametrize("value", [None, 3, b"x", ["x"]])
def test_refuses_what_is_not_text(value):
    with pytest.raises(ExpressionError, match="as text"):
        parse_expression(value, SYMBOLS)


def test_long_sums_are_not_deep():
    assert parse_expression("+".join(["x"] * 900), SYMBOLS) == 900 * X


def test_free_names_in_order_of_appearance():
    assert free_names("theta*(mu - x) + sin(x)*pi + exp(-k*t)") == ("theta", "mu", "x", "k", "t")
    with pytest.raises(ExpressionError):
        free_names("theta*(")


@pytest.mark.parametrize("name", ["2x", "a b", "", "lambda", "sin", "__class__", "x-y"])
def test_check_name_refuses(name):
    with pytest.raises(ExpressionError):
        check_name(name, "parameter")


LEAVES = st.one_of(
    st.sampled_from([*SYMBOLS, "pi", "x", "y"]), st.integers(0, 9).map(str), st.floats(1e-3, 1e3).map(repr)
)


def _grow(children):
    part = children.map(lambda a: f"({a})")
    unary = [name for name, f in FUNCTIONS.items() if f.most == 1]
    powers = ["**2", "**(1/2)", "**(-3/2)", "**-1", "**(2/3)", "**1.5"]
    return st.one_of(
        st.tuples(part, st.sampled_from(["+", "-", "*", "/", "**"]), part).map("".join),
        st.tuples(part, st.sampled_from("*/"), part, st.sampled_from("*/"), part).map("".join),
        st.tuples(st.sampled_from(unary), part).map("".join),
        part.map(lambda a: "-" + a),
        st.tuples(part, part).map(lambda a: f"Max({a[0]}, {a[1]})"),
        st.tuples(part, st.sampled_from(powers)).map("".join),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(LEAVES, _grow, max_leaves=6))
def test_written_text_reads_back_equal(text):
    try:
        expression = parse_expression(text, SYMBOLS)
    except ExpressionError:
        return
    candidates = [expression]
    derivative = sympy.diff(expression, X)
    unwritable = (
        sympy.Derivative,
        sympy.Subs,
        sympy.DiracDelta,
        sympy.polygamma,
        sympy.nan,
        sympy.zoo,
        sympy.oo,
        -sympy.oo,
    )
    if not derivative.has(*unwritable, sympy.I):
        candidates.append(canonical(derivative, SYMBOLS))
    for e in candidates:
        if any(0 < abs(float(number)) < 1e-290 for number in e.atoms(sympy.Float)):
            continue  # a subnormal double has fewer digits than SymPy keeps
        assert parse_expression(write_expression(e, SYMBOLS), SYMBOLS) == e


@pytest.mark.parametrize(
    "expression",
    [
        -(1 + Y / X) * sympy.log(X),
        X / 2 / (Y + 1),
        sympy.Rational(-2, 3) * X ** sympy.Rational(-3, 2) * (Y - 1),
        sympy.Float(0.1) + sympy.Float(1) / 3,
        X ** (-Y),
        2**X,
        sympy.exp(-X) / sympy.sqrt(sympy.pi),
        sympy.exp(1) * Y,
    ],
)
def test_written_forms_that_are_easy_to_get_wrong(expression):
    assert parse_expression(write_expression(expression, SYMBOLS), SYMBOLS) == expression


def test_a_symbol_may_be_called_pi():
    pi = sympy.Symbol("pi", real=True)
    expression = pi * sympy.cos(X) + sympy.pi
    assert parse_expression(write_expression(expression), {"pi": pi, "x": X}) == expression


@pytest.mark.parametrize("expression", [sympy.Piecewise((X, X > 1), (1, True)), sympy.gamma(X), sympy.GoldenRatio * X])
def test_writing_refuses_what_could_not_be_read(expression):
    with pytest.raises(ModelError, match="formula language"):
        write_expression(expression)
