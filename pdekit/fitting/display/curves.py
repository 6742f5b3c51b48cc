r"""Drift and diffusion of a fitted SDE as curves with confidence bands, beside what the increments say without a model.

With h(x; theta) a coefficient and C the covariance of the estimate, the delta method gives the pointwise standard
error sqrt(grad_theta h^T C grad_theta h).

With several states a coefficient depends on all of them. It is then averaged over the observations in bins: the
diffusion in bins of its own state, the drift in bins of the fitted drift itself, so that a drift that fits lies on
the diagonal.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from scipy.stats import norm
from torch import Tensor

from pdekit.data import Pairs
from pdekit.errors import InputError
from pdekit.fitting.evidence import Evidence
from pdekit.fitting.learned import LearnedSDE

Which = Literal["drift", "diffusion"]
BINNED_LABEL = "binned increments (biased at coarse dt)"

_POINTS = 161
_MOST_BINS = 24
_FEWER_BINS = 12
_PER_BIN = 8
# Averages over the observations of a bin need no more of them than this in all.
_MOST_STATES = 20_000
# Below any square of a coefficient in double precision; keeps the root's gradient finite where a noise is absent.
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Curve:
    """A coefficient along one state.

    Attributes:
        x: States, (m,), increasing; for the drift of one of several states, the fitted drift itself.
        value: The coefficient, (m,).
        stderr: Its pointwise standard error, (m,); None if the estimate has no covariance.
        floor: A bound that the coefficient can't cross: 0 for the size of a diffusion.
    """

    x: Tensor
    value: Tensor
    stderr: Tensor | None
    floor: float = float("-inf")

    def band(self, level: float = 0.95) -> tuple[Tensor, Tensor] | None:
        """Lower and upper end of the pointwise confidence band, each (m,); None without standard errors."""
        if self.stderr is None:
            return None
        reach = float(norm.ppf(0.5 + 0.5 * level)) * self.stderr
        return (self.value - reach).clamp_min(self.floor), self.value + reach


@dataclass(frozen=True, eq=False)
class BinnedIncrements:
    """Kramers-Moyal estimates from increments sorted into bins of equal count.

    Attributes:
        x: Mean state of each bin, (b,).
        drift: Sum of dx over sum of dt, (b,).
        drift_stderr: Its standard error, (b,).
        diffusion: sqrt of the mean of (dx - drift dt)^2 / dt, (b,).
        diffusion_stderr: Its standard error, (b,).
        edges: Of the bins, (b + 1,).
    """

    x: Tensor
    drift: Tensor
    drift_stderr: Tensor
    diffusion: Tensor
    diffusion_stderr: Tensor
    edges: Tensor


def coefficient_curve(evidence: Evidence, which: Which, component: int = 0, *, points: int = _POINTS) -> Curve:
    r"""The fitted drift f_i or size of the noise (G G^T)_ii^{1/2} along state i, of the Ito equation.

    Coefficients that depend on time are taken at the middle of the record.

    Args:
        evidence: The fit.
        which: "drift" or "diffusion".
        component: The state i.
        points: At how many states, over the range of the data; with several states, bins are used instead.

    Raises:
        InputError: If there is no such coefficient or state.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> fit = pk.fit(pk.models.get("ornstein_uhlenbeck"), data)
        >>> curve = coefficient_curve(fit.evidence, "diffusion")
        >>> bool((curve.value - fit.params["sigma"].estimate).abs().max() < 1e-12)
        True
    """
    model, function = evidence.model, evidence.coefficients
    if which not in ("drift", "diffusion"):
        raise InputError(f"which must be 'drift' or 'diffusion', got {which!r}.")
    if not 0 <= component < model.dim:
        raise InputError(f"component must be between 0 and {model.dim - 1}, got {component}.")
    time = _middle(evidence.pairs)
    theta = evidence.theta

    def coefficient(x: Tensor, parameters: Tensor) -> Tensor:
        if which == "drift":
            return function.drift(time, x, parameters)[:, component]
        return function.size(time, x, parameters, component)

    if model.dim == 1:
        x = torch.cat(evidence.data.values)[:, 0]
        grid = torch.linspace(float(x.min()), float(x.max()), points, dtype=torch.float64)
        states, weights = grid[:, None], None
    else:
        states = evidence.pairs.x0[:: max(1, len(evidence.pairs) // _MOST_STATES)]
        with torch.no_grad():
            key = (coefficient(states, theta) if which == "drift" else states[:, component]).contiguous()
        weights = _averages(key)
        grid = weights @ key
    floor = 0.0 if which == "diffusion" else float("-inf")
    if isinstance(model, LearnedSDE):
        return _learned_curve(
            model, which, component, states, coefficient(states, theta).detach(), weights, grid, floor
        )
    # Rows don't see one another, so a row of parameters per state gives all gradients in one backward pass.
    rows = theta.expand(len(states), -1).clone().requires_grad_(True)
    value = coefficient(states, rows)
    # A coefficient may have no parameter at all, and then no gradient either.
    slope = torch.autograd.grad(value.sum(), rows)[0] if value.requires_grad else torch.zeros_like(rows)
    value = value.detach()
    if weights is not None:
        value, slope = weights @ value, weights @ slope
    covariance = evidence.covariance
    known = bool(torch.isfinite(covariance).all()) and bool((covariance.diagonal() > 0).any())
    variance = torch.einsum("mi,ij,mj->m", slope, covariance, slope).clamp_min(0.0)
    return Curve(grid, value, variance.sqrt() if known else None, floor)


def _learned_curve(
    model: LearnedSDE,
    which: Which,
    component: int,
    states: Tensor,
    value: Tensor,
    weights: Tensor | None,
    grid: Tensor,
    floor: float,
) -> Curve:
    """A coefficient that brings its standard errors along; averages over bins have at most the mean of theirs."""
    with torch.no_grad():
        known = model.drift_stderr(states) if which == "drift" else model.diffusion_stderr(states)
    error = None if known is None else known[:, component]
    if weights is not None:
        value, error = weights @ value, None if error is None else weights @ error
    return Curve(grid, value, error, floor)


def binned_increments(
    pairs: Pairs,
    component: int = 0,
    *,
    along: Tensor | None = None,
    expected: Tensor | None = None,
    bins: int | None = None,
) -> BinnedIncrements:
    """Drift and diffusion from the increments alone; unbiased only as dt goes to zero.

    Args:
        pairs: The transitions.
        component: Which state.
        along: What is sorted into bins, (n,); by default the state itself.
        expected: A drift to take off before increments are squared, (n,); by default the mean of the bin.
        bins: How many; by default 24, or fewer so that each holds at least 8 transitions.
    """
    dx, dt = (pairs.x1 - pairs.x0)[:, component], pairs.dt
    along = (pairs.x0[:, component] if along is None else along).contiguous()
    edges, index = _equal_bins(along, bins or _MOST_BINS)
    n = len(edges) - 1
    total = lambda v: torch.zeros(n, dtype=torch.float64).index_add_(0, index, v)  # noqa: E731
    count, time = total(torch.ones_like(dt)), total(dt)
    drift = total(dx) / time
    miss = dx - (drift[index] if expected is None else expected) * dt
    square = miss * miss / dt
    mean_square = total(square) / count
    spread = (total((square - mean_square[index]) ** 2) / count).sqrt()
    diffusion = mean_square.sqrt()
    return BinnedIncrements(
        x=total(along) / count,
        drift=drift,
        drift_stderr=diffusion / time.sqrt(),
        diffusion=diffusion,
        diffusion_stderr=0.5 * spread / (count.sqrt() * diffusion.clamp_min(_TINY)),
        edges=edges,
    )


def increments_beside(evidence: Evidence, which: Which, component: int) -> BinnedIncrements:
    """Binned increments to be compared with `coefficient_curve`: bins along the same axis."""
    pairs = evidence.pairs
    if evidence.model.dim == 1:
        return binned_increments(pairs)
    with torch.no_grad():
        drift = evidence.coefficients.drift(pairs.t[:, None], pairs.x0, evidence.theta)
        fitted = drift[:, component].contiguous()
    along = fitted if which == "drift" else None
    return binned_increments(pairs, component, along=along, expected=fitted, bins=_FEWER_BINS)


def _equal_bins(x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Edges (b + 1,) of at most `bins` bins with about equal counts, and the bin of every x."""
    wanted = max(1, min(bins, len(x) // _PER_BIN))
    positions = torch.linspace(0, len(x) - 1, wanted + 1).round().long()
    edges = torch.unique(x.sort().values[positions])  # tied values would make bins empty
    if len(edges) < 3:
        return edges[[0, -1]], torch.zeros(len(x), dtype=torch.long)
    return edges, torch.bucketize(x, edges[1:-1].contiguous(), right=True)


def _averages(key: Tensor) -> Tensor:
    """The matrix that averages rows by bins of their key, (b, m)."""
    edges, index = _equal_bins(key, _FEWER_BINS)
    member = torch.nn.functional.one_hot(index, len(edges) - 1).T.to(torch.float64)
    return member / member.sum(-1, keepdim=True)


def _middle(pairs: Pairs) -> float:
    return 0.5 * (float(pairs.t.min()) + float((pairs.t + pairs.dt).max()))
