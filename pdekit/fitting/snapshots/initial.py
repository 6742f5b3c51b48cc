"""The law at the first snapshot: a mixture of normal laws whose parameters are estimated along with the model's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import DataError
from pdekit.fokker_planck.coordinate import BaseVariable

_MOST = {1: 6, 2: 5}
_FLOOR = 1e-6  # of the variance: added to a component's
_SAMPLES = 20_000
_LEAST_SHARE = 10.0  # samples of the smallest component that is not a handful of outliers


@dataclass(frozen=True, eq=False)
class InitialLaw:
    """A family of laws: mixtures of so many normal laws of u, the state with its domain opened to the whole line.

    u_i is x_i, the logarithm of its distance to a single end of its domain, or a logit between two, standardised.

    Args:
        domain: (lower, upper) of each state.
        center: Of u, (d,).
        scale: Of u, (d,).
        components: How many normal laws.

    The parameters alpha (k,) are the logits of all weights but the first, the means, and the lower triangles of the
    factors L of the covariances L L^T, their diagonals as logarithms.
    """

    domain: tuple[tuple[float, float], ...]
    center: Tensor
    scale: Tensor
    components: int

    @property
    def dim(self) -> int:
        """d."""
        return len(self.domain)

    @property
    def size(self) -> int:
        """k."""
        return self.components * (1 + self.dim + self.dim * (self.dim + 1) // 2) - 1

    def unpack(self, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log weights (c,), means (c, d) and factors (c, d, d) of the standardised u."""
        c, d = self.components, self.dim
        logits, means, entries = alpha.split([c - 1, c * d, c * d * (d + 1) // 2])
        log_weights = torch.cat([logits.new_zeros(1), logits]).log_softmax(0)
        rows, columns = torch.tril_indices(d, d)
        entries = entries.reshape(c, -1)
        entries = torch.where(rows == columns, entries.exp(), entries)
        factors = entries.new_zeros(c, d, d).index_put((torch.arange(c)[:, None], rows, columns), entries)
        return log_weights, means.reshape(c, d), factors

    def log_density(self, x: Tensor, alpha: Tensor) -> Tensor:
        """log p(x), (n,)."""
        log_weights, means, factors = self.unpack(alpha)
        u, log_slope = self.to_u(x)
        away = (u[:, None, :] - means).unsqueeze(-1)
        z = torch.linalg.solve_triangular(factors, away, upper=False).squeeze(-1)
        levels = log_weights - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * self.dim * np.log(2 * np.pi)
        return (levels - 0.5 * z.square().sum(-1)).logsumexp(-1) + log_slope

    def to_u(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The standardised u (n, d), and log |du/dx|, (n,)."""
        columns, slopes = [], []
        for i, ends in enumerate(self.domain):
            base = BaseVariable(*ends)
            u = base.to_base(x[:, i])
            columns.append((u - self.center[i]) / self.scale[i])
            slopes.append(-torch.log(base.slope(u) * self.scale[i]))
        return torch.stack(columns, -1), torch.stack(slopes, -1).sum(-1)

    def sample(self, n: int, alpha: Tensor, generator: torch.Generator) -> Tensor:
        """Draws, (n, d)."""
        log_weights, means, factors = self.unpack(alpha)
        which = torch.multinomial(log_weights.exp(), n, replacement=True, generator=generator)
        z = torch.randn(n, self.dim, generator=generator, dtype=alpha.dtype)
        return self.from_u(means[which] + torch.einsum("nij,nj->ni", factors[which], z))

    def from_u(self, u: Tensor) -> Tensor:
        """The states of standardised u, (n, d)."""
        u = u * self.scale + self.center
        columns = [BaseVariable(*ends).from_base(u[:, i]) for i, ends in enumerate(self.domain)]
        return torch.stack(columns, -1)

    def narrowest(self, alpha: Tensor) -> Tensor:
        """The least standard deviation of x_i in a component, near its middle, (d,)."""
        _, means, factors = self.unpack(alpha)
        spread = factors.square().sum(-1).sqrt() * self.scale
        middle = means * self.scale + self.center
        slopes = [BaseVariable(*ends).slope(middle[:, i]) for i, ends in enumerate(self.domain)]
        return (spread * torch.stack(slopes, -1)).amin(0)


def fitted_law(
    x: Tensor, domain: tuple[tuple[float, float], ...], seed: int, components: int | None = None
) -> tuple[InitialLaw, Tensor]:
    """The family, and its parameters alpha, that suit samples (n, d).

    It has as many components as BIC asks for, unless their number is given.

    Raises:
        DataError: If the samples lie in a plane.
    """
    plain = InitialLaw(domain, x.new_zeros(x.shape[1]), x.new_ones(x.shape[1]), 1)
    u, _ = plain.to_u(x)
    center, scale = u.mean(0), u.std(0)
    if not bool((scale > 0).all()):
        raise DataError(
            "The first snapshot does not vary in every state, so that its law has no density. If all paths start from "
            "one point, leave time zero out and begin with the next snapshot."
        )
    standard = ((u - center) / scale).numpy()
    if len(standard) > x.shape[1] and np.linalg.matrix_rank(standard, tol=1e-6 * len(standard) ** 0.5) < x.shape[1]:
        raise DataError("The states of the first snapshot lie in a plane: one column is a combination of others.")
    best = _by_bic(standard, seed, components)
    order = np.argsort(-best.weights_)
    law = InitialLaw(domain, center, scale, len(order))
    factors = torch.from_numpy(np.linalg.cholesky(best.covariances_[order]))
    rows, columns = torch.tril_indices(law.dim, law.dim)
    entries = factors[:, rows, columns]
    entries = torch.where(rows == columns, entries.log(), entries)
    logits = torch.from_numpy(np.log(best.weights_[order] / best.weights_[order[0]]))[1:]
    return law, torch.cat([logits, torch.from_numpy(best.means_[order]).reshape(-1), entries.reshape(-1)])


def _by_bic(u: np.ndarray, seed: int, components: int | None) -> Any:
    from warnings import catch_warnings, simplefilter

    from sklearn.mixture import GaussianMixture  # takes a second to import

    some = u[np.linspace(0, len(u) - 1, min(len(u), _SAMPLES)).astype(int)]
    best, least = None, np.inf
    for count in range(1, _MOST.get(u.shape[1], 4) + 1) if components is None else (components,):
        if components is None and count > 1 and len(some) < 25 * count * u.shape[1]:
            break
        mixture = GaussianMixture(count, reg_covar=_FLOOR, n_init=2, max_iter=300, random_state=seed % 2**32, tol=1e-4)
        with catch_warnings():  # a mixture that has not settled is as good a start
            simplefilter("ignore")
            mixture.fit(some)
        if components is None and np.asarray(mixture.weights_).min() * len(some) < _LEAST_SHARE:
            continue
        bic = mixture.bic(some)
        if bic < least:
            best, least = mixture, bic
        elif count > 2:
            break
    return best


__all__ = ["InitialLaw", "fitted_law"]
