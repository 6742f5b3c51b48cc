"""A learned score: that of a moving mixture, corrected by a network in standardised coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdekit.fokker_planck.networks.between import Between, Times
from pdekit.fokker_planck.networks.mixture import Mixture, MovingMixture
from pdekit.nets import Field
from pdekit.operators import Dense, divergence, laplacian

_ROWS = 20_000  # evaluated at a time


@dataclass(frozen=True, eq=False)
class Coordinates:
    """z = L(t)^-1 (x - m(t)), with m and L L^T interpolated between times.

    Args:
        centers: m, (k, d).
        factors: L, (k, d, d), lower triangular.
    """

    centers: Tensor
    factors: Tensor

    def to(self, device: str) -> "Coordinates":
        """The same elsewhere."""
        return Coordinates(self.centers.to(device), self.factors.to(device))

    def at(self, when: Between) -> tuple[Tensor, Tensor]:
        """m, (d,), and L, (d, d)."""
        centers, factors = self.centers, self.factors
        return (
            when.mixed(centers[when.before], centers[when.after]),
            when.mixed_factors(factors[when.before], factors[when.after]),
        )

    def to_z(self, when: Between, x: Tensor) -> Tensor:
        """z, (n, d)."""
        m, factor = self.at(when)
        return (x - m) @ torch.linalg.inv(factor).T


class LearnedScore(nn.Module):
    """s(t, x) = grad log q(t, x) + k L^-T c(t, z), with c the gradient of a scalar network, or a network itself.

    With a scalar network there is a density p ~ q exp(k u(t, z)), c = grad u. As u grows linearly at most, it has a
    mass.

    Args:
        net: u or c.
        times: Those at which q and z are known.
        mixture: q.
        coordinates: z.

    Attributes:
        share: k.
    """

    def __init__(self, net: Field, times: Times, mixture: MovingMixture, coordinates: Coordinates) -> None:
        super().__init__()
        self.net, self.times, self.mixture, self.coordinates = net, times, mixture, coordinates
        self.scalar = getattr(net, "out_dim", None) == 0
        self.share = 1.0

    def correction(self, scaled: Any, z: Tensor, graph: bool = False) -> Tensor:
        """c at scaled times, (n, d)."""
        if not self.scalar:
            return self._net(scaled, z)
        with torch.enable_grad():
            state = z if z.requires_grad else z.detach().requires_grad_()
            return torch.autograd.grad(self._net(scaled, state).sum(), state, create_graph=graph)[0]

    def spread(self, scaled: Any, z: Tensor) -> Tensor:
        """div c by z, (n,), with a graph."""
        operator = laplacian(self.net, Dense()) if self.scalar else divergence(self.net)
        found: Any = operator(scaled, z) if self.net.time else operator(z)
        return found

    def score(self, t: float, x: Tensor) -> Tensor:
        """s, (n, d), without a graph."""
        when = self.times.at(t)
        with torch.no_grad():
            z = self.coordinates.to_z(when, x).to(self._dtype)
            c = torch.cat([self.correction(when.scaled, part).detach() for part in z.split(_ROWS)])
            inverse = torch.linalg.inv(self.coordinates.at(when)[1])
            return self.mixture.at(when).score(x) + self.share * c.to(x) @ inverse

    def field(self, t: float, x: Tensor) -> Tensor:
        """s, (n, d), with a graph, of a network that is a field."""
        when = self.times.at(t)
        c = self._net(when.scaled, self.coordinates.to_z(when, x).to(self._dtype))
        inverse = torch.linalg.inv(self.coordinates.at(when)[1])
        return self.mixture.at(when).differentiable_score(x) + self.share * c.to(x.dtype) @ inverse

    def energy(self, t: float, x: Tensor) -> Tensor:
        """k u, (n,), of a scalar network, without a graph."""
        when = self.times.at(t)
        with torch.no_grad():
            z = self.coordinates.to_z(when, x).to(self._dtype)
            return self.share * torch.cat([self._net(when.scaled, part) for part in z.split(_ROWS)]).to(x)

    def at(self, t: float) -> Mixture:
        """q at a time."""
        return self.mixture.at(self.times.at(t))

    def log_density(self, near: float) -> Callable[[Any, Tensor], Tensor]:
        """log q + k u as a function of times near a time and of states, that can be differentiated by both."""

        def function(t: Any, x: Tensor) -> Tensor:
            when = self.times.at(t, near)
            z = self.coordinates.to_z(when, x).to(self._dtype)
            return self.mixture.at(when).log_values(x) + self.share * self._net(when.scaled, z).to(x.dtype)

        return function

    def _net(self, scaled: Any, z: Tensor) -> Tensor:
        return self.net(scaled, z) if self.net.time else self.net(z)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype


__all__ = ["Coordinates", "LearnedScore"]
