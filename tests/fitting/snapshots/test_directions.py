"""Which parameters are named when laws can't tell them apart."""

import numpy as np
import pytest
import torch

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.snapshots.directions import Slopes, described, errors_along, flattest
from pdekit.symbolic import SymbolicSDE

DATA = Snapshots([0.0, 1.0], list(np.random.default_rng(0).normal(size=(2, 50))))
WELL = SymbolicSDE("x", "a*x - b*x**3", "s", params={"a": None, "b": None, "s": (0, None)})
THETA = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)


def test_a_common_factor_of_drift_and_noise_is_found():
    slopes = Slopes.of(WELL, DATA, THETA, np.ones(3, dtype=bool))
    # f and D = s^2 / 2 grow by the factor e^c if a and b do, and s by e^(c / 2).
    assert slopes.scaling() == pytest.approx([1.0, 2.0, 0.25], rel=1e-5)
    assert "common factor" in described(slopes, np.array([1.0, 2.0, 0.25]), 1)


@pytest.mark.parametrize("held", [0, 1, 2])
def test_with_any_of_them_held_there_is_none(held):
    free = np.arange(3) != held
    assert Slopes.of(WELL, DATA, THETA, free).scaling() is None


def test_a_constant_in_the_formula_sets_the_scale():
    model = SymbolicSDE("x", "x - b*x**3", "s", params={"b": None, "s": (0, None)})
    assert Slopes.of(model, DATA, THETA[1:], np.ones(2, dtype=bool)).scaling() is None


def test_error_along_a_direction_and_the_flattest_one():
    covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.01]])
    assert errors_along(covariance, np.array([0.0, 0.0, 1.0])) == pytest.approx(0.1)
    assert errors_along(covariance, np.array([1.0, 1.0, 0.0])) == pytest.approx((1.9 / 2) ** 0.5)
    slopes = Slopes(("a", "b", "s"), np.ones(1), np.ones(1), np.ones((1, 3)), np.ones((1, 3)))
    error, direction = flattest(slopes, covariance)
    assert error == pytest.approx(1.9**0.5)
    assert abs(direction[0]) == pytest.approx(abs(direction[1]))
    assert "a and b" in described(slopes, direction, 1)
