"""One step of mean and covariance: against matrix exponentials, and the moments of models that have closed ones."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import pdekit as pk
from pdekit.fitting.filtering.moments import MomentStep, _integrals
from pdekit.symbolic import SymbolicSDE


@pytest.mark.parametrize("size", [1e-6, 0.1, 2.0, 30.0])
@pytest.mark.parametrize("dim", [1, 3])
def test_integrals_are_those_of_matrix_exponentials(size, dim):
    rng = np.random.default_rng(0)
    jacobian = size * (rng.standard_normal((dim, dim)) - 2.0 * np.eye(dim))
    root = rng.standard_normal((dim, dim))
    noise, step, eye, zero = root @ root.T, 0.7, np.eye(dim), np.zeros((dim, dim))
    chain = expm(step * np.block([[jacobian, eye, zero], [zero, zero, eye], [zero, zero, zero]]))
    kron = np.kron(jacobian, eye) + np.kron(eye, jacobian)
    flow = expm(step * np.block([[kron, np.eye(dim * dim)], [np.zeros((dim * dim, 2 * dim * dim))]]))
    spread = (flow[: dim * dim, dim * dim :] @ noise.flatten()).reshape(dim, dim)
    truth = [chain[:dim, k * dim : (k + 1) * dim] for k in range(3)] + [spread]
    found = _integrals(
        torch.from_numpy(jacobian)[..., None],
        torch.from_numpy(noise)[..., None],
        torch.tensor([step], dtype=torch.float64),
    )
    for value, exact in zip(found, truth, strict=True):
        # The error of expm grows with its norm too.
        assert np.allclose(value[..., 0].numpy(), exact, rtol=1e-9, atol=1e-13 * max(1.0, np.abs(exact).max()))


def cumulants(model, values, step, x, variance):
    theta = model.theta(values)
    state = torch.tensor([[x]], dtype=torch.float64)
    mean, covariance = MomentStep(model)(
        torch.zeros(1).double(),
        torch.tensor([step], dtype=torch.float64),
        state,
        torch.tensor([[[variance]]], dtype=torch.float64),
        theta,
    )
    return float(mean), float(covariance)


def test_a_step_has_third_order_errors_also_with_noise_that_depends_on_the_state():
    """CIR, whose conditional mean and variance are known."""
    model = pk.models.get("cir")
    values = dict(zip(model.param_names, (3.0, 0.3, 0.2), strict=True))
    errors = []
    for h in (0.1, 0.05):
        mean, variance = cumulants(model, values, h, 0.4, 0.0)
        decay = np.exp(-3.0 * h)
        assert mean == pytest.approx(0.3 + 0.1 * decay, abs=1e-12)
        exact = 0.04 * (0.4 * (decay - decay**2) + 0.15 * (1 - decay) ** 2) / 3.0
        errors.append(abs(variance - exact))
    assert errors[0] / errors[1] > 7.0


def test_drift_with_curvature_and_an_uncertain_start_agree_with_moment_equations():
    model = SymbolicSDE("x", "-x**2", "s")
    # d^2/dt^2 of the mean and d/dt of the variance at 0, third moments of a normal law included.
    h, m, p, s = 1e-3, 0.7, 0.02, 0.5
    mean, variance = cumulants(model, {"s": s}, h, m, p)
    drift, rate = -(m * m + p), -4.0 * m * p + s * s
    assert mean == pytest.approx(m + drift * h + 0.5 * h * h * (-2.0 * m * drift - rate), abs=1e-8)
    assert variance == pytest.approx(p + rate * h + 0.5 * h * h * (-4.0 * m * rate), abs=1e-7)


def test_time_in_the_coefficients_is_taken_in_the_middle_of_a_step():
    model = SymbolicSDE("x", "a*t", "1")
    mean, covariance = MomentStep(model)(
        torch.tensor([1.0]).double(),
        torch.tensor([0.5]).double(),
        torch.zeros(1, 1).double(),
        torch.zeros(1, 1, 1).double(),
        model.theta({"a": 2.0}),
    )
    assert float(mean) == pytest.approx(1.25)
    assert float(covariance) == pytest.approx(0.5)


def test_parts_of_a_step_bring_it_nearer_to_the_fine_solution():
    model = SymbolicSDE(["x", "v"], ["v", "x - x**3 - v"], ["0", "s"])
    step, theta = MomentStep(model), model.theta({"s": 0.3})
    mean, covariance = torch.tensor([[0.8], [0.3]], dtype=torch.float64), 0.01 * torch.eye(2).double()[..., None]
    t, h = torch.zeros(1).double(), torch.tensor([0.4], dtype=torch.float64)
    one, four, many = (step(t, h, mean, covariance, theta, parts) for parts in (1, 4, 64))
    for k in range(2):
        # An uncertain start makes the frozen Jacobian an error of first order: four times nearer.
        assert float((one[k] - many[k]).abs().max()) > 3.5 * float((four[k] - many[k]).abs().max())
