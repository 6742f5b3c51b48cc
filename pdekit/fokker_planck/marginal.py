"""The density of some of the states, whatever the others are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdekit.errors import InputError
from pdekit.fokker_planck.grid.spline import TensorSpline
from pdekit.fokker_planck.quantiles import reach

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pdekit.fokker_planck.density import Density
    from pdekit.fokker_planck.sides import Domain

_BINS = {1: 256, 2: 128}
_NODES = 601
_FAINT = 1e-6  # share of the mass beyond each end of the nodes
_BEYOND = 0.15  # of the width: how far nodes go further


@dataclass(frozen=True, eq=False)
class Marginal:
    """A density of one or two states, at nodes and between them.

    Args:
        states: Which, by number.
        nodes: Values of each, strictly increasing.
        values: The density at the nodes, (n_1,) or (n_1, n_2).
        whole: The density itself where it has no other states.
        names: Of the states.
    """

    states: tuple[int, ...]
    nodes: tuple[np.ndarray, ...]
    values: np.ndarray
    whole: "Density | None" = None
    names: tuple[str, ...] | None = None

    @cached_property
    def _spline(self) -> TensorSpline:
        return TensorSpline(self.nodes, self.values, (None,) * len(self.nodes))

    def pdf(self, x: Any) -> Tensor:
        """At states (*batch, k): (*batch,); zero beyond the nodes, unless the density has no other states."""
        if self.whole is not None:
            return self.whole.pdf(x)
        state = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x, dtype=np.float64))
        if state.ndim == 0 or state.shape[-1] != len(self.nodes):
            raise InputError(f"x must be states (*batch, {len(self.nodes)}), got shape {tuple(state.shape)}.")
        flat = state.detach().reshape(-1, len(self.nodes)).double().cpu().numpy()
        inside = np.all([(y >= n[0]) & (y <= n[-1]) for y, n in zip(flat.T, self.nodes, strict=True)], axis=0)
        found = np.zeros(len(flat))
        found[inside] = np.maximum(self._spline(flat[inside]), 0.0)
        dtype = state.dtype if state.is_floating_point() else torch.float64
        return torch.as_tensor(found).reshape(state.shape[:-1]).to(dtype).to(state.device)

    def plot(self, names: Sequence[str] | None = None) -> "Figure":
        """A curve or a map.

        Args:
            names: Of these states, for the axes; by default the equation's own.
        """
        from pdekit.fokker_planck.picture import draw_marginal

        return draw_marginal(self, self.names if names is None else names)


def marginal(density: "Density", states: tuple[Any, ...]) -> Marginal:
    """See `Density.marginal`."""
    dim = density.dim
    whole = all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < dim for i in states)
    if not whole or len(set(states)) != len(states) or len(states) not in (1, 2):
        raise InputError(f"marginal() takes one or two different states from 0 to {dim - 1}, got {states!r}.")
    domain: Domain | None = getattr(density, "domain", None)
    found = _found(density, states, domain)
    return found if domain is None else replace(found, names=tuple(domain.names[i] for i in states))


def _found(density: "Density", states: tuple[int, ...], domain: "Domain | None") -> Marginal:
    if density.dim == 1:
        return _itself(density, domain)
    mesh: Any = getattr(getattr(density, "grid", None), "mesh", None)
    if mesh is not None:
        return _of_masses(mesh.axes, density.node_masses.reshape(mesh.shape), states)  # type: ignore[attr-defined]
    found = density.quadrature()
    samples = bool(np.ptp(found.weights) <= 1e-12 * found.weights.max())
    if density.dim <= 3 and not samples:
        return _of_values(density, found, states)
    return _of_samples(found.states[:, list(states)], found.weights, states)


def _itself(density: "Density", domain: "Domain | None") -> Marginal:
    """The density of the only state, with nodes where it can be seen."""
    found = density.quadrature()
    (x,), low, high = found.states.T, *((-np.inf, np.inf) if domain is None else (domain.lower[0], domain.upper[0]))
    nodes = _line(*reach(x, found.weights, _FAINT), _NODES)
    nodes = np.linspace(max(nodes[0], low), min(nodes[-1], high), _NODES)
    p = np.exp(density.log_values(nodes[:, None]))
    return Marginal((0,), (nodes,), np.where(np.isfinite(p), p, np.nan), density)


def _of_masses(axes: Any, masses: np.ndarray, states: tuple[int, ...]) -> Marginal:
    """By summing masses of nodes."""
    found = _summed(masses, states)
    for k, i in enumerate(states):
        width = axes[i].width * np.exp(axes[i].coordinate.log_slope(axes[i].y))
        found = found / width.reshape([-1 if j == k else 1 for j in range(len(states))])
    order = [np.argsort(axes[i].x) for i in states]
    return Marginal(states, tuple(axes[i].x[o] for i, o in zip(states, order, strict=True)), found[np.ix_(*order)])


def _summed(table: np.ndarray, states: tuple[int, ...]) -> np.ndarray:
    """Over all other axes, those left in the order of `states`."""
    found = table.sum(axis=tuple(i for i in range(table.ndim) if i not in states))
    return found if list(states) == sorted(states) else found.T


def _of_values(density: "Density", found: Any, states: tuple[int, ...]) -> Marginal:
    """By the trapezoidal rule over a grid, which converges fast where a density falls to zero."""
    n = {2: 129, 3: 49}[density.dim]
    axes = [_line(*reach(found.states[:, i], found.weights, _FAINT), n) for i in range(density.dim)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, density.dim)
    p = np.exp(density.log_values(points)).reshape((n,) * density.dim)
    for i, axis in enumerate(axes):
        if i not in states:
            p = p * (axis[1] - axis[0])
    return Marginal(states, tuple(axes[i] for i in states), _summed(p, states))


def _of_samples(x: np.ndarray, weights: np.ndarray, states: tuple[int, ...]) -> Marginal:
    """By a histogram that is smoothed with Scott's bandwidth."""
    from scipy.ndimage import gaussian_filter

    k = x.shape[1]
    edges = [_line(*reach(x[:, i], weights, _FAINT), _BINS[k] + 1) for i in range(k)]
    counts, _ = np.histogramdd(x, bins=edges, weights=weights)
    share = weights / weights.sum()
    bandwidth = (1 / np.square(share).sum()) ** (-1 / (k + 4)) * np.sqrt(share @ (x - share @ x) ** 2)
    steps = np.array([edge[1] - edge[0] for edge in edges])
    smooth = gaussian_filter(counts / np.prod(steps), bandwidth / steps, mode="constant")
    return Marginal(states, tuple(0.5 * (edge[1:] + edge[:-1]) for edge in edges), smooth)


def _line(low: float, high: float, n: int) -> np.ndarray:
    beyond = _BEYOND * (high - low)
    return np.linspace(low - beyond, high + beyond, n)


__all__ = ["Marginal", "marginal"]
