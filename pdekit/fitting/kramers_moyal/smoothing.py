"""Local polynomial regression on sums, chosen and averaged by cross-validation.

A candidate is a bandwidth and a degree; an infinite bandwidth is one polynomial for all states. Each predicts every
fifth of the record from the rest. Its held-out log-likelihood l (increments are normal given the state, for short
steps) gives it the weight exp(l) / sum exp(l): Geisser and Eddy (1979), J. Am. Stat. Assoc. 74; Yao, Vehtari, Simpson
and Gelman (2018), Bayesian Anal. 13. Averaging costs less than choosing where several do about equally well, and the
spread of the candidates counts in the standard error, as Buckland, Burnham and Augustin (1997), Biometrics 53, have it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pdekit.fitting.kramers_moyal.design import Design
from pdekit.fitting.kramers_moyal.polynomials import monomials, product_index, solve_normal

# Of candidates with a smaller weight no more is said.
_NEGLIGIBLE = 0.005
_HUGE = 1e100


@dataclass(frozen=True)
class Candidate:
    """A bandwidth for each scaled state and a degree."""

    width: tuple[float, ...]
    degree: int

    @property
    def everywhere(self) -> bool:
        """Whether it is a single polynomial."""
        return math.isinf(self.width[0])


@dataclass(frozen=True, eq=False)
class Fitted:
    """What one candidate gives.

    Attributes:
        values: At the nodes, (C, r).
        variance: Of the values, (C, r).
        influence: What an increment of weight one at the node moves the value there by, (C, r).
        held_out: At the rows, from the other folds, (rows, r).
    """

    values: np.ndarray
    variance: np.ndarray
    influence: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True, eq=False)
class Smooth:
    """The average of the candidates.

    Attributes:
        values: At the nodes, (C, r).
        stderr: Their standard errors, (C, r), with the spread of the candidates.
        influence: As in `Fitted`, averaged, (C, r).
        candidates: Those that matter.
        weights: Theirs, (candidates, r).
        tried: How many there were.
        finest: The smallest bandwidth among them, that of the first scaled state.
    """

    values: np.ndarray
    stderr: np.ndarray
    influence: np.ndarray
    candidates: Sequence[Candidate]
    weights: np.ndarray
    tried: int
    finest: float

    def chosen(self, component: int) -> list[tuple[Candidate, float]]:
        """The candidates that matter for a component, the best first."""
        weights = self.weights[:, component]
        return [(self.candidates[k], float(weights[k])) for k in np.argsort(-weights) if weights[k] > _NEGLIGIBLE]


# Held-out predictions (rows, r) to log-likelihoods of the columns (r,).
Score = Callable[[np.ndarray], np.ndarray]


def smooth(
    design: Design,
    candidates: Sequence[Candidate],
    weights: np.ndarray,
    targets: np.ndarray,
    score: Score,
    progress: Callable[[Candidate], None],
) -> Smooth:
    """Regresses target / weight on the state.

    Args:
        design: Sites and nodes.
        candidates: What is tried.
        weights: Sums of 1 / variance at the rows, (rows, r).
        targets: Sums of observation / variance, (rows, r).
        score: The log-likelihood of held-out predictions.
        progress: Called before each candidate.
    """
    fits, scores = [], []
    for candidate in candidates:
        progress(candidate)
        fits.append(regress(design, candidate, weights, targets, hold_out=len(candidates) > 1))
        # A window with hardly any data predicts anything, which its score will say as long as it is finite.
        held_out = np.clip(fits[-1].held_out, -_HUGE, _HUGE)
        scores.append(score(held_out) if len(candidates) > 1 else np.zeros(weights.shape[1]))
    table = np.array(scores)
    share = np.exp(table - table.max(0))
    matter = np.flatnonzero((share > _NEGLIGIBLE).any(1)).tolist()
    kept, fits, share = [candidates[k] for k in matter], [fits[k] for k in matter], share[matter]
    share /= share.sum(0)
    finest = min(candidate.width[0] for candidate in candidates)
    mean = lambda name: np.einsum("mr,mcr->cr", share, np.array([getattr(f, name) for f in fits]))  # noqa: E731
    values = mean("values")
    spread = np.einsum("mr,mcr->cr", share, np.array([(f.values - values) ** 2 for f in fits]))
    return Smooth(values, np.sqrt(mean("variance") + spread), mean("influence"), kept, share, len(candidates), finest)


def regress(
    design: Design, candidate: Candidate, weights: np.ndarray, targets: np.ndarray, *, hold_out: bool = True
) -> Fitted:
    """One candidate's estimates."""
    return (_globally if candidate.everywhere else _locally)(design, candidate, weights, targets, hold_out)


def _locally(design: Design, candidate: Candidate, weights: np.ndarray, targets: np.ndarray, hold_out: bool) -> Fitted:
    width, degree = np.array(candidate.width), candidate.degree
    index = product_index(design.nodes.shape[1], degree)
    basis = design.basis(degree)
    count = weights.shape[1]
    both = design.moments(np.concatenate([weights, targets], 1), width, 2 * degree)
    gram, right = both[:, :, :count][..., index], both[:, :, count:, : basis.shape[1]]
    whole, sum_right = gram.sum(0), right.sum(0)
    at_node = np.broadcast_to(basis[:, None, :, None], (*whole.shape[:-1], 1))
    functional = solve_normal(whole, at_node)[..., 0]
    squared = design.moments(weights, width, 2 * degree, power=2).sum(0)[..., index]
    variance = np.einsum("crp,crpq,crq->cr", functional, squared, functional)
    values = np.einsum("crp,crp->cr", functional, sum_right)
    influence = np.einsum("crp,cp->cr", functional, basis)
    held_out = np.empty((0, count))
    if hold_out:
        solved = solve_normal(whole - gram, (sum_right - right)[..., None])[..., 0]
        held_out = design.at_rows(np.einsum("fcrp,cp->fcr", solved, basis))
    return Fitted(values, variance, influence, held_out)


def _globally(design: Design, candidate: Candidate, weights: np.ndarray, targets: np.ndarray, hold_out: bool) -> Fitted:
    terms, basis = (monomials(x, candidate.degree) for x in (design.position, design.nodes))
    parts = [terms[rows] for rows in design.folds]
    gram = np.array(
        [
            [(part * weights[rows, k, None]).T @ part for k in range(weights.shape[1])]
            for part, rows in zip(parts, design.folds, strict=True)
        ]
    )
    right = np.array([targets[rows].T @ part for part, rows in zip(parts, design.folds, strict=True)])
    whole, sum_right = gram.sum(0), right.sum(0)
    functional = solve_normal(whole, np.broadcast_to(basis.T, (len(whole), *basis.T.shape)))
    values = np.einsum("rpc,rp->cr", functional, sum_right)
    variance = np.maximum(np.einsum("rpc,cp->cr", functional, basis), 0.0)
    held_out = np.empty((0, weights.shape[1]))
    if hold_out:
        solved = solve_normal(whole - gram, (sum_right - right)[..., None])[..., 0]
        held_out = np.concatenate([part @ found.T for part, found in zip(parts, solved, strict=True)])
    return Fitted(values, variance, variance, held_out)


__all__ = ["Candidate", "Fitted", "Smooth", "regress", "smooth"]
