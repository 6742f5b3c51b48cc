"""A density p ~ q exp(u) with a learned u, whose mass is one by bridge sampling."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdekit.fokker_planck.density import Density, Quadrature
from pdekit.fokker_planck.networks.backward import Deviation
from pdekit.fokker_planck.networks.learned import LearnedScore
from pdekit.fokker_planck.networks.mixture import Mixture
from pdekit.fokker_planck.networks.normaliser import Mass, bridge, importance

_MASS = 800_000  # draws
_ROWS = 50_000


@dataclass(frozen=True, eq=False)
class PotentialDensity(Density):
    """log p = log q + u + sum_j r_j a_j with a mixture q, the shares r_j of its components, and numbers a_j.

    Args:
        model: Its score network gives u.
        time: When.
        weights: a, (c,).
        paths: States of simulated paths: what samples and integrals are taken from, (n, d).
        unit: The mass, by an estimate that had no part in making it one.
        deviation: How far log p is from the truth, as measured; None if it was not.
    """

    model: LearnedScore
    time: float
    weights: Tensor
    paths: np.ndarray
    unit: Mass
    deviation: Deviation | None = None

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.paths.shape[1]

    @property
    def error(self) -> float | None:  # type: ignore[override]
        """The relative L2 error as measured; None where it could not be; see `Density`."""
        return None if self.deviation is None or not self.deviation.trusted else self.deviation.relative_l2

    @property
    def mass(self) -> float:
        """As estimated: see `unit`."""
        return self.unit.value

    def log_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        return self.log_at(torch.as_tensor(x).to(self.weights)).cpu().numpy()

    def log_at(self, x: Tensor) -> Tensor:
        """log p at a tensor of states, (n,)."""
        return torch.cat([self._part(part) for part in x.split(_ROWS)])

    def _part(self, x: Tensor) -> Tensor:
        logs = self.mixture.logs(x)
        return logs.logsumexp(-1) + self.model.energy(self.time, x) + logs.softmax(-1) @ self.weights

    @property
    def mixture(self) -> Mixture:
        """q."""
        return self.model.at(self.time)

    def score_values(self, x: np.ndarray) -> np.ndarray:
        """See `Density`."""
        found = [self.score_at(part.to(self.weights)).cpu() for part in torch.as_tensor(x).split(_ROWS)]
        return torch.cat(found).numpy()

    def score_at(self, x: Tensor) -> Tensor:
        """grad log p at a tensor of states."""
        return self.model.score(self.time, x) + self.mixture.share_slope(x, self.weights)

    def log_density(self, near: float) -> Callable[[Any, Tensor], Tensor]:
        """log q + u + sum_j r_j a_j as a function of times near a time and of states, not normalised at other times."""
        base = self.model.log_density(near)

        def function(t: Any, x: Tensor) -> Tensor:
            return base(t, x) + self.model.mixture.at(self.model.times.at(t, near)).shares(x) @ self.weights

        return function

    def doubled(self) -> "PotentialDensity":
        """The same with a network in float64."""
        model = LearnedScore(
            deepcopy(self.model.net).double(), self.model.times, self.model.mixture, self.model.coordinates
        )
        model.share = self.model.share
        return replace(self, model=model)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """States of simulated paths, each once as long as there are enough."""
        return self.paths[
            rng.permutation(len(self.paths))[:n] if n <= len(self.paths) else rng.integers(len(self.paths), size=n)
        ]

    def quadrature(self) -> Quadrature:
        """The simulated paths, with equal weights."""
        return Quadrature(self.paths, np.full(len(self.paths), 1 / len(self.paths)))


def normalised(model: LearnedScore, time: float, paths: Tensor, generator: torch.Generator) -> PotentialDensity:
    """The density of a scalar network.

    Paths and as many draws from q decide what the components weigh, other draws what all of them weigh together, and
    yet others tell what mass that gave.
    """
    mixture = model.at(time)
    draws = mixture.draw(len(paths), generator)
    found = [(model.energy(time, x), mixture.shares(x)) for x in (paths, draws)]
    (at_paths, path_shares), (at_draws, draw_shares) = found
    weights = bridge(at_paths, at_draws, path_shares, draw_shares)
    first, second = (importance(_ratio(model, time, mixture, weights, generator)) for _ in range(2))
    weights, share = weights - np.log(first.value), 1 / first.value
    unit = Mass(second.value * share, share * (first.stderr**2 + second.stderr**2) ** 0.5)
    return PotentialDensity(model, time, weights, paths.cpu().numpy(), unit)


def _ratio(model: LearnedScore, time: float, mixture: Mixture, weights: Tensor, generator: torch.Generator) -> Tensor:
    """log p - log q at draws from q."""
    found = []
    for _ in range(_MASS // _ROWS):
        x = mixture.draw(_ROWS, generator)
        found.append(model.energy(time, x) + mixture.shares(x) @ weights)
    return torch.cat(found)


__all__ = ["PotentialDensity", "normalised"]
