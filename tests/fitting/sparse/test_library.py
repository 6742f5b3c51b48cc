from typing import Any

import pytest
import sympy

from pdekit.errors import ExpressionError, InputError, ModelError
from pdekit.fitting.sparse import Library, SparseSDE

# What a type checker would refuse, and users may still pass.
THREE: Any = 3
TWO: Any = 2.0
TEXT: Any = "x"


def texts(library, *states):
    return [str(term) for term in library.bind(states)]


def test_polynomials_have_every_monomial_once():
    assert texts(Library.polynomial(2), "x", "y") == ["1", "x", "y", "x**2", "x*y", "y**2"]
    assert texts(Library.polynomial(2, interactions=False), "x", "y") == ["1", "x", "y", "x**2", "y**2"]
    assert len(Library.polynomial(4).bind(["a", "b", "c"])) == 35  # (3 + 4 over 4)


def test_sums_keep_the_order_and_count_equal_terms_once():
    library = Library.polynomial(1) + Library.of("3*x", "x*x", "2") + Library.trigonometric([1, 2.5])
    assert texts(library, "x") == ["1", "x", "x**2", "sin(x)", "cos(x)", "sin(2.5*x)", "cos(2.5*x)"]


def test_sympy_terms_are_matched_by_name():
    x = sympy.Symbol("x", positive=True)
    assert Library.of(x**2, "x**2").bind(["x"]) == (sympy.Symbol("x", real=True) ** 2,)


def test_the_time_may_be_used():
    assert texts(Library.of("sin(t)*x"), "x") == ["x*sin(t)"]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Library(()), InputError, "at least one term"),
        (lambda: Library.of(), InputError, "at least one term"),
        (lambda: Library.of(THREE), InputError, "text or a SymPy expression, got int"),
        (lambda: Library.polynomial(-1), InputError, "from 0 to 20, got -1"),
        (lambda: Library.polynomial(TWO), InputError, "whole number"),
        (lambda: Library.polynomial(20).bind(list("abcdefgh")), InputError, "lower the degree"),
        (lambda: Library.trigonometric([1.0, -2.0]), InputError, "positive numbers"),
        (lambda: Library.trigonometric([]), InputError, "positive numbers"),
        (lambda: Library.of("x - x").bind(["x"]), InputError, "is zero"),
        (lambda: Library.of("y").bind(["x"]), ExpressionError, "unknown name 'y'.*states and the time"),
        (lambda: Library.of("__import__('os')").bind(["x"]), ExpressionError, "term"),
        (lambda: Library.of(sympy.Symbol("w")).bind(["x"]), ExpressionError, "contains w"),
        (lambda: Library.of(sympy.besselj(0, sympy.Symbol("x"))).bind(["x"]), ModelError, "besselj"),
        (lambda: SparseSDE(drift=TEXT), InputError, "must be a Library"),
        (lambda: SparseSDE(criterion=TEXT), InputError, "pastis, bic, aic"),
        (lambda: SparseSDE(noise=TEXT), InputError, "diagonal, full"),
        (lambda: SparseSDE(probability=0.0), InputError, "between 0 and 1"),
        (lambda: SparseSDE(noise="full", diffusion=Library.polynomial(1)), InputError, "constant covariance"),
    ],
)
def test_what_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_prices():
    assert SparseSDE(criterion="aic").price(30, 1000) == 1.0
    assert SparseSDE(criterion="bic").price(30, 1000) == pytest.approx(3.4539, abs=1e-4)
    assert SparseSDE().price(30, 1000) == pytest.approx(10.309, abs=1e-3)


def test_the_default_library_depends_on_the_number_of_states():
    assert [len(SparseSDE().drift_library(d).bind(list("abcd")[:d])) for d in (1, 2, 3)] == [6, 10, 10]
