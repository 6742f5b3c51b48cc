"""Normal log-densities against torch's, and where there is none."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from pdekit.fitting.densities.gaussian import log_normal


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 6, 9])
def test_values_and_gradients_are_those_of_a_multivariate_normal(dim):
    generator = torch.Generator().manual_seed(dim)
    root = torch.randn(4, dim, dim, generator=generator, dtype=torch.float64)
    covariance = (root @ root.mT + 0.1 * torch.eye(dim)).requires_grad_()
    miss = torch.randn(4, dim, generator=generator, dtype=torch.float64)
    truth = MultivariateNormal(torch.zeros(dim).double(), covariance).log_prob(miss)
    found = log_normal(miss, covariance)
    torch.testing.assert_close(found, truth)
    gradients = [torch.autograd.grad(v.sum(), covariance, retain_graph=True)[0] for v in (found, truth)]
    # A function of symmetric matrices has the same gradient only up to how it is shared between (i, j) and (j, i).
    symmetric = [g + g.mT for g in gradients]
    torch.testing.assert_close(*symmetric)


@pytest.mark.parametrize("dim", [2, 7])
@pytest.mark.parametrize("entry", [-1.0, 0.0, torch.nan, torch.inf])
def test_improper_rows_have_density_zero_and_leave_the_others_their_gradient(dim, entry):
    covariance = torch.eye(dim, dtype=torch.float64).repeat(2, 1, 1)
    covariance[1, 1, 1] = entry
    covariance.requires_grad_()
    value = log_normal(torch.ones(2, dim, dtype=torch.float64), covariance)
    assert torch.isfinite(value[0])
    assert value[1] == -torch.inf
    (gradient,) = torch.autograd.grad(value[0], covariance)
    assert torch.isfinite(gradient).all()
