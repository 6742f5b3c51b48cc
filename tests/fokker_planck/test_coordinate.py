import math

import pytest
import torch

from pdekit.errors import NumericalError
from pdekit.fokker_planck.coordinate import LampertiCoordinate

INFINITY = math.inf


def test_constant_noise_is_a_scaling():
    coordinate = LampertiCoordinate(lambda x: torch.full_like(x, 0.5), (-INFINITY, INFINITY), (-1.0, 2.0), 1.0)
    y = coordinate.to_y(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(y.diff(), torch.tensor([2.0, 4.0], dtype=torch.float64), rtol=1e-12, atol=0)
    assert (coordinate.lower, coordinate.upper) == (None, None)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 0.7])
def test_distance_to_a_boundary_that_is_reached(power):
    # y - y_b = x^(1 - power) / (1 - power) for g = x^power on (0, inf).
    coordinate = LampertiCoordinate(lambda x: x**power, (0.0, INFINITY), (0.2, 3.0), 1e3)
    assert coordinate.upper is None
    x = torch.tensor([0.2, 0.5, 3.0], dtype=torch.float64)
    expected = x ** (1 - power) / (1 - power)
    # The table ends where what is left to the boundary is 1e-9 of the padding.
    torch.testing.assert_close(coordinate.to_y(x) - coordinate.lower, expected, rtol=0, atol=2e-6)


def test_geometric_noise_has_no_boundary():
    coordinate = LampertiCoordinate(lambda x: 0.3 * x, (0.0, INFINITY), (0.2, 3.0), 2.0)
    assert coordinate.lower is None
    y = coordinate.to_y(torch.tensor([1.0, math.e], dtype=torch.float64))
    assert float(y.diff()) == pytest.approx(1 / 0.3, rel=1e-10)


def test_geometric_noise_has_no_boundary_however_far_one_looks():
    coordinate = LampertiCoordinate(lambda x: 3.0 * x, (0.0, INFINITY), (0.2, 3.0), 1e3)
    assert (coordinate.lower, coordinate.upper) == (None, None)


def test_interval_reaches_both_ends():
    # int dx / sqrt(x (1 - x)) = pi over (0, 1).
    coordinate = LampertiCoordinate(lambda x: torch.sqrt(x * (1 - x)), (0.0, 1.0), (0.3, 0.6), 10.0)
    assert coordinate.upper - coordinate.lower == pytest.approx(math.pi, rel=1e-6)


@pytest.mark.parametrize(
    ("noise", "domain"),
    [
        (lambda x: torch.sqrt(1 + x * x), (-INFINITY, INFINITY)),
        (lambda x: x**0.6, (0.0, INFINITY)),
        (lambda x: 2 - x, (-INFINITY, 2.0)),
    ],
)
def test_inverse_undoes_the_map(noise, domain):
    coordinate = LampertiCoordinate(noise, domain, (0.1, 1.9), 1.0)
    x = torch.linspace(0.1, 1.9, 57, dtype=torch.float64)
    torch.testing.assert_close(coordinate.from_y(coordinate.to_y(x))[0], x, rtol=1e-9, atol=0)


def test_a_point_without_noise_is_refused():
    with pytest.raises(NumericalError, match="x = 0"):
        LampertiCoordinate(lambda x: x, (-INFINITY, INFINITY), (-1.0, 1.0), 1.0)
