"""First and second conditional moments of the increments as functions of the state."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pdekit.errors import DataError
from pdekit.fitting.kramers_moyal.design import Design
from pdekit.fitting.kramers_moyal.lattice import Lattice
from pdekit.fitting.kramers_moyal.options import KramersMoyal
from pdekit.fitting.kramers_moyal.scattered import Scattered
from pdekit.fitting.kramers_moyal.smoothing import Candidate, Smooth, regress, smooth
from pdekit.fitting.kramers_moyal.steps import Steps, Sums, pairs_of_states

Progress = Callable[[str, float], None]

# In standard deviations of the state, finite ones and then the polynomials for all states.
_WIDTHS = {1: (0.1, 0.15, 0.22, 0.33, 0.5, 0.75, 1.1), 2: (0.25, 0.37, 0.55, 0.8, 1.2)}
_WIDTHS_ABOVE = (0.4, 0.65, 1.0, 1.6)
# The least bandwidth in root mean squares of a step: moments are averages over where a step leads, so that they have no
# finer structure. Bandwidths from the second number on are tried in any case.
_STEPS_APART, _NOT_ABOVE = 1.5, 0.4
_DEGREES, _DEGREES_ABOVE = (1, 3), (1,)
_DEGREES_EVERYWHERE = (0, 1, 2, 3)
_ROUGH = 0.5  # for the first guess
_QUIET = 1e-12  # share of the squared increments that is rounding
# How far a local polynomial for D may depart from the local mean, which is positive, as a factor.
_FACTOR = 20.0
# ... and that, from its average over the data.
_RANGE = 1e6


@dataclass(frozen=True, eq=False)
class Moments:
    """Conditional moments of increments at the nodes, in scaled states.

    Attributes:
        design: Sites and nodes.
        steps: The increments.
        drift: E[du] / dt, of what cross-validation chose.
        tensor: Entries of Cov[du] / (2 dt) likewise.
        first: E[du] / dt, with supported neighbours in place of nodes without data, (C, d).
        second: Cov[du] / (2 dt), likewise and positive, (C, d, d).
        pull: kappa, (d,).
        parameters: Effective number of parameters of the drift of each state, (d,).
    """

    design: Design
    steps: Steps
    drift: Smooth
    tensor: Smooth
    first: np.ndarray
    second: np.ndarray
    pull: np.ndarray
    parameters: np.ndarray


def conditional_moments(
    options: KramersMoyal, steps: Steps, scale: np.ndarray, seed: int, progress: Progress
) -> Moments:
    """Smooths first and second moments of the increments.

    The second moments about a rough drift give the noise, by which increments are weighted for the drift; the moments
    about that give the diffusion tensor.
    """
    dim, design = steps.dim, _design(options, steps, seed)
    pairs = pairs_of_states(dim, options.noise == "full")
    sums = Sums.of(design.deposit(steps.u, steps.fold, Sums.columns(steps, pairs)), dim, pairs)
    candidates = _candidates(options, steps, scale)
    done = iter(np.linspace(0.0, 1.0, 2 * len(candidates), endpoint=False))
    rough = candidates[0] if options.estimator == "bins" else Candidate((_ROUGH,) * dim, 1)
    guess, noise = _first_guess(design, sums, rough)
    drift = _drift(design, sums, noise * steps.repeats, candidates, lambda c: progress("drift", next(done)))
    tensor = _tensor(
        design, sums, drift, noise, steps.squares_repeat, candidates, lambda c: progress("diffusion", next(done))
    )
    leverage = sums.time[:, None] / (2.0 * noise * steps.repeats) * design.at_rows(drift.influence[None])
    pull, stand_in = _pull(sums, design), design.stand_ins()
    beyond = design.nodes - design.nodes[stand_in]
    second = _positive(_matrices(tensor.values, pairs, dim), _matrices(guess, pairs, dim))
    first = drift.values[stand_in] - pull * beyond
    return Moments(design, steps, drift, tensor, first, second[stand_in], pull, leverage.sum(0))


def _first_guess(design: Design, sums: Sums, rough: Candidate) -> tuple[np.ndarray, np.ndarray]:
    """Local means of second moments about a rough drift: all entries at the nodes, and the diagonal at the rows."""
    dim, number = sums.first.shape[1], sums.count[:, None]
    drift = regress(design, rough, np.repeat(sums.time[:, None], dim, 1), sums.first, hold_out=False)
    residual = sums.residual(design.at_rows(drift.values[None]))
    weights = np.repeat(number, residual.shape[1], 1)
    guess = regress(design, replace(rough, degree=0), weights, residual, hold_out=False).values
    average = residual.sum(0)[:dim] / number.sum()
    quiet = np.flatnonzero(~(average > _QUIET * sums.second.sum(0)[:dim] / number.sum()))
    if len(quiet):
        raise DataError(
            f"The increments of state {int(quiet[0]) + 1} have no noise: a smooth drift explains them to rounding, so "
            "that there is nothing stochastic to find. Is the series computed or interpolated?"
        )
    guess[:, :dim] = np.clip(guess[:, :dim], average / _RANGE, average * _RANGE)
    at_rows = np.exp(design.at_rows(np.log(guess[None, :, :dim])))
    return guess, np.clip(at_rows, average / _RANGE, average * _RANGE)


def _drift(
    design: Design, sums: Sums, noise: np.ndarray, candidates: list[Candidate], progress: Callable[[Candidate], None]
) -> Smooth:
    """The mean increment over dt, whose variance given the state is 2 D / dt."""
    weights, targets = sums.time[:, None] / (2.0 * noise), sums.first / (2.0 * noise)

    def score(held_out: np.ndarray) -> np.ndarray:
        return (targets * held_out - 0.5 * weights * held_out**2).sum(0)

    return smooth(design, candidates, weights, targets, score, progress)


def _tensor(
    design: Design,
    sums: Sums,
    drift: Smooth,
    noise: np.ndarray,
    repeats: float,
    candidates: list[Candidate],
    progress: Callable[[Candidate], None],
) -> Smooth:
    """Second moments about the drift over 2 dt: of variance 2 D_ii^2, and about D_ii D_jj off the diagonal."""
    dim = noise.shape[1]
    i, j = np.array(sums.pairs).T
    number, residual = sums.count[:, None], sums.residual(design.at_rows(drift.values[None]))
    precision = np.where(i == j, 0.5, 1.0) / (noise[:, i] * noise[:, j] * repeats)
    weights, targets = number * precision, residual * precision

    def score(held_out: np.ndarray) -> np.ndarray:
        """The normal likelihood for the diagonal, least squares for the rest, which may have either sign."""
        found = (targets * held_out - 0.5 * weights * held_out**2).sum(0)
        size = np.clip(held_out[:, :dim], noise / _FACTOR, noise * _FACTOR)
        found[:dim] = -0.5 / repeats * (number * np.log(size) + residual[:, :dim] / size).sum(0)
        return found

    return smooth(design, candidates, weights, targets, score, progress)


def _design(options: KramersMoyal, steps: Steps, seed: int) -> Design:
    if options.estimator == "bins":
        return Lattice.of_bins(steps.u, options.points)
    if steps.dim <= 2:
        return Lattice.for_kernel(steps.u, options.points)
    return Scattered(steps.u, steps.fold, options.points, seed)


def _candidates(options: KramersMoyal, steps: Steps, scale: np.ndarray) -> list[Candidate]:
    dim = steps.dim
    if options.estimator == "bins":
        return [Candidate((1.0,) * dim, 0)]
    degree = options.degree
    if options.widths is None:
        least = min(_STEPS_APART * float(np.sqrt((steps.du**2).mean())), _NOT_ABOVE)
        finite = [(width,) * dim for width in _WIDTHS.get(dim, _WIDTHS_ABOVE) if width >= least]
        widths = [*finite, (math.inf,) * dim]
    else:
        given = options.widths * dim if len(options.widths) == 1 else options.widths
        widths = [tuple(float(w) for w in np.array(given) / scale)]
    local = _DEGREES if dim <= 2 else _DEGREES_ABOVE
    tried = lambda width: _DEGREES_EVERYWHERE if math.isinf(width[0]) else local  # noqa: E731
    return [Candidate(w, q) for w in widths for q in (tried(w) if degree is None else (degree,))]


def _pull(sums: Sums, design: Design) -> np.ndarray:
    """Minus the slopes of the regressions of each du_i / dt on u_i, where positive, (d,)."""
    u, time = design.position, sums.time[:, None]
    mean = (time * u).sum(0) / time.sum()
    slope = ((u - mean) * sums.first).sum(0) / (time * (u - mean) ** 2).sum(0)
    return np.maximum(-slope, 0.0)


def _matrices(entries: np.ndarray, pairs: list[tuple[int, int]], dim: int) -> np.ndarray:
    out = np.zeros((len(entries), dim, dim))
    for k, (i, j) in enumerate(pairs):
        out[:, i, j] = out[:, j, i] = entries[:, k]
    return out


def _positive(tensor: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Tensors (C, d, d) with eigenvalues, relative to the local means of the squares, held within a factor."""
    floor = 1e-9 * np.diagonal(mean, axis1=1, axis2=2)
    factor = np.linalg.cholesky(mean + floor[..., None] * np.eye(mean.shape[-1]))
    inverse = np.linalg.inv(factor)
    values, vectors = np.linalg.eigh(inverse @ tensor @ np.swapaxes(inverse, 1, 2))
    root = factor @ vectors * np.sqrt(np.clip(values, 1.0 / _FACTOR, _FACTOR))[:, None, :]
    return root @ np.swapaxes(root, 1, 2)


__all__ = ["Moments", "Progress", "conditional_moments"]
