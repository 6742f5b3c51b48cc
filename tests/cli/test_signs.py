"""Parameters whose sign says nothing."""

import pytest

from pdekit.cli.signs import signless_params
from pdekit.symbolic import SymbolicSDE


@pytest.mark.parametrize(
    ("drift", "diffusion", "expected"),
    [
        ("k*(m - x)", "s", ("s",)),
        ("k*(m - x)", "s*x**g", ("s",)),
        ("k*(m - x)", "a*b*x", ("a", "b")),
        ("k*(m - x)", "s**2", ("s",)),
        ("k*(m - x)", "s + x", ()),  # s = -1 and s = 1 are different laws
        ("s*(m - x)", "s", ()),
        ("-x", "s0 + s1*x", ()),
        ("-x", "exp(s)", ()),
    ],
)
def test_one_state(drift, diffusion, expected):
    assert signless_params(SymbolicSDE("x", drift, diffusion)) == expected


def test_a_stated_bound_is_left_alone():
    assert signless_params(SymbolicSDE("x", "-x", "s", params={"s": (-2, 2)})) == ()


def test_a_correlation_keeps_its_sign():
    model = SymbolicSDE(["x", "y"], ["-x", "-y"], [["a", "0"], ["c", "b"]])
    assert signless_params(model) == ("b",)  # turning the first noise around turns a and c together, neither alone
