import numpy as np
import pytest

from pdekit.fitting.inference.optimise import central_hessian, descend, finish, minimise, newton_decrement


def rosenbrock(p):
    x, y = p
    value = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    return value, np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


def test_finds_the_minimum_of_a_curved_valley():
    found = minimise(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-14)
    assert found.converged
    np.testing.assert_allclose(found.point, [1, 1], atol=1e-5)
    np.testing.assert_allclose(found.hessian, [[802, -400], [-400, 200]], rtol=1e-3)


def test_steps_back_from_where_the_function_is_not_defined():
    def with_hole(p):
        if p[0] <= 0:
            return np.inf, np.full(1, np.nan)
        return float(p[0] - np.log(p[0])), np.array([1 - 1 / p[0]])

    found = minimise(with_hole, np.array([8.0]), tolerance=1e-14)
    assert found.converged
    assert found.point[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("unit", [1e-18, 1e-6, 1.0, 1e6, 1e18])
def test_does_not_care_for_units(unit):
    def quadratic(p):
        z = p / np.array([unit, 1.0])
        return float(0.5 * z @ z + np.sum(z**4)), (z + 4 * z**3) / np.array([unit, 1.0])

    found = minimise(quadratic, np.array([3.0 * unit, -2.0]), scale=np.array([unit, 1.0]))
    assert found.converged
    np.testing.assert_allclose(found.point / [unit, 1.0], 0.0, atol=1e-4)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e18])
def test_curved_valleys_are_followed_in_any_units(unit):
    units = np.array([1.0, unit])

    def stretched(p):
        value, gradient = rosenbrock(p / units)
        return value, gradient / units

    found = descend(stretched, np.array([-1.2, 1.0]) * units, scale=units, tolerance=1e-12)
    plain = descend(rosenbrock, np.array([-1.2, 1.0]), tolerance=1e-12)
    np.testing.assert_allclose(found.point / units, [1, 1], atol=1e-4)
    assert found.evaluations == plain.evaluations


def test_no_minimum_is_not_called_one():
    def slope(p):
        return (float(-p[0]), np.array([-1.0]))

    found = finish(slope, descend(slope, np.array([0.0]), max_iterations=20))
    assert not found.converged


def test_saddle_has_infinite_decrement():
    assert newton_decrement(np.diag([1.0, -1.0]), np.ones(2)) == np.inf


def test_central_hessian_of_a_known_function():
    hessian = central_hessian(rosenbrock, np.array([0.5, -0.3]), np.array([1e-4, 1e-4]))
    exact = [[2 - 400 * (-0.3 - 0.25) + 800 * 0.25, -400 * 0.5], [-400 * 0.5, 200]]
    np.testing.assert_allclose(hessian, exact, rtol=1e-6)
