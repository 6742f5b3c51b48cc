"""The family of laws at the first snapshot."""

import math

import numpy as np
import pytest
import torch

from pdekit.errors import DataError
from pdekit.fitting.snapshots.initial import InitialLaw, fitted_law

LINE, HALF, BETWEEN = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)


def _draws(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("ends", [LINE, HALF, BETWEEN])
def test_density_has_mass_one(ends):
    law = InitialLaw((ends,), torch.tensor([0.3]).double(), torch.tensor([0.5]).double(), 2)
    alpha = torch.tensor([0.4, -0.5, 0.7, -0.2, 0.1]).double()
    low, high = (-8.0, 8.0) if ends == LINE else (1e-6, 40.0) if ends == HALF else (1e-6, 1 - 1e-6)
    x = torch.linspace(low, high, 200_001, dtype=torch.float64)
    assert float(torch.trapezoid(law.log_density(x[:, None], alpha).exp(), x)) == pytest.approx(1.0, abs=1e-4)


def test_a_correlated_normal_law_is_found():
    x = _draws(5000, 2) @ torch.tensor([[1.0, 0.0], [0.8, 0.3]]).double().T + 2
    law, alpha = fitted_law(x, (LINE, LINE), 0)
    assert law.components == 1
    exact = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    assert torch.allclose(law.log_density(x[:50], alpha), exact.log_prob(x[:50]), atol=2e-3)


def test_two_humps_get_two_components_and_samples_follow():
    x = torch.cat([_draws(1500, 1) * 0.3 - 2, _draws(500, 1, 1) * 0.5 + 1])
    law, alpha = fitted_law(x, (LINE,), 0)
    assert law.components == 2
    drawn = law.sample(4000, alpha, torch.Generator().manual_seed(2))
    assert float((drawn < -0.5).double().mean()) == pytest.approx(0.75, abs=0.03)
    assert float(law.narrowest(alpha)[0]) == pytest.approx(0.3, rel=0.1)


def test_the_gradient_reaches_all_parameters():
    law = InitialLaw((LINE, HALF), torch.zeros(2).double(), torch.ones(2).double(), 2)
    alpha = torch.from_numpy(np.random.default_rng(0).normal(size=law.size)).requires_grad_()
    x = torch.tensor([[0.2, 0.5], [1.0, 2.0]]).double()
    assert torch.autograd.gradcheck(lambda a: law.log_density(x, a), alpha)


def test_laws_without_density_are_refused():
    with pytest.raises(DataError, match="does not vary"):
        fitted_law(torch.ones(50, 1).double(), (LINE,), 0)
    with pytest.raises(DataError, match="plane"):
        fitted_law(_draws(50, 1).expand(-1, 2) * torch.tensor([1.0, 2.0]).double(), (LINE, LINE), 0)
