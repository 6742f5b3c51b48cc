"""Sets and particles: each particle sees what all others have in common, in a time linear in their number."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from pdekit.errors import ModelError
from pdekit.nets.activation import check_activation, gain, initialise, saturate
from pdekit.nets.conditioners.base import Conditioner
from pdekit.nets.conditioners.checks import check_choice, check_count, counts
from pdekit.nets.conditioners.others import OtherEntries
from pdekit.nets.modulation import Modulation, ModulationKind
from pdekit.nets.pointwise import pointwise

PoolKind = Literal["mean", "max", "logsumexp"]


@dataclass(frozen=True)
class PoolingConditioner:
    """Exclusive pooling over particles, equivariant under their permutation.

    The state x in R^d is n = d / particle_dim particles x_p in R^particle_dim, one after the other:
    `x.view(*batch, n, particle_dim)`. With pointwise networks phi and rho,

        h_pc = rho(pool over q != p of phi(x_q), x_pc' for c' != c, z).

    Permuting the particles permutes h, up to rounding. The pool over q != p joins a scan over the particles before p
    with one over those after it, so x_p takes no part in it and the cost is linear in d.

    Every pool is standardised, so that its features have mean 0 and variance 1 for x ~ N(0, I) at any n. In particular
    the mean over m = n - 1 particles is multiplied by sqrt(m): it is the sum divided by sqrt(m), not by m. Divided by m
    it would vary by 1 / sqrt(m) only, and a net of many particles would start out blind to them. The price is that a
    shift common to all particles grows like sqrt(m); standardise the state first.

    Args:
        features: The number of features per dimension.
        hidden: The widths of the hidden layers of phi and of rho; the last is the number of pooled features.
        particle_dim: The number of coordinates of a particle; it divides d.
        pool: `"mean"`; `"max"`, piecewise smooth in the other particles; or `"logsumexp"`, a smooth maximum.
        activation: See `Activation`.
        modulation: How z enters, see `Modulation`.

    Raises:
        ModelError: If an option is not of this kind, or on `build` if particle_dim does not divide the dimension.

    Source: M. Zaheer et al., Deep sets, NeurIPS 2017; hollow by exclusive pooling as in R. T. Q. Chen and D. Duvenaud,
    Neural networks with cheap differential operators, NeurIPS 2019.

    Example:
        >>> import torch
        >>> conditioner = PoolingConditioner(particle_dim=2).build(dim=6)
        >>> conditioner(torch.zeros(5, 6)).shape
        torch.Size([5, 6, 8])
    """

    features: int = 8
    hidden: tuple[int, ...] = (32,)
    particle_dim: int = 1
    pool: PoolKind = "mean"
    activation: str = "tanh"
    modulation: ModulationKind = "film"

    def __post_init__(self) -> None:
        check_count("features", self.features)
        object.__setattr__(self, "hidden", counts("hidden", self.hidden))
        check_count("particle_dim", self.particle_dim)
        check_choice("pool", self.pool, get_args(PoolKind))
        check_activation(self.activation)
        check_choice("modulation", self.modulation, get_args(ModulationKind))

    def build(self, dim: int, conditioning_dim: int = 0) -> "PoolingConditionerModule":
        """The module for a state of `dim` entries."""
        check_count("dim", dim)
        if dim % self.particle_dim:
            raise ModelError(
                f"PoolingConditioner cuts the state into particles of particle_dim={self.particle_dim} coordinates, "
                f"which does not divide dim={dim}; try one that does, or particle_dim=1."
            )
        return PoolingConditionerModule(self, dim, conditioning_dim)


class PoolingConditionerModule(Conditioner):
    """The network that `PoolingConditioner` describes."""

    def __init__(self, options: PoolingConditioner, dim: int, conditioning_dim: int) -> None:
        super().__init__(dim, options.features, conditioning_dim)
        particle_dim, hidden, activation = options.particle_dim, options.hidden, options.activation
        self.shape = (dim // particle_dim, particle_dim)
        width = hidden[-1]
        self.bias = nn.Parameter(torch.rand(particle_dim, width) - 0.5)
        # A lone particle sees no others, and a lone coordinate has no siblings: then the part does not exist.
        parts = int(self.shape[0] > 1) + int(particle_dim > 1)
        self.pool = self.mix = self.siblings = None
        if self.shape[0] > 1:
            embedding = Embedding(particle_dim, hidden, activation)
            self.pool = ExclusivePool(options.pool, embedding, self.shape[0] - 1)
            self.mix = initialise(nn.Linear(width, width, bias=False))
        if particle_dim > 1:
            self.siblings = OtherEntries(particle_dim, width)
        self.scale = max(1, parts) ** -0.5
        self.modulation = Modulation(width, conditioning_dim, options.modulation)
        self.readout = pointwise((width, *hidden), activation)
        self.out = initialise(nn.Linear(width, options.features), gain(activation))

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Features (*batch, d, features) of x (*batch, d) and z (*batch, conditioning_dim)."""
        particles = x.unflatten(-1, self.shape)
        a = self.bias.expand(*particles.shape, -1)
        if self.pool is not None and self.mix is not None:
            a = a + self.scale * self.mix(self.pool(particles)).unsqueeze(-2)
        if self.siblings is not None:
            a = a + self.scale * self.siblings(particles)
        return self.out(self.readout(self.modulation(a.flatten(-3, -2), z)))


