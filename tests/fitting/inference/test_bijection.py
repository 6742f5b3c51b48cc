import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdekit.fitting.inference.bijection import Bijection

INFINITY = math.inf
BOUNDS = [(0.0, INFINITY), (-INFINITY, 2.0), (-1.0, 3.0), (-INFINITY, INFINITY)]


@given(st.lists(st.floats(-15, 15), min_size=4, max_size=4))
def test_inverse_undoes_forward_and_stays_inside(values):
    bijection = Bijection(BOUNDS)
    eta = torch.tensor(values, dtype=torch.float64)
    theta = bijection.forward(eta)
    for value, (lower, upper) in zip(theta.tolist(), BOUNDS, strict=True):
        assert lower <= value <= upper
    torch.testing.assert_close(bijection.inverse(theta), eta, rtol=1e-8, atol=1e-8)


def test_slope_is_the_derivative():
    bijection = Bijection(BOUNDS)
    eta = torch.tensor([0.3, -0.2, 0.5, 2.0], dtype=torch.float64)
    step = 1e-6
    difference = (bijection.forward(eta + step) - bijection.forward(eta - step)) / (2 * step)
    torch.testing.assert_close(bijection.slope(eta), difference, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("at", [0.0, -5.0])
def test_a_value_on_or_beyond_its_bound_is_moved_inside(at):
    eta = Bijection([(0.0, INFINITY)]).inverse(torch.tensor([at], dtype=torch.float64))
    assert math.isfinite(float(eta))
