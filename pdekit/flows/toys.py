"""The eight two-dimensional laws that continuous flows are tried on, as samplers; most have no density in closed form.

The shapes and sizes follow those of W. Grathwohl et al., FFJORD, ICLR 2019, arXiv 1810.01367, appendix B.
"""

import math
from collections.abc import Callable

import numpy as np

from pdekit.errors import InputError
from pdekit.seeds import check_seed

Array = np.ndarray


def toy(name: str, n: int, *, seed: int = 0) -> Array:
    """Samples of a law in the plane.

    Args:
        name: One of `TOYS`.
        n: How many.
        seed: Of the samples.

    Returns:
        float64, (n, 2), with spreads of about one to three.

    Raises:
        InputError: If there is no such law, or n is no number of samples, or the seed is none.

    Example:
        >>> toy("moons", 1000, seed=1).shape
        (1000, 2)
    """
    if name not in TOYS:
        raise InputError(f"name must be one of {', '.join(TOYS)}, got {name!r}.")
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 0:
        raise InputError(f"n must be a whole number of samples, got {n!r}.")
    check_seed(seed, 63)
    return TOYS[name](int(n), np.random.default_rng([seed, *name.encode()]))


def _swiss_roll(n: int, rng: np.random.Generator) -> Array:
    t = 1.5 * math.pi * (1 + 2 * rng.random(n))
    return _polar(t, t) / 5 + 0.2 * rng.standard_normal((n, 2))


def _circles(n: int, rng: np.random.Generator) -> Array:
    radius = np.where(rng.random(n) < 0.5, 3.0, 1.5)
    return _polar(radius, 2 * math.pi * rng.random(n)) + 0.24 * rng.standard_normal((n, 2))


def _rings(n: int, rng: np.random.Generator) -> Array:
    radius = 0.75 * rng.integers(1, 5, n)
    return _polar(radius, 2 * math.pi * rng.random(n)) + 0.08 * rng.standard_normal((n, 2))


def _moons(n: int, rng: np.random.Generator) -> Array:
    upper, angle = rng.random(n) < 0.5, math.pi * rng.random(n)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return 2 * (np.stack([x, y], -1) + 0.1 * rng.standard_normal((n, 2))) + np.array([-1.0, -0.2])


def _eight_gaussians(n: int, rng: np.random.Generator) -> Array:
    angle = 0.25 * math.pi * rng.integers(0, 8, n)
    return 4 / math.sqrt(2) * _polar(1.0, angle) + 0.5 / math.sqrt(2) * rng.standard_normal((n, 2))


def _pinwheel(n: int, rng: np.random.Generator) -> Array:
    arms, rate = 5, 0.25
    arm = 2 * math.pi / arms * rng.integers(0, arms, n)
    along, across = 1 + 0.3 * rng.standard_normal(n), 0.1 * rng.standard_normal(n)
    angle = arm + rate * np.exp(along)
    cosine, sine = np.cos(angle), np.sin(angle)
    return 2 * np.stack([along * cosine - across * sine, along * sine + across * cosine], -1)


def _two_spirals(n: int, rng: np.random.Generator) -> Array:
    angle = 3 * math.pi * np.sqrt(rng.random(n))
    arm = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    # Thickened along each arm by what a width of half a unit in the angle's own plane comes to.
    spread = 0.5 * rng.random((n, 2))
    raw = np.stack([-np.cos(angle) * angle, np.sin(angle) * angle], -1) + spread
    return arm[:, None] * raw / 3 + 0.1 * rng.standard_normal((n, 2))


def _checkerboard(n: int, rng: np.random.Generator) -> Array:
    x = 4 * rng.random(n) - 2
    y = rng.random(n) - 2 * rng.integers(0, 2, n) + np.floor(x) % 2
    return 2 * np.stack([x, y], -1)


def _polar(radius: Array | float, angle: Array) -> Array:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


TOYS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "swissroll": _swiss_roll,
    "circles": _circles,
    "rings": _rings,
    "moons": _moons,
    "8gaussians": _eight_gaussians,
    "pinwheel": _pinwheel,
    "2spirals": _two_spirals,
    "checkerboard": _checkerboard,
}

__all__ = ["TOYS", "toy"]
