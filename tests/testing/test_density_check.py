"""`check_density`: right densities pass with the right numbers, each fault is caught and named."""

import math

import numpy as np
import pytest
import torch

from pdekit.errors import InputError
from pdekit.sde import SDE
from pdekit.testing import CheckFailure, check_density

OU = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, 2.0), dim=1)  # stationary variance 2
PLANAR = SDE(lambda t, x: -x, lambda t, x: torch.full_like(x, math.sqrt(2)), dim=2)


def normal(mean=0.0, variance=1.0):
    return lambda x: -((x[..., 0] - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


def correlated(x):
    # Covariance [[2, 1], [1, 1]] has inverse [[1, -1], [-1, 2]] and determinant 1.
    a, b = x[..., 0], x[..., 1]
    return -0.5 * (a * a - 2 * a * b + 2 * b * b) - math.log(2 * math.pi)


def standard(x):
    return -0.5 * (x**2).sum(-1) - x.shape[-1] / 2 * math.log(2 * math.pi)


def test_normal_densities():
    found = check_density(normal(1.0, 4.0), 1, mean=[1.0], covariance=[[4.0]])
    assert found.mass == pytest.approx(1, abs=1e-6)
    assert found.mean == pytest.approx([1])
    assert found.covariance == pytest.approx(np.array([[4.0]]))
    assert found.residual is None


def test_moments_are_held_to_the_tolerance():
    check_density(normal(), 1, mean=[1e-7], covariance=[[1 + 1e-6]])
    with pytest.raises(CheckFailure, match="the mean is"):
        check_density(normal(), 1, mean=[1e-5])
    with pytest.raises(CheckFailure, match="the covariance is"):
        check_density(normal(), 1, covariance=[[1 + 1e-4]])


def test_two_dimensions():
    found = check_density(correlated, 2, mean=[0, 0], covariance=[[2, 1], [1, 1]], rtol=1e-4)
    assert found.covariance == pytest.approx(np.array([[2, 1], [1, 1]]), abs=1e-3)
    with pytest.raises(CheckFailure, match=r"the covariance is .*, expected \[\[2, -1\], \[-1, 1\]\]"):
        check_density(correlated, 2, covariance=[[2, -1], [-1, 1]], rtol=1e-4)


def test_bounded_support():
    beta = lambda x: math.log(6.0) + torch.log(x[..., 0]) + torch.log1p(-x[..., 0])  # noqa: E731
    check_density(beta, 1, lower=[0], upper=[1], mean=[0.5], covariance=[[0.05]])
    exponential = lambda x: math.log(2) - 2 * x[..., 0]  # noqa: E731
    check_density(exponential, 1, lower=[0], mean=[0.5], covariance=[[0.25]])
    uniform = lambda x: torch.where((x > 0) & (x < 1), 0.0, -torch.inf)[..., 0]  # noqa: E731
    check_density(uniform, 1, lower=[-1], upper=[2], mean=[0.5], rtol=1e-4)
    with pytest.raises(CheckFailure, match=r"the mass is 0\.5"):
        check_density(beta, 1, lower=[0], upper=[0.5])


@pytest.mark.parametrize(
    ("log_density", "message"),
    [
        (lambda x: -0.5 * x[..., 0] ** 2, r"^density: the mass is 2\.5066.*, not 1"),
        (lambda x: normal()(x) + 1e-5, r"the mass is 1\.00001.*, not 1"),
        (lambda x: torch.where(x[..., 0] > 1, torch.nan, normal()(x)), r"log p = nan at x = \["),
        (lambda x: torch.where(x[..., 0] > 1, torch.inf, normal()(x)), r"log p = inf at x = \["),
        (lambda x: normal()(x).unsqueeze(-1), r"must give \(\d+,\), got \(\d+, 1\)"),
        (normal(1.0), r"the mean is \[.*\], expected \[0.0\]"),
        (normal(0.0, 1.1), r"the covariance is \[\[1\.1.*\]\], expected \[\[1.0\]\]"),
    ],
)
def test_wrong_densities(log_density, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_density(log_density, 1, mean=[0.0], covariance=[[1.0]])
    assert caught.value.check == "density"


def test_stationary_densities():
    found = check_density(normal(0.0, 2.0), 1, sde=OU)
    assert 0 <= found.residual < 1e-12
    with pytest.raises(CheckFailure, match=r"the Fokker-Planck residual at x = \[.*\], t = 0 is .* of terms"):
        check_density(normal(0.0, 1.9), 1, sde=OU)
    assert check_density(standard, 2, sde=PLANAR, rtol=1e-4).residual < 1e-12
    with pytest.raises(CheckFailure, match="residual"):
        check_density(correlated, 2, sde=PLANAR, rtol=1e-4)


def moving(rate):
    def log_density(t, x):
        decay = torch.exp(-rate * t)
        variance = 2 * (1 - decay**2) + 0.5 * decay**2
        return -((x[..., 0] - 3 * decay) ** 2) / (2 * variance) - 0.5 * torch.log(2 * math.pi * variance)

    return log_density


def test_densities_that_move():
    decay = math.exp(-0.5)
    found = check_density(moving(1.0), 1, sde=OU, time=0.5, mean=[3 * decay], covariance=[[2 - 1.5 * decay**2]])
    assert found.residual < 1e-12
    with pytest.raises(CheckFailure, match=r"residual at x = \[.*\], t = 0.5 is"):
        check_density(moving(1.01), 1, sde=OU, time=0.5)


def test_conventions_differ():
    # dX = -X dt + sqrt(2 + 2 X^2) dW: stationary is 1/(1 + x^2)^(a), Ito 3/2 and Stratonovich 1.
    noise = lambda t, x: torch.sqrt(2 + 2 * x**2)  # noqa: E731
    ito, other = (SDE(lambda t, x: -2 * x, noise, dim=1, sde_type=c) for c in ("ito", "stratonovich"))
    # D = 1 + x^2: p' D = (f_ito - D') p with f_ito = -2x (or -2x + x): exponents -4x/D = -2 * 2x/D, or -3x/D.
    points = torch.tensor([[0.5], [-1.5]], dtype=torch.float64)
    squared = lambda x: math.log(2 / math.pi) - 2 * torch.log1p(x[..., 0] ** 2)  # noqa: E731
    # A finite box: the tails of the variance fall off slowly. Mass outside it is 4 / (3 pi 200^3).
    box = {"lower": [-200], "upper": [200], "points": points, "rtol": 1e-5}
    assert check_density(squared, 1, sde=ito, **box).residual < 1e-12
    with pytest.raises(CheckFailure, match="residual"):
        check_density(squared, 1, sde=other, **box)


def test_points_and_limit_of_the_residual():
    near = torch.zeros(1, 1, dtype=torch.float64)
    off = normal(0.0, 2.0 * (1 + 1e-7))
    check_density(off, 1, sde=OU, points=near, residual_limit=1e-6)
    with pytest.raises(CheckFailure, match=r"residual at x = \[0.0\]"):
        check_density(off, 1, sde=OU, points=near)


@pytest.mark.parametrize("dim", [0, 4])
def test_other_dimensions(dim):
    with pytest.raises(InputError, match=f"over 1 to 3 dimensions, got dim={dim}"):
        check_density(standard, dim)


def test_a_density_without_moments():
    cauchy = lambda x: -torch.log(torch.pi * (1 + x[..., 0] ** 2))  # noqa: E731
    found = check_density(cauchy, 1)
    assert found.mass == pytest.approx(1)
    assert np.isnan(found.mean).all()
    with pytest.raises(CheckFailure, match="the mean is"):
        check_density(cauchy, 1, mean=[0.0])


def test_no_points_for_the_residual():
    normal = lambda x: -0.5 * x[..., 0] ** 2 - 0.5 * np.log(2 * np.pi)  # noqa: E731
    wrong = SDE(lambda t, x: 5 * x, lambda t, x: 1 + 0 * x, dim=1)
    with pytest.raises(InputError, match="no points to take the residual at"):
        check_density(normal, 1, sde=wrong, points=torch.zeros(0, 1, dtype=torch.float64))
