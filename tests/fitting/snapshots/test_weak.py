"""Test functions against differences, weak equations against an equation with known parameters."""

import math

import numpy as np
import pytest
import torch

from pdekit.data.snapshots import Snapshots
from pdekit.errors import ConvergenceError
from pdekit.fitting.snapshots.moments import TestFunctions
from pdekit.fitting.snapshots.weak import weak_regression
from pdekit.symbolic import SymbolicSDE


def _normal(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _relaxing(dim, n=1500, times=(0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.2), k=1.0, s=0.7):
    """Exact samples of dx_i = -k x_i dt + s dW_i from N(2, .4^2)."""
    found = []
    for i, t in enumerate(times):
        e = math.exp(-k * t)
        deviation = math.sqrt(0.16 * e * e + s * s * (1 - e * e) / (2 * k))
        found.append(2 * e + deviation * _normal(n, dim, i))
    return Snapshots(times, found)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_generator_of_test_functions(dim):
    functions = TestFunctions.placed(Snapshots([0.0, 1.0], [_normal(300, dim, 0), 2 + 3 * _normal(300, dim, 1)]))
    assert functions.count == len(functions.places) + dim + dim * (dim + 1) // 2
    x, f, g = _normal(4, dim, 2), _normal(4, dim, 3), _normal(4, dim * dim, 4).reshape(4, dim, dim)
    tensor = 0.5 * g @ g.mT
    h, eye = 1e-4, torch.eye(dim, dtype=torch.float64)
    expected = torch.zeros(4, functions.count, dtype=torch.float64)
    for i in range(dim):
        ahead, behind = functions.values(x + h * eye[i]), functions.values(x - h * eye[i])
        expected += f[:, i, None] * (ahead - behind) / (2 * h)
    for column in g.unbind(-1):  # 1/2 d^2/dh^2 along each column of G
        ahead, behind = functions.values(x + h * column), functions.values(x - h * column)
        expected += 0.5 * (ahead + behind - 2 * functions.values(x)) / h**2
    assert torch.allclose(functions.generated(x, f, tensor), expected, atol=1e-5)


def test_few_samples_get_few_functions():
    functions = TestFunctions.placed(Snapshots([0.0, 1.0], [_normal(12, 2, 0), _normal(12, 2, 1)]))
    assert functions.count == 2


def test_three_states_within_error_bars():
    model = SymbolicSDE(["x", "y", "z"], ["-k*x", "-k*y", "-k*z"], ["s"] * 3, params={"k": None, "s": (0, None)})
    found = weak_regression(model, _relaxing(3))
    errors = np.sqrt(np.diag(found.covariance))
    assert found.converged
    assert np.all(np.abs(found.theta.numpy() - [1.0, 0.7]) < 3.5 * errors)
    assert np.all(errors < 0.03)
    assert found.p_value > 1e-4


def test_nonlinear_parameters_and_held_ones():
    model = SymbolicSDE("x", "-c*tanh(b*x)/b", "s", params={"c": (0, None), "b": (0.05, 3), "s": (0, None)})
    found = weak_regression(model, _relaxing(1), fixed={"b": 0.05})
    assert float(found.theta[0]) == pytest.approx(1.0, abs=0.1)
    assert float(found.theta[1]) == 0.05
    assert found.covariance[1, 1] == 0.0


def test_coefficients_that_depend_on_time():
    model = SymbolicSDE("x", "-k*x + 0*sin(t)", "s*exp(0*t)", params={"k": None, "s": (0, None)})
    assert float(weak_regression(model, _relaxing(1)).theta[0]) == pytest.approx(1.0, abs=0.1)


def test_impossible_coefficients_are_refused():
    model = SymbolicSDE("x", "-k*x", "s*log(x - 100)", params={"k": None, "s": (0, None)})
    with pytest.raises(ConvergenceError, match="starting values"):
        weak_regression(model, _relaxing(1, n=50))