class Embedding(nn.Module):
    """phi(y) = (A y + B network(C y) - mean) / std, standardised for y ~ N(0, I).

    Sums over many particles keep their scale only if the mean of what is summed is zero; the linear part keeps the
    tails that a maximum over many particles lives on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.linear = initialise(nn.Linear(dim, hidden[-1], bias=False))
        self.first = initialise(nn.Linear(dim, hidden[0]))
        self.network = pointwise(hidden, activation)
        self.last = initialise(nn.Linear(hidden[-1], hidden[-1], bias=False), gain(activation))
        self.register_buffer("mean", torch.zeros(hidden[-1]))
        self.register_buffer("std", torch.ones(hidden[-1]))
        with torch.no_grad():
            features = self(normal_points(dim))
        self.mean, self.std = features.mean(0), features.std(0)

    def forward(self, y: Tensor) -> Tensor:
        """Element features (..., width) of particles y (..., dim)."""
        return saturate((self.linear(y) + self.last(self.network(self.first(y))) - self.mean) / self.std)


class ExclusivePool(nn.Module):
    """The pool over q != p of phi(x_q), (..., n, particle_dim) -> (..., n, width), standardised for x ~ N(0, I).

    Args:
        kind: Which pool.
        embedding: phi, standardised.
        others: m = n - 1, the number of particles in each pool.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, kind: PoolKind, embedding: Embedding, others: int) -> None:
        super().__init__()
        self.kind, self.embedding = kind, embedding
        with torch.no_grad():
            location, scale = _moments(kind, embedding, others)
        self.register_buffer("location", location)
        self.register_buffer("scale", scale)

    def forward(self, particles: Tensor) -> Tensor:
        """The standardised pool that each particle sees."""
        scan, join = _POOLS[self.kind]
        return (exclusive(self.embedding(particles), scan, join) - self.location) / self.scale


def exclusive(elements: Tensor, scan: Callable[[Tensor], Tensor], join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """For each of n >= 2 elements the pool of all others: what stands before it joined with what stands after it.

    An element is never added and taken away again: rounding would leave a trace of it.

    Args:
        elements: (..., n, width).
        scan: The pools of the first 1, 2, ..., n elements along the axis -2.
        join: The pool of two pools.

    Returns:
        (..., n, width).
    """
    before, after = scan(elements), scan(elements.flip(-2)).flip(-2)
    inner = join(before[..., :-2, :], after[..., 2:, :])
    return torch.cat([after[..., 1:2, :], inner, before[..., -2:-1, :]], dim=-2)


def _running_maximum(elements: Tensor) -> Tensor:
    # Selecting by index differentiates, to any order and under vmap, as a selection; cummax itself has no batched rule.
    return torch.gather(elements, -2, torch.cummax(elements.detach(), -2).indices)


_POOLS = {
    "mean": (lambda elements: torch.cumsum(elements, -2), torch.add),
    "max": (_running_maximum, torch.maximum),
    "logsumexp": (lambda elements: torch.logcumsumexp(elements, -2), torch.logaddexp),
}


def _moments(kind: PoolKind, embedding: Embedding, m: int) -> tuple[Tensor, Tensor]:
    """Location and scale of the pool of m elements phi(x), x ~ N(0, I)."""
    dim = embedding.first.in_features
    if kind == "mean":
        return torch.zeros_like(embedding.std), torch.full_like(embedding.std, m**0.5)
    if kind == "max":
        # By simulation; the maximum of more than 4096 elements hardly changes. A feature that all but attains an upper
        # bound hardly varies: it is not blown up beyond ten times.
        generator = torch.Generator().manual_seed(0)
        maxima = embedding(torch.randn(32, min(m, 4096), dim, generator=generator)).amax(-2)
        return maxima.mean(0), maxima.std(0).clamp(min=0.1)
    # log sum e = log m + log mean e, where the mean of the m variables e = exp(phi) varies by std(e) / sqrt(m).
    e = embedding(normal_points(dim)).exp()
    return (m * e.mean(0)).log(), e.std(0) / e.mean(0) / m**0.5


def normal_points(dim: int) -> Tensor:
    """Points (16384, dim) that fill N(0, I) evenly, the same in every run."""
    uniform = SobolEngine(dim, scramble=True, seed=0).draw(2**14, dtype=torch.float64)
    return torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9)).to(torch.get_default_dtype())


__all__ = ["PoolingConditioner", "PoolingConditionerModule"]
