"""Series with times of their own: what they must be like, and some to try models on."""

import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.nets.conditioners.checks import check_count
from pdekit.seeds import check_seed

_LONG, _FIRST = 8.0, 10.0  # radians: the length of a piece, and where it may begin


def check_series(t: Tensor, x: Tensor, dim: int) -> None:
    """Times (n, k) that increase, and readings (n, k, dim).

    Raises:
        InputError: If they are anything else.
    """
    if not (isinstance(t, Tensor) and isinstance(x, Tensor)):
        raise InputError("Times and readings must be tensors.")
    if t.ndim == 1 and x.ndim == 3:
        raise InputError("Each series has times of its own, (n, k): for the same times t.expand(len(x), -1).")
    if t.ndim != 2 or x.shape != (*t.shape, dim):
        raise InputError(f"Expected times (n, k) and readings (n, k, {dim}), got {tuple(t.shape)}, {tuple(x.shape)}.")
    if not bool((t.diff(dim=1) > 0).all()):
        raise InputError("The times of each series must increase.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("Some readings are not finite: leave them out, times need not be regular.")


def spirals(n: int, *, points: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of two spirals in the plane, one anticlockwise and going out, one clockwise and going in.

    Args:
        n: How many; the two spirals take turns.
        points: Readings of each, at equal times from 0 to 8, a radian in each unit of time.
        noise: Spread of what is added to readings.
        seed: Of where they begin, and of the noise.

    Returns:
        Times (points,), readings (n, points, 2) and the same without noise, float32.

    Raises:
        ModelError: If n or points is no count.
        InputError: If the noise or the seed is none.

    They are like those of R. T. Q. Chen et al. (2018), section 5, whose exact numbers are not in the paper.

    Example:
        >>> t, x, clean = spirals(4, points=50)
        >>> x.shape
        torch.Size([4, 50, 2])
    """
    check_count("n", n)
    check_count("points", points, least=2)
    check_seed(seed, 63)
    if not (isinstance(noise, int | float) and 0 <= noise < float("inf")):
        raise InputError(f"noise must be a spread of at least 0, got {noise!r}.")
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0.0, _LONG, points)
    angle = _FIRST * torch.rand(n, 1, generator=generator) + t
    inward = torch.arange(n)[:, None] % 2 == 0
    radius = torch.where(inward, 2.6 - 0.12 * angle, 0.4 + 0.12 * angle)
    turn = torch.where(inward, -angle, angle)
    clean = torch.stack([radius * torch.cos(turn), radius * torch.sin(turn)], -1)
    return t, clean + noise * torch.randn(clean.shape, generator=generator), clean


__all__ = ["check_series", "spirals"]
