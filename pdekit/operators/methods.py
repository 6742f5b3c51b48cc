"""How an operator is computed: small validated options, passed as `method=`."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pdekit.errors import OperatorError

Distribution = Literal["rademacher", "gaussian"]


@dataclass(frozen=True)
class Exact:
    """The cheapest exact route: hollow if the function offers it, else compressed or dense, whichever costs less."""


@dataclass(frozen=True)
class Hollow:
    """Derivatives through the transformer alone, at the cost of a few forwards in any dimension.

    The function needs `condition(*args, x)` -> h and `transform(x, h)` with h_i independent of x_i; see
    `pdekit.nets.HollowNet`. h stays in the graph, so that gradients of derivatives reach the conditioner.

    Args:
        check: Whether to verify once per function that it is hollow, by directional derivatives of the whole function.

    Source: R. T. Q. Chen and D. Duvenaud, Neural networks with cheap differential operators, NeurIPS 2019.
    """

    check: bool = True


@dataclass(frozen=True)
class Compressed:
    """Directions of a linear first layer's H outputs instead of the d inputs; refused where the function has none."""


@dataclass(frozen=True)
class Dense:
    """All d directions of the input.

    Args:
        chunk_size: How many directions go together; None for all, as far as memory is moderate.
    """

    chunk_size: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_size is not None:
            _check_count("chunk_size", self.chunk_size, 1)


@dataclass(frozen=True, eq=False)
class Hutchinson:
    """A stochastic estimate: the mean over random directions, with its standard error.

    tr A = E v^T A v for random v with E v v^T = I. With one sample there is no standard error.

    Args:
        samples: The number of directions n.
        distribution: `"rademacher"` (signs; the smallest variance for one matrix) or `"gaussian"`.
        seed: Seed of the directions. With a seed every call draws the same ones, as a whole ODE solve needs; without,
            each call draws anew, and the plan records the seed that was used.
        noise: The directions themselves, (samples, *batch, d); see `fixed`.
        bottleneck: Draw in the H dimensions of a linear first layer instead of the d of the state: for f = g(W x) the
            trace of W dg/dz. Divergence only; fewer dimensions, less variance.

    Source: M. F. Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989; W. Grathwohl et al.,
    FFJORD, ICLR 2019 (fixed noise, bottleneck).

    Example:
        >>> Hutchinson(samples=4, seed=0).fixed(torch.zeros(5, 3)).noise.shape
        torch.Size([4, 5, 3])
    """

    samples: int = 1
    distribution: Distribution = "rademacher"
    seed: int | None = None
    noise: Tensor | None = field(default=None, repr=False)
    bottleneck: bool = False

    def __post_init__(self) -> None:
        _check_count("samples", self.samples, 1)
        _check_seed(self.seed)
        if self.distribution not in get_args(Distribution):
            raise OperatorError(f"distribution must be one of {get_args(Distribution)}, got {self.distribution!r}.")
        if self.noise is None:
            return
        if not isinstance(self.noise, Tensor) or self.noise.ndim < 2 or len(self.noise) < 1:
            got = tuple(self.noise.shape) if isinstance(self.noise, Tensor) else type(self.noise).__name__
            raise OperatorError(f"noise must be a tensor (samples, *batch, d), got {got}. See method.fixed(x).")
        object.__setattr__(self, "samples", len(self.noise))

    def fixed(self, like: Tensor) -> "Hutchinson":
        """The same method with directions drawn once, for states `like` (*batch, d)."""
        return replace(self, noise=self.draw(like)[0])

    def draw(self, like: Any, width: int | None = None) -> tuple[Tensor, int | None]:
        """Directions (samples, *batch, width or d) for states `like`, and the seed they came from."""
        shape = (self.samples, *like.shape[:-1], like.shape[-1] if width is None else width)
        if self.noise is not None:
            if self.noise.shape != shape:
                raise OperatorError(
                    f"The fixed noise has shape {tuple(self.noise.shape)}, but this state needs {shape}: (samples, "
                    "*batch, d). Draw it again with method.fixed(x)."
                )
            return self.noise.to(dtype=like.dtype, device=like.device), None
        generator = torch.Generator(device=like.device)
        seed = generator.seed() if self.seed is None else self.seed
        generator.manual_seed(seed)
        normal = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        return (normal if self.distribution == "gaussian" else torch.where(normal < 0, -1.0, 1.0).to(like.dtype)), seed


@dataclass(frozen=True)
class Within:
    """The cheapest route that meets a relative tolerance: stochastic where its measured standard error allows it.

    A pilot of random directions estimates how many are needed; if that is no fewer than an exact route takes, the exact
    route is taken. The standard error promised is relative to the root mean square of the result over the batch.

    Args:
        rtol: Root-mean-square standard error over root-mean-square value, in (0, 1).
        pilot: Directions of the pilot run, at least 4.
        seed: Seed of the directions; without, each call draws anew.
    """

    rtol: float
    pilot: int = 16
    seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rtol, int | float) or not 0 < self.rtol < 1:
            raise OperatorError(f"rtol must be between 0 and 1, got {self.rtol!r}. For exact values use Exact().")
        _check_count("pilot", self.pilot, 4)
        _check_seed(self.seed)


def _check_count(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OperatorError(f"{name} must be a whole number of at least {least}, got {value!r}.")


def _check_seed(seed: Any) -> None:
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64):
        raise OperatorError(f"seed must be a whole number from 0 to 2^64 - 1 or None, got {seed!r}.")


Method = Exact | Hollow | Compressed | Dense | Hutchinson | Within


def check_method(method: Any, operator: str, allowed: tuple[type, ...]) -> None:
    """Refuse what is no method, or one that this operator does not offer.

    Raises:
        OperatorError: With the methods that it does offer.
    """
    if isinstance(method, type) and issubclass(method, allowed):
        raise OperatorError(f"{operator}: method is an object, got the class; write method={method.__name__}().")
    if isinstance(method, Tensor):
        raise OperatorError(
            f"{operator} takes a function and returns one: call {operator}(f)(x), not {operator}(f, x)."
        )
    if not isinstance(method, allowed):
        names = ", ".join(f"{kind.__name__}()" for kind in allowed)
        raise OperatorError(f"{operator} offers the methods {names}; got {method!r}.")
