import pytest
import torch
from torch.distributions import MultivariateNormal

from pdekit.data import Pairs
from pdekit.errors import UnsupportedError
from pdekit.fitting.densities.euler import EulerTransition


def two_dimensional_pairs(n=5):
    generator = torch.Generator().manual_seed(0)

    def draw():
        return torch.randn(n, 2, generator=generator, dtype=torch.float64)

    x0 = draw()
    return Pairs(
        torch.arange(n).double(),
        torch.rand(n, generator=generator).double() + 0.1,
        x0,
        x0 + 0.3 * draw(),
        torch.zeros(n).long(),
    )


def test_matrix_noise_is_a_multivariate_normal(model):
    sde = model(["a*y", "-x"], [["s", "0"], ["r*x", "1"]], {"a": None, "s": (0, None), "r": None}, state=["x", "y"])
    theta = torch.tensor([0.5, 0.7, 0.3], dtype=torch.float64)
    data = two_dimensional_pairs()
    for i, density in enumerate(EulerTransition(sde, data).log_density(theta)):
        x, y = data.x0[i]
        dt = data.dt[i]
        g = torch.stack([torch.stack([theta[1], 0 * x]), torch.stack([theta[2] * x, 1 + 0 * x])])
        law = MultivariateNormal(data.x0[i] + torch.stack([theta[0] * y, -x]) * dt, g @ g.T * dt)
        torch.testing.assert_close(density, law.log_prob(data.x1[i]))


def test_stratonovich_models_are_converted(model):
    stratonovich = model("0*x", "s*x", {"s": (0, None)}, convention="stratonovich", domain=[(0, None)])
    ito = model("s**2*x/2", "s*x", {"s": (0, None)}, domain=[(0, None)])
    x0 = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    data = Pairs(torch.zeros(2).double(), torch.ones(2).double() / 10, x0, x0 + 0.1, torch.zeros(2).long())
    theta = torch.tensor([0.6], dtype=torch.float64)
    torch.testing.assert_close(
        EulerTransition(stratonovich, data).log_density(theta), EulerTransition(ito, data).log_density(theta)
    )


def test_noise_that_does_not_reach_a_state_is_refused_by_name(model):
    sde = model(["y", "-x"], [["0"], ["1"]], {}, state=["x", "y"])
    with pytest.raises(UnsupportedError, match="does not reach x"):
        EulerTransition(sde, two_dimensional_pairs())
