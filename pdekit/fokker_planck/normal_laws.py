"""Which laws are mixtures of normal laws."""

import numpy as np
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from pdekit.fokker_planck.law import Distributed, Law

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def normal_mixture(law: Law) -> Parts | None:
    """Weights (k,), means (k, d) and covariances (k, d, d) of a law that is a mixture of normal laws, or None."""
    distribution = law.distribution if isinstance(law, Distributed) else None
    if isinstance(distribution, MixtureSameFamily):
        weights = _array(distribution.mixture_distribution.probs)
        parts = _normals(distribution.component_distribution, law.dim)
        if parts is not None and weights.shape == (len(parts[0]),):
            kept = weights > 0
            return weights[kept] / weights[kept].sum(), parts[0][kept], parts[1][kept]
    parts = _normals(distribution, law.dim)
    return (np.ones(1), *parts) if parts is not None and len(parts[0]) == 1 else None


def _normals(distribution: Distribution | None, dim: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Means (k, d) and covariances (k, d, d) of a batch of normal laws."""
    if isinstance(distribution, MultivariateNormal | LowRankMultivariateNormal):
        return _array(distribution.mean).reshape(-1, dim), _array(distribution.covariance_matrix).reshape(-1, dim, dim)
    base = distribution
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, Normal):
        variance = _array(base.variance).reshape(-1, dim)
        return _array(base.mean).reshape(-1, dim), variance[:, None] * np.eye(dim)
    return None


def _array(z: Tensor) -> np.ndarray:
    return z.detach().double().cpu().numpy()


__all__ = ["Parts", "normal_mixture"]
