"""Linear regression with known noise and a ridge for each group of columns, chosen by the marginal likelihood.

With information G = sum w b b^T and b = sum w b y, weights that are normal a priori with variance 1 / alpha_g in
group g
have the posterior mean (G + A)^{-1} b and the log evidence 1/2 b^T (G + A)^{-1} b - 1/2 log|G + A| + 1/2 log|A|.
Given the
other groups, the best alpha of one is found on a grid from one eigendecomposition (MacKay 1992, Neural Computation 4).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# alpha runs from far below the smallest information that matters to far above the largest.
_EXPONENTS = torch.linspace(-9.0, 3.0, 145, dtype=torch.float64)
_SWEEPS = 4
_JITTER = 1e-12


class Posterior(NamedTuple):
    """What is known of the weights of r regressions with p columns.

    Attributes:
        mean: (r, p).
        covariance: (r, p, p).
        precision: alpha of each column, (r, p); zero where there is no ridge.
        evidence: The log marginal likelihood, up to a constant of the data, (r,).
        effective: How many directions the data determine, (r,).
    """

    mean: Tensor
    covariance: Tensor
    precision: Tensor
    evidence: Tensor
    effective: Tensor


def ridge(information: Tensor, target: Tensor, groups: Sequence[Tensor]) -> Posterior:
    """The posterior of r regressions.

    Args:
        information: G, (r, p, p).
        target: b, (r, p).
        groups: The columns of each group that has a ridge; those in none have a flat prior.

    Example:
        >>> eye = torch.eye(3, dtype=torch.float64)[None]
        >>> found = ridge(1e4 * eye, 1e4 * torch.tensor([[3.0, 1.0, 0.001]], dtype=torch.float64), [torch.tensor([2])])
        >>> found.mean.numpy().round(2)          # what the data don't show to differ from zero is zero
        array([[3., 1., 0.]])
    """
    size = information.diagonal(dim1=-2, dim2=-1)
    # In units in which columns carry comparable information: sums of squares of a feature may differ by many orders.
    typical = size.mean(-1, keepdim=True).clamp_min(1e-300)
    g = information / typical[..., None]
    g = g + torch.diag_embed(_JITTER * size / typical + 1e-300)
    b = target / typical.sqrt()
    precision = torch.zeros_like(b)
    for group in groups:
        precision[:, group] = 1e-3
    for _ in range(_SWEEPS if len(groups) > 1 else 1):
        for group in groups:
            precision[:, group] = _best(g, b, precision, group)[:, None]
    factor = torch.linalg.cholesky(g + torch.diag_embed(precision))
    covariance = torch.cholesky_inverse(factor)
    mean = (covariance @ b[..., None])[..., 0]
    known = precision > 0
    log_prior = torch.where(known, torch.log(torch.where(known, precision, 1.0)), 0.0).sum(-1)
    evidence = 0.5 * (b * mean).sum(-1) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * log_prior
    effective = (1.0 - precision * covariance.diagonal(dim1=-2, dim2=-1)).sum(-1)
    return Posterior(mean / typical.sqrt(), covariance / typical[..., None], precision * typical, evidence, effective)


def _best(g: Tensor, b: Tensor, precision: Tensor, group: Tensor) -> Tensor:
    """alpha of one group, (r,), given those of the others."""
    inside = torch.zeros(g.shape[-1], dtype=torch.bool, device=g.device)
    inside[group] = True
    own, others = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    rest = g[:, others][:, :, others] + torch.diag_embed(precision[:, others])
    across = g[:, others][:, :, own]
    solved = torch.cholesky_solve(torch.cat([across, b[:, others, None]], -1), torch.linalg.cholesky(rest))
    left = g[:, own][:, :, own] - across.mT @ solved[..., :-1]
    values, vectors = torch.linalg.eigh(0.5 * (left + left.mT))
    values = values.clamp_min(0.0)
    seen = (vectors.mT @ (b[:, own, None] - across.mT @ solved[..., -1:]))[..., 0]
    alpha = values.amax(-1, keepdim=True).clamp_min(1e-300) * 10.0 ** _EXPONENTS.to(g.device)
    total = values[:, None] + alpha[..., None]
    evidence = 0.5 * (seen.square()[:, None] / total + torch.log(alpha[..., None] / total)).sum(-1)
    return torch.gather(alpha, 1, evidence.argmax(-1, keepdim=True))[:, 0]


__all__ = ["Posterior", "ridge"]
