"""The law at the start: a distribution, samples, a density in symbols, or a point."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pdekit.errors import InputError

_MANY = 20_000


class Law(ABC):
    """A law on R^d."""

    dim: int

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """States (n, d), float64."""

    def log_density(self, x: np.ndarray) -> np.ndarray | None:
        """log p at states (n, d); None where the law has no density."""
        return None

    @property
    def has_density(self) -> bool:
        """Whether `log_density` knows one."""
        return False

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d), of samples where nothing better is known."""
        x = self.sample(_MANY, torch.Generator().manual_seed(0)).numpy()
        return x.mean(0), np.cov(x.T).reshape(self.dim, self.dim)


@dataclass(frozen=True, eq=False)
class Point(Law):
    """All mass in one point.

    Args:
        x: The point, (d,).
    """

    x: np.ndarray

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return len(self.x)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """See `Law`."""
        return torch.as_tensor(self.x).expand(n, -1).clone()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Law`."""
        return self.x, np.zeros((self.dim, self.dim))


@dataclass(frozen=True, eq=False)
class Samples(Law):
    """Equal masses in points.

    Args:
        x: The points, (n, d).
    """

    x: np.ndarray

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return self.x.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Drawn with replacement."""
        return torch.as_tensor(self.x)[torch.randint(len(self.x), (n,), generator=generator)]

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Law`."""
        return self.x.mean(0), np.cov(self.x.T, bias=True).reshape(self.dim, self.dim)


@dataclass(frozen=True, eq=False)
class Distributed(Law):
    """A torch distribution.

    Args:
        distribution: Over vectors (d,), or over numbers for one state.
    """

    distribution: Distribution

    @property
    def dim(self) -> int:  # type: ignore[override]
        """d."""
        return int(np.prod(self.distribution.batch_shape + self.distribution.event_shape, dtype=int))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """See `Law`."""
        with torch.random.fork_rng(devices=[]):  # distributions take no generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return self.distribution.sample((n,)).reshape(n, self.dim).double()

    @property
    def has_density(self) -> bool:
        """See `Law`."""
        return True

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """See `Law`."""
        state = torch.as_tensor(x)
        vector = bool(self.distribution.event_shape)
        with torch.no_grad():
            value = _unvalidated(self.distribution, state if vector else state[..., 0])
        return value.double().reshape(len(x)).numpy()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact for a normal law."""
        if isinstance(self.distribution, torch.distributions.MultivariateNormal):
            return _array(self.distribution.mean), _array(self.distribution.covariance_matrix)
        if isinstance(self.distribution, torch.distributions.Normal):
            return _array(self.distribution.mean).reshape(1), _array(self.distribution.variance).reshape(1, 1)
        return super().moments()


def _array(z: Tensor) -> np.ndarray:
    return z.detach().double().cpu().numpy()


def _unvalidated(distribution: Distribution, x: Tensor) -> Tensor:
    """log p, minus infinity outside the support."""
    try:
        return distribution.log_prob(x)
    except ValueError:
        inside = distribution.support.check(x)  # type: ignore[union-attr] - distributions that validate have one
        some = x[inside][:1] if inside.any() else None
        if some is None:
            return x.new_full(inside.shape, -torch.inf)
        shaped = inside.reshape(*inside.shape, *([1] * (x.ndim - inside.ndim)))
        value = distribution.log_prob(torch.where(shaped, x, some))
        return torch.where(inside, value, -torch.inf)


@dataclass(frozen=True, eq=False)
class Formula(Law):
    """A density in closed form, with samples by a grid in one to three dimensions.

    Args:
        log_p: log p at states (n, d), normalised or not.
        box: (lower, upper), (2, d), where nearly all of its mass lies.
        dim: d.
    """

    log_p: Any
    box: np.ndarray
    dim: int

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """By rejection within the box."""
        found, low, high = [], torch.as_tensor(self.box[0]), torch.as_tensor(self.box[1])
        draw = lambda k: low + (high - low) * torch.rand(k, self.dim, generator=generator, dtype=torch.float64)  # noqa: E731
        most, count = float(self.log_density(draw(_MANY).numpy()).max()) + 0.1, 0
        while count < n:
            x = draw(max(n, _MANY))
            level = torch.log(torch.rand(len(x), generator=generator, dtype=torch.float64))
            kept = x[level < torch.as_tensor(self.log_density(x.numpy())) - most]
            found.append(kept)
            count += len(kept)
        return torch.cat(found)[:n]

    @property
    def has_density(self) -> bool:
        """See `Law`."""
        return True

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """See `Law`."""
        return self.log_p(x)


def read_law(initial: Any, dim: int) -> Law:
    """The law that a user gives.

    Args:
        initial: A torch distribution; a point, (d,) or a number for one state; or samples (n, d).
        dim: d.

    Raises:
        InputError: If it is none of these, or has another dimension.
    """
    if isinstance(initial, Law):
        found: Law = initial
    elif isinstance(initial, Distribution):
        if dim > 1 and initial.batch_shape:
            raise InputError(
                f"initial must be one law of {dim} states, got a batch {tuple(initial.batch_shape)} of laws: wrap it "
                "in torch.distributions.Independent(..., 1)."
            )
        if _discrete(initial):
            raise InputError(
                f"initial must have a density, {type(initial).__name__} has atoms: give samples of it, "
                "initial=law.sample((100_000, d)).double() for d states."
            )
        found = Distributed(initial)
    else:
        found = _points(initial, dim)
    if found.dim != dim:
        raise InputError(f"The initial law must have {dim} states, got {found.dim}.")
    return found


def _discrete(distribution: Distribution) -> bool:
    try:
        return bool(distribution.support.is_discrete)  # type: ignore[union-attr] - or it has none
    except (AttributeError, NotImplementedError):
        return False


def _points(initial: Any, dim: int) -> Law:
    expected = f"a torch distribution, a point ({dim},), or samples (n, {dim})"
    if not isinstance(initial, Tensor | np.ndarray | Sequence | int | float) or isinstance(initial, str):
        raise InputError(f"initial must be {expected}, got {type(initial).__name__}.")
    try:
        x = np.asarray(initial.detach().cpu() if isinstance(initial, Tensor) else initial, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise InputError(f"initial must be {expected}, got {initial!r}.") from cause
    if x.ndim == 0 and dim == 1:
        x = x.reshape(1)
    if x.ndim == 1 and dim == 1 and len(x) > 1:
        x = x.reshape(-1, 1)
    if x.ndim not in (1, 2) or x.shape[-1] != dim or x.size == 0:
        raise InputError(f"initial must be {expected}, got shape {x.shape}.")
    if not np.isfinite(x).all():
        raise InputError("initial is not finite.")
    return Point(x) if x.ndim == 1 else Point(x[0]) if len(x) == 1 else Samples(x)


__all__ = ["Distributed", "Formula", "Law", "Point", "Samples", "read_law"]
