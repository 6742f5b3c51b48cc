"""Linear stochastic flows against Van Loan's block exponential."""

import pytest
import torch

from pdekit.fitting.densities.linear_flow import linear_flow


def by_block_exponential(a, b, s, c):
    """Mean and covariance from SciPy-style block matrices, one row at a time."""
    d = len(a)
    zero = torch.zeros(d, d, dtype=a.dtype)
    half = torch.linalg.matrix_exp(torch.cat([torch.cat([-a, s], 1), torch.cat([zero, a.T], 1)], 0))
    covariance = half[d:, d:].T @ half[:d, d:]
    # (y, u, v): y' = a y + b v + c u, u' = v, v' = 0.
    block = torch.zeros(d + 2, d + 2, dtype=a.dtype)
    block[:d, :d], block[:d, d], block[:d, d + 1], block[d, d + 1] = a, c, b, 1.0
    return torch.linalg.matrix_exp(block)[:d, d + 1], covariance


def rows(d, n, scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = scale * torch.randn(n, d, d, generator=generator, dtype=torch.float64)
    root = torch.randn(n, d, d, generator=generator, dtype=torch.float64)
    b, c = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return a, b, root @ root.mT, c


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.1, 2.0])
def test_moments_are_those_of_the_block_exponential(d, scale):
    a, b, s, c = rows(d, 4, scale)
    mean, covariance = linear_flow(a.permute(1, 2, 0), b.T[:, None], s.permute(1, 2, 0), c.T[:, None])
    for i in range(len(a)):
        truth = by_block_exponential(a[i], b[i], s[i], c[i])
        torch.testing.assert_close(mean[:, 0, i], truth[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(covariance[..., i], truth[1], rtol=1e-9, atol=1e-9)


def test_a_position_driven_by_a_velocity_has_its_small_variance():
    # dx = v ds, dv = sqrt(q) dW over h: the covariance is q [[h^3/3, h^2/2], [h^2/2, h]].
    h, q = 1e-4, 2.0
    a = torch.tensor([[0.0, h], [0.0, 0.0]], dtype=torch.float64)[..., None]
    s = torch.tensor([[0.0, 0.0], [0.0, q * h]], dtype=torch.float64)[..., None]
    _, covariance = linear_flow(a, torch.zeros(2, 1, 1, dtype=torch.float64), s)
    truth = q * torch.tensor([[h**3 / 3, h**2 / 2], [h**2 / 2, h]], dtype=torch.float64)
    torch.testing.assert_close(covariance[..., 0], truth, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("scale", [0.05, 1.5])
def test_gradients(scale):
    a, b, s, c = rows(2, 3, scale)
    inputs = [
        v.requires_grad_() for v in (a.permute(1, 2, 0).contiguous(), b.T[:, None], s.permute(1, 2, 0), c.T[:, None])
    ]

    def flow(a, b, s, c):
        return linear_flow(a, b, 0.5 * (s + s.transpose(0, 1)), c)

    assert torch.autograd.gradcheck(flow, [v.detach().clone().requires_grad_() for v in inputs])


def test_rows_do_not_see_each_other():
    a, b, s, c = rows(2, 3, 0.1)
    a[2] = torch.nan
    a[1] *= 300.0
    mean, covariance = linear_flow(a.permute(1, 2, 0), b.T[:, None], s.permute(1, 2, 0), c.T[:, None])
    alone = linear_flow(a[:1].permute(1, 2, 0), b[:1].T[:, None], s[:1].permute(1, 2, 0), c[:1].T[:, None])
    torch.testing.assert_close(mean[..., :1], alone[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(covariance[..., :1], alone[1], rtol=1e-10, atol=1e-12)
    assert torch.isnan(covariance[..., 2]).any()
