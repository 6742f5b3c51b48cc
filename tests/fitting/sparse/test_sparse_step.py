"""Mean and covariance of a step against laws that are known in closed form."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from sympy import Symbol

from pdekit.fitting.sparse.step import Noise, Step
from pdekit.fitting.sparse.terms import Terms

TIME = Symbol("t", real=True)


def terms(*texts, states="x"):
    from pdekit.fitting.sparse import Library

    return Terms(Library.of(*texts).bind(list(states)), [Symbol(s, real=True) for s in states], TIME)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def geometric(dt):
    """Errors of mean and variance for dx = .7 x dt + .8 x dW from x = 1.5."""
    step = Step(terms("1", "x"), column(0.0, 0.7), Noise(terms("x**2"), column(0.64)), second_order=True)
    x, dt_, t = column(1.5), column(dt), column(0.0)
    mean, variance = step.mean(t, dt_, x).item(), step.covariance(t, dt_, x).item()
    growth = np.exp(0.7 * dt)
    return mean - 1.5 * growth, variance - 1.5**2 * growth**2 * np.expm1(0.64 * dt)


def square_root(dt):
    """The same for the CIR process dx = 3 (.3 - x) dt + .5 sqrt(x) dW from x = .5."""
    step = Step(terms("1", "x"), column(0.9, -3.0), Noise(terms("x"), column(0.25)), second_order=True)
    t = column(0.0)
    mean, variance = (f(t, column(dt), column(0.5)).item() for f in (step.mean, step.covariance))
    decay = np.exp(-3 * dt)
    exact = 0.25 / 3 * (0.5 * (decay - decay**2) + 0.15 * (1 - decay) ** 2)
    return mean - (0.3 + 0.2 * decay), variance - exact


@pytest.mark.parametrize("errors", [geometric, square_root])
def test_mean_and_variance_are_of_second_order(errors):
    # A local error of order dt^3 falls eightfold when dt is halved; the mean of a linear drift is of order dt^5.
    (mean, variance), (mean_half, variance_half) = errors(0.02), errors(0.01)
    assert abs(mean) < 1e-8
    assert abs(mean_half) <= abs(mean)
    assert variance / variance_half == pytest.approx(8.0, rel=0.1)


def test_the_curvature_of_the_drift_enters_the_mean():
    # d E[x] / dt = -E[x^3]: by Ito, E[x1] = x - x^3 dt + dt^2/2 (3 x^5 - 3 x s^2) + O(dt^3).
    step = Step(terms("x**3"), column(-1.0), Noise(terms("1"), column(0.49)), second_order=True)
    off = []
    for dt in (0.02, 0.01):
        mean = step.mean(column(0.0), column(dt), column(0.8)).item()
        off.append(mean - (0.8 - 0.8**3 * dt + dt**2 / 2 * (3 * 0.8**5 - 3 * 0.8 * 0.49)))
    assert off[0] / off[1] == pytest.approx(8.0, rel=0.1)


def rotating(second_order=True):
    phi = terms("x", "y", states="xy")
    matrix = torch.tensor([[-1.0, 2.0], [-2.0, -0.5]], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=torch.float64)
    noise = Noise(terms("1", states="xy"), torch.zeros(0), covariance)
    return Step(phi, matrix.T.contiguous(), noise, second_order), matrix.numpy(), covariance.numpy()


def test_linear_systems_have_matrix_exponentials():
    step, A, S = rotating()
    x, dt = torch.tensor([[1.0, -0.5]], dtype=torch.float64), 0.05
    # Van Loan: the covariance is a block of one larger exponential.
    block = expm(np.block([[-A, S], [np.zeros((2, 2)), A.T]]) * dt)
    exact = block[2:, 2:].T @ block[:2, 2:]
    np.testing.assert_allclose(step.mean(column(0.0), column(dt), x)[0], expm(A * dt) @ x[0].numpy(), atol=1e-7)
    np.testing.assert_allclose(step.covariance(column(0.0), column(dt), x)[0], exact, atol=2e-6)


@pytest.mark.parametrize("second_order", [False, True])
def test_slopes_are_derivatives_of_the_mean(second_order):
    phi = terms("1", "x*y", "sin(x)", "y**3*t", states="xy")
    B = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-0.7, 0.4], [0.2, -0.6]], dtype=torch.float64)
    noise = Noise(terms("1", "x**2", states="xy"), torch.tensor([[0.2, 0.3], [0.1, 0.0]], dtype=torch.float64))
    x = torch.tensor([[0.4, -0.8], [1.1, 0.6]], dtype=torch.float64)
    t, dt = column(0.3, 1.0), column(0.1, 0.2)
    active = torch.tensor([0, 1, 2, 5, 7])
    mean, slopes = Step(phi, B, noise, second_order).mean_and_slopes(t, dt, x, active)
    torch.testing.assert_close(mean, Step(phi, B, noise, second_order).mean(t, dt, x))
    for a, position in enumerate(active.tolist()):
        change = torch.zeros_like(B)
        change[position % 4, position // 4] = 1e-6
        ahead, behind = (Step(phi, B + s * change, noise, second_order).mean(t, dt, x) for s in (1, -1))
        torch.testing.assert_close(slopes[..., a], (ahead - behind) / 2e-6, atol=1e-9, rtol=1e-7)
