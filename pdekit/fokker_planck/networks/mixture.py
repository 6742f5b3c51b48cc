"""Mixtures of normal laws that follow paths: what networks are measured from, and drawn against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import NumericalError
from pdekit.fokker_planck.gaussian import GaussianMixture
from pdekit.fokker_planck.networks.between import Between
from pdekit.fokker_planck.networks.pathwise import Cloud, Snapshot

_ROWS = 20_000  # evaluated at a time
_FITTED, _ALL = 20_000, 200_000  # states: to choose by, and in the end
_HELD = 5_000
_BETTER = 0.98
_SIZES = (2, 3, 4, 6, 8, 12, 16)
_ROUNDS = 200
_FLOOR = 1e-6  # of the variance: added to a component's


@dataclass(frozen=True, eq=False)
class Mixture:
    """q(x) = sum_j w_j N(x; m_j, C_j).

    Args:
        weights: w, (c,).
        means: m, (c, d).
        factors: Lower triangular L with C = L L^T, (c, d, d).
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def logs(self, x: Tensor) -> Tensor:
        """log w_j N(x; m_j, C_j), (n, c)."""
        levels = self.weights.log() - self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return levels - 0.5 * x.shape[-1] * np.log(2 * np.pi) - 0.5 * self._standard(x)[0].square().sum(-1)

    def _standard(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """L_j^-1 (x - m_j), (n, c, d), and L^-1, (c, d, d)."""
        inverse = torch.linalg.inv(self.factors)
        moved = (inverse @ self.means.unsqueeze(-1)).squeeze(-1)
        return (x @ inverse.flatten(0, 1).T).unflatten(-1, moved.shape) - moved, inverse

    def log_values(self, x: Tensor) -> Tensor:
        """log q, (n,)."""
        return self.logs(x).logsumexp(-1)

    def shares(self, x: Tensor) -> Tensor:
        """The share of each component in q, (n, c)."""
        return self.logs(x).softmax(-1)

    def score(self, x: Tensor) -> Tensor:
        """grad log q, (n, d)."""
        return torch.cat([self.differentiable_score(part) for part in x.split(_ROWS)])

    def differentiable_score(self, x: Tensor) -> Tensor:
        """The same in one piece, for transforms."""
        return self._pulled(x, self.shares(x))

    def spread(self, x: Tensor, tensor: Tensor) -> Tensor:
        """tr(D hess log q) for D (d, d), (n,)."""
        shares = self.shares(x)
        z, inverse = self._standard(x)
        slopes = -torch.einsum("nci,cij->ncj", z, inverse)
        local = torch.einsum("nci,ij,ncj->nc", slopes, tensor, slopes)
        curvature = torch.einsum("cki,ij,ckj->c", inverse, tensor, inverse)
        s = torch.einsum("nc,nci->ni", shares, slopes)
        return (shares * (local - curvature)).sum(-1) - torch.einsum("ni,ij,nj->n", s, tensor, s)

    def share_slope(self, x: Tensor, weights: Tensor) -> Tensor:
        """grad sum_j r_j a_j for shares r and weights a, (n, d)."""
        shares = self.shares(x)
        return self._pulled(x, shares * (weights - (shares @ weights)[:, None]))

    def standard(self, x: Tensor) -> Tensor:
        """L_j^-1 (x - m_j), (n, c, d)."""
        return self._standard(x)[0]

    def _pulled(self, x: Tensor, shares: Tensor) -> Tensor:
        """sum_j r_j grad log N(x; m_j, C_j)."""
        z, inverse = self._standard(x)
        return -(z * shares[..., None]).flatten(-2) @ inverse.flatten(0, 1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Samples (n, d)."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype, device=self.means.device)
        return self.means[which] + torch.einsum("nij,nj->ni", self.factors[which], z)

    def density(self) -> GaussianMixture:
        """The same with NumPy."""
        numbers = [a.double().cpu().numpy() for a in (self.weights, self.means, self.factors @ self.factors.mT)]
        return GaussianMixture(numbers[0] / numbers[0].sum(), numbers[1], numbers[2])


def fitted(x: Tensor, count: int, seed: int, start: Mixture | None = None, most: int = _FITTED) -> Mixture:
    """The likeliest mixture of `count` components, by expectation maximisation.

    Args:
        x: States (n, d).
        count: How many components.
        seed: Of the first guess.
        start: A first guess instead.
        most: The most states that are used.

    Raises:
        NumericalError: If the states lie in a plane.
    """
    from sklearn.mixture import GaussianMixture as Fit  # takes a second to import

    states = _some(x, most).double().cpu().numpy()
    mean, width = states.mean(0), states.std(0)
    if not (width > 0).all():
        raise NumericalError("Paths do not move in every state: the law has no density.")
    guess = {}
    if start is not None:
        scaled = (start.factors.double().cpu().numpy()) / width[:, None]
        precisions = np.linalg.inv(scaled @ np.swapaxes(scaled, 1, 2) + _FLOOR * np.eye(len(mean)))
        guess = {
            "weights_init": np.asarray(start.weights.double().cpu()),
            "means_init": (start.means.double().cpu().numpy() - mean) / width,
            "precisions_init": 0.5 * (precisions + np.swapaxes(precisions, 1, 2)),
        }
    fit = Fit(count, reg_covar=_FLOOR, max_iter=_ROUNDS, random_state=seed % 2**32, tol=1e-5, **guess)
    from warnings import catch_warnings, simplefilter

    with catch_warnings():  # a mixture that has not settled is as good a guess
        simplefilter("ignore")
        fit.fit((states - mean) / width)
    weights, means, covariances = (np.asarray(getattr(fit, f"{name}_")) for name in ("weights", "means", "covariances"))
    found = (weights / weights.sum(), means * width + mean, np.linalg.cholesky(covariances) * width[:, None])
    return Mixture(*(torch.as_tensor(a).to(x) for a in found))


def chosen(snapshot: Cloud, seed: int, most: int) -> Mixture:
    """The mixture of one or more components that is nearest to paths held back; a few more if they help."""
    best, least = None, np.inf
    held = min(_HELD, len(snapshot.x) // 5)
    for count in (1, *(size for size in _SIZES if size <= most)):
        mixture = fitted(snapshot.x[held:], count, seed)
        loss = _distance(mixture, snapshot, held)
        if loss < (_BETTER if best is not None else 1.0) * least:
            best, least = mixture, loss
        elif best is not None and count > 2 * len(best.weights):
            break
    if best is None:
        raise NumericalError("No normal law fits the paths.")
    return fitted(snapshot.x, len(best.weights), seed, best, _ALL)


def _distance(mixture: Mixture, snapshot: Cloud, count: int) -> float:
    """The mean square of what its score misses of the paths'; without these, one over the geometric mean of q."""
    x = snapshot.x[:count]
    if isinstance(snapshot, Snapshot):
        return float(((mixture.score(x) - snapshot.s[:count]) * x.std(0)).square().mean())
    width = x.std(0).log().sum()  # so that it is a moderate number
    return float((-mixture.log_values(x).mean() - width).exp())


@dataclass(frozen=True, eq=False)
class MovingMixture:
    """Mixtures of as many components at several times; between these weights, means and covariances are interpolated.

    Args:
        mixtures: One for each time.
    """

    mixtures: tuple[Mixture, ...]

    def to(self, device: str) -> "MovingMixture":
        """The same elsewhere."""
        return MovingMixture(tuple(Mixture(*(part.to(device) for part in vars(m).values())) for m in self.mixtures))

    def at(self, when: Between) -> Mixture:
        """The mixture at a time."""
        a, b = self.mixtures[when.before], self.mixtures[when.after]
        factors = when.mixed_factors(a.factors, b.factors)
        return Mixture(when.mixed(a.weights, b.weights), when.mixed(a.means, b.means), factors)


def followed(snapshots: Sequence[Cloud], seed: int, most: int) -> MovingMixture:
    """Mixtures at all snapshots: chosen at the last one, then followed backwards."""
    found = [chosen(snapshots[-1], seed, most)]
    for snapshot in reversed(snapshots[:-1]):
        found.append(fitted(snapshot.x, len(found[-1].weights), seed, found[-1], _ALL))
    return MovingMixture(tuple(reversed(found)))


def _some(x: Tensor, n: int) -> Tensor:
    return x[torch.linspace(0, len(x) - 1, min(n, len(x))).long()]


__all__ = ["Mixture", "MovingMixture", "chosen", "fitted", "followed"]
