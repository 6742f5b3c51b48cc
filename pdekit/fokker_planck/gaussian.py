"""Mixtures of normal laws as densities: everything about them is exact."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp, ndtri

from pdekit.errors import InputError, NumericalError
from pdekit.fokker_planck.density import Density, Moments, Quadrature

_PAIRS = 4_000_000  # of states and components at a time
_NODES = {1: 64, 2: 32, 3: 20}  # of a Gauss-Hermite rule along each axis, by dimension
_MOST = 400_000  # nodes in all; above, quasi-random points
_POINTS = 2**14
_FLAT = 1e-13  # least eigenvalue of a correlation matrix that is not called singular


@dataclass(frozen=True, eq=False)
class GaussianMixture(Density):
    """p(x) = sum_k w_k N(x; m_k, C_k).

    Args:
        weights: w, (k,), positive, with sum one.
        means: m, (k, d).
        covariances: C, (k, d, d), or (1, d, d) where all components share it.
        error: See `Density`.

    Raises:
        InputError: If shapes or weights make no sense.
        NumericalError: If a covariance is singular, so that there is no density.

    Example:
        >>> import numpy as np
        >>> p = GaussianMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
        >>> float(p.pdf([0.0, 0.0]).round(decimals=6))
        0.159155
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    error: float | None = None

    def __post_init__(self) -> None:
        count, dim = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape not in ((1, dim, dim), (count, dim, dim)):
            raise InputError(
                f"A mixture of {count} normal laws of {dim} states needs weights ({count},) and covariances "
                f"({count} or 1, {dim}, {dim}), got {self.weights.shape} and {self.covariances.shape}."
            )
        if not ((self.weights > 0).all() and abs(self.weights.sum() - 1) < 1e-9):
            raise InputError("The weights of a mixture must be positive, with sum one.")
        _ = self._factors

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.means.shape[1]

    @cached_property
    def _factors(self) -> np.ndarray:
        """Lower triangular L with C = L L^T, (k or 1, d, d)."""
        return np.stack([_factor(c) for c in self.covariances])

    @cached_property
    def _inverses(self) -> np.ndarray:
        return np.stack([solve_triangular(f, np.eye(self.dim), lower=True) for f in self._factors])

    @cached_property
    def _levels(self) -> np.ndarray:
        """log w_k + log N(m_k; m_k, C_k), (k,)."""
        log_det = np.log(np.einsum("kii->ki", self._factors)).sum(-1)
        return np.log(self.weights) - log_det - 0.5 * self.dim * np.log(2 * np.pi)

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        return np.concatenate([logsumexp(self._parts(part)[0], axis=1) for part in self._blocks(x)])

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`: the mean of the components' -C_k^-1 (x - m_k), weighted by what each gives to p."""
        found = []
        for part in self._blocks(x):
            logs, z = self._parts(part)
            share = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
            if len(self._inverses) == 1:
                found.append(-np.einsum("nk,nki->ni", share, z) @ self._inverses[0])
            else:
                found.append(-np.einsum("nk,nki,kij->nj", share, z, self._inverses, optimize=True))
        return np.concatenate(found)

    def _blocks(self, x: np.ndarray) -> list[np.ndarray]:
        pairs = len(x) * len(self.means) * self.dim
        return np.array_split(x, max(1, min(len(x), -(-pairs // _PAIRS))))

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log w_k N(x; m_k, C_k), (n, k), and L_k^-1 (x - m_k), (n, k, d)."""
        away = x[:, None] - self.means
        if len(self._inverses) == 1:
            z = away @ self._inverses[0].T
        else:
            z = np.einsum("kij,nkj->nki", self._inverses, away)
        return self._levels - 0.5 * np.einsum("nki,nki->nk", z, z), z

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """See `Density`."""
        which = rng.choice(len(self.weights), n, p=self.weights / self.weights.sum())
        return self._placed(which, rng.standard_normal((n, self.dim)))

    def _placed(self, which: np.ndarray, z: np.ndarray) -> np.ndarray:
        """m_k + L_k z for standard normal z (n, d)."""
        if len(self._factors) == 1:
            return self.means[which] + z @ self._factors[0].T
        return self.means[which] + np.einsum("nij,nj->ni", self._factors[which], z)

    def quadrature(self) -> Quadrature:
        """See `Density`.

        A Gauss-Hermite rule for each component in one to three dimensions, exact for polynomials up to degree 39;
        2^14 scrambled Sobol points, always the same ones, in more or with very many components.
        """
        count = len(self.means)
        if self.dim in _NODES and count * _NODES[self.dim] ** self.dim <= _MOST:
            z, share = _hermite(self.dim)
            which = np.repeat(np.arange(count), len(z))
            return Quadrature(self._placed(which, np.tile(z, (count, 1))), np.kron(self.weights, share))
        from scipy.stats import qmc  # takes a while to import

        u = np.clip(qmc.Sobol(self.dim + 1, rng=np.random.default_rng(0)).random(_POINTS), 1e-15, 1 - 1e-15)
        which = np.searchsorted(np.cumsum(self.weights)[:-1], u[:, 0])
        return Quadrature(self._placed(which, ndtri(u[:, 1:])), np.full(_POINTS, 1 / _POINTS))

    @property
    def mass(self) -> float:
        """One."""
        return 1.0

    def moments(self) -> Moments:
        """Exact."""
        mean = self.weights @ self.means
        away = self.means - mean
        within = np.broadcast_to(self.covariances, (len(self.means), self.dim, self.dim))
        return Moments(mean, np.einsum("k,kij->ij", self.weights, within) + (away * self.weights[:, None]).T @ away)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """L with C = L L^T; variances of very different sizes are no trouble, correlations of one are."""
    variance = np.diag(covariance)
    if not np.isfinite(covariance).all():
        raise NumericalError("A covariance is not finite: the process grows beyond every bound.")
    if (variance > 0).all():
        size = np.sqrt(variance)
        correlation = covariance / np.outer(size, size)
        if np.linalg.eigvalsh(correlation)[0] > _FLAT:
            return size[:, None] * np.linalg.cholesky(correlation)
    raise NumericalError(
        "A covariance is singular: the law lies in a plane of fewer dimensions and has no density. Noise has to reach "
        "every state; start from a law with a density, or leave out states that the noise never moves. Variances: "
        f"{np.array2string(variance, precision=4)}."
    )


def _hermite(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n, d) and weights (n,) for a standard normal law."""
    z, w = np.polynomial.hermite_e.hermegauss(_NODES[dim])
    nodes = np.stack(np.meshgrid(*[z] * dim, indexing="ij"), -1).reshape(-1, dim)
    weights = np.prod(np.stack(np.meshgrid(*[w / w.sum()] * dim, indexing="ij"), -1).reshape(-1, dim), axis=-1)
    return nodes, weights


__all__ = ["GaussianMixture"]
