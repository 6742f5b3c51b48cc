"""The options of a Kramers-Moyal fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pdekit.errors import InputError

Estimator = Literal["kernel", "bins"]
Noise = Literal["diagonal", "full"]
MOST_DEGREE = 3
_MOST_POINTS = 10_000


@dataclass(frozen=True)
class KramersMoyal:
    """Drift and diffusion tensor as functions of the state, from conditional moments of the increments.

    f(x) = lim E[dX | X = x] / dt and D(x) = lim Cov[dX | X = x] / (2 dt), by local polynomial regression or in bins,
    brought from the step of the data to the limit dt -> 0. No formula is assumed; for up to six states.

    Args:
        estimator: `"kernel"` (local polynomials) or `"bins"` (means over equal boxes, up to three states).
        bandwidth: Standard deviation of the kernel in units of the state, one number or one per state; `math.inf` for
            one polynomial everywhere. By default cross-validated, and estimates nearly as good are averaged.
        degree: Of the local polynomial: 0 (Nadaraya-Watson), 1, 2 or 3. By default cross-validated.
        lags: Numbers of steps. Estimates use increments over the first, which overlap if it is more than one; with
            the others it is checked that they don't change with the step.
        extrapolate: Whether estimates are brought to dt -> 0: `"auto"` where it matters and can be done, True (an
            error where it can't), or False, which leaves the moments of finite steps.
        noise: `"diagonal"` or `"full"`: whether the noises of different states may be correlated.
        points: Of the grid, per axis with one or two states, in all with more (kernel); bins per axis (bins).

    Raises:
        InputError: If an option is out of range.

    Source: Friedrich and Peinke (1997), Phys. Rev. Lett. 78; Fan and Gijbels, Local Polynomial Modelling (1996);
    Lamouroux and Lehnertz (2009), Phys. Lett. A 373.

    Example:
        >>> KramersMoyal(bandwidth=0.2, degree=1).noise
        'diagonal'
    """

    estimator: Estimator = "kernel"
    bandwidth: float | Sequence[float] | None = None
    degree: int | None = None
    lags: int | Sequence[int] = (1, 2, 3)
    extrapolate: Literal["auto"] | bool = "auto"
    noise: Noise = "diagonal"
    points: int | None = None

    def __post_init__(self) -> None:
        _require_one_of("estimator", self.estimator, get_args(Estimator))
        _require_one_of("noise", self.noise, get_args(Noise))
        _require_one_of("extrapolate", self.extrapolate, ("auto", True, False))
        if self.bandwidth is not None:
            widths = (self.bandwidth,) if isinstance(self.bandwidth, int | float) else tuple(self.bandwidth)
            if not widths or not all(isinstance(w, int | float) and w > 0.0 for w in widths):
                raise InputError(f"bandwidth must be positive, one number or one per state, got {self.bandwidth!r}.")
            if any(map(math.isinf, widths)) and not all(map(math.isinf, widths)):
                raise InputError("bandwidth must be finite for all states or infinite for all.")
            object.__setattr__(self, "bandwidth", tuple(float(w) for w in widths))
        if self.degree is not None and not (_is_integer(self.degree) and 0 <= self.degree <= MOST_DEGREE):
            raise InputError(f"degree must be 0, 1, 2 or {MOST_DEGREE}, got {self.degree!r}.")
        lags = tuple(self.lags) if isinstance(self.lags, Sequence) else (self.lags,)
        if not lags or not all(_is_integer(lag) and lag >= 1 for lag in lags) or list(lags) != sorted(set(lags)):
            raise InputError(f"lags must be increasing whole numbers from 1 on, such as (1, 2, 3), got {self.lags!r}.")
        object.__setattr__(self, "lags", lags)
        if self.points is not None and not (_is_integer(self.points) and 4 <= self.points <= _MOST_POINTS):
            raise InputError(f"points must be a whole number from 4 to {_MOST_POINTS:,}, got {self.points!r}.")
        if self.estimator == "bins" and (self.bandwidth is not None or self.degree is not None):
            raise InputError('estimator="bins" takes neither bandwidth nor degree; give the number of bins by points=.')

    @property
    def steps(self) -> tuple[int, ...]:
        """The lags."""
        return self.lags  # pyright: ignore[reportReturnType]

    @property
    def widths(self) -> tuple[float, ...] | None:
        """The bandwidths that were given, in units of the states."""
        return self.bandwidth  # pyright: ignore[reportReturnType]


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    if not any(value is option or (isinstance(value, str) and value == option) for option in allowed):
        raise InputError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


__all__ = ["MOST_DEGREE", "KramersMoyal"]
