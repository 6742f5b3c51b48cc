"""The level of measurement noise from the roughness of a record, without a model's parameters."""

import itertools
import math

import sympy
import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.symbolic import SymbolicSDE

Series = list[tuple[Tensor, Tensor]]


def series_of(pairs: Pairs) -> Series:
    """Times (n_p,) and readings (n_p, d_obs) of every path."""
    _, counts = torch.unique_consecutive(pairs.path, return_counts=True)
    sizes = counts.tolist()
    parts = zip(*(x.split(sizes) for x in (pairs.t, pairs.dt, pairs.x0, pairs.x1)), strict=True)
    return [(torch.cat([t, t[-1:] + dt[-1:]]), torch.cat([x0, x1[-1:]])) for t, dt, x0, x1 in parts]


def smoothness(model: SymbolicSDE, state: str) -> int:
    """How many integrations lie between the noise and a state: 0 for one that noise drives directly."""
    ito, names = model.ito(), model.state_names
    jacobian, noise = ito.drift_jacobian, ito.diffusion_matrix
    depth = {name: 0 for i, name in enumerate(names) if any(g != sympy.S.Zero for g in noise.row(i))}
    for level in itertools.count(1):
        new = [
            name
            for i, name in enumerate(names)
            if name not in depth and any(jacobian[i, j] != 0 and names[j] in depth for j in range(len(names)))
        ]
        if not new:
            break
        depth |= dict.fromkeys(new, level)
    return depth.get(state, 0)


def noise_level(series: Series, column: int, smooth: int) -> float:
    """eps of one column, from how differences grow with the lag.

    A path that is `smooth` times differentiable has p-th differences, p = smooth + 1, whose variance grows like
    lag^(2 smooth + 1); noise adds binom(2p, p) eps^2 at every lag. Lags 1 and 2 tell the two apart. The least that is
    returned is a fiftieth of what the differences would be if they were noise alone.
    """
    p = smooth + 1
    short, long = (_variance_of_differences(series, column, p, lag) for lag in (1, 2))
    weight, growth = math.comb(2 * p, p), 2.0 ** (2 * smooth + 1)
    square = (growth * short - long) / ((growth - 1.0) * weight)
    return math.sqrt(max(square, short / weight / 2500.0, 1e-300))


def _variance_of_differences(series: Series, column: int, order: int, lag: int) -> float:
    squares, count = 0.0, 0
    for _, readings in series:
        x = readings[:, column]
        for _ in range(order):
            x = x[lag:] - x[:-lag]
        squares, count = squares + float(x.square().sum()), count + len(x)
    return squares / max(count, 1)


__all__ = ["Series", "noise_level", "series_of", "smoothness"]
