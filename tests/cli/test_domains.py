"""The domain that formulas and data suggest."""

from math import inf

import pytest

from pdekit.cli.domains import suggest_domain
from pdekit.data import Trajectories
from pdekit.symbolic import SymbolicSDE

POSITIVE, SHARE, BOTH = [1.0, 2.0, 1.5], [0.2, 0.7, 0.4], [-1.0, 0.5, 0.2]


@pytest.mark.parametrize(
    ("drift", "diffusion", "values", "expected"),
    [
        ("k*(m - x)", "s*sqrt(x)", POSITIVE, (0, inf)),
        ("k*(m - x)", "s*x**g", POSITIVE, (0, inf)),
        ("k*x", "s*x", POSITIVE, (0, inf)),
        ("k*x", "s*x", [-1.0, -2.0, -1.5], (-inf, 0)),
        ("k*(m - x)", "s*sqrt(x*(1 - x))", SHARE, (0, 1)),
        ("k*(m - x)", "s*x*(1 - x)", SHARE, (0, 1)),
        ("k*(m - x)", "s*x*(1 - x)", POSITIVE, (1, inf)),
        ("k*(m - x)", "s*sqrt(2 - x)", SHARE, (-inf, 2)),
        ("a/x - b*x", "s", POSITIVE, (0, inf)),
        ("-k*log(x)", "s", POSITIVE, (0, inf)),
        ("k*(m - x)", "s*x", [0.0, 1.0, 2.0], (0, inf)),  # 0 itself is then refused by name
        # no ends
        ("k*x - x**3", "s", POSITIVE, (-inf, inf)),
        ("k*x", "s*x", BOTH, (-inf, inf)),
        ("k*x", "sqrt(s0 + s1*x**2)", POSITIVE, (-inf, inf)),
        ("k*x", "s*sqrt(c - x)", SHARE, (-inf, inf)),  # depends on a parameter
        ("k*x", "s*(1 + x**2)", POSITIVE, (-inf, inf)),
        ("k*x", "s + x", POSITIVE, (-inf, inf)),
        ("k*x**2", "s", POSITIVE, (-inf, inf)),
    ],
)
def test_one_state(drift, diffusion, values, expected):
    data = Trajectories.from_arrays([0.0, 1.0, 2.0], values)
    assert suggest_domain(SymbolicSDE("x", drift, diffusion), data) == (expected,)


def test_each_state_has_its_own():
    data = Trajectories.from_arrays([0.0, 1.0, 2.0], [[0.1, 1.0], [-0.2, 2.0], [0.3, 1.5]])
    model = SymbolicSDE(["y", "v"], ["m - v/2", "k*(q - v)"], [["sqrt(v)", "0"], ["r*sqrt(v)", "s*sqrt(v)"]])
    assert suggest_domain(model, data) == ((-inf, inf), (0, inf))
