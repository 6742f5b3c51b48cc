"""The search: candidates checked, terms selected, the regime decided, everything recorded."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import sympy
from sympy import Symbol

from pdekit.data import Pairs, Trajectories
from pdekit.errors import ConvergenceError, DataError, InputError, NumericalError
from pdekit.fitting.inference.maximum import Progress
from pdekit.fitting.sparse.account import CLOSE, Block
from pdekit.fitting.sparse.coarse import CoarseSearch, CoarseSelection
from pdekit.fitting.sparse.drift import Steps
from pdekit.fitting.sparse.fine import FineSearch, Selection
from pdekit.fitting.sparse.library import Library
from pdekit.fitting.sparse.model import Chosen, Formula, write_model
from pdekit.fitting.sparse.names import state_names
from pdekit.fitting.sparse.options import SparseSDE
from pdekit.fitting.sparse.result import Part, SparseSearch
from pdekit.fitting.sparse.step_check import bias_of_step
from pdekit.fitting.sparse.terms import Terms, check_finite, independent
from pdekit.symbolic.printer import write_expression
from pdekit.threads import one_thread

# What the step's error may move a coefficient by, in standard errors.
LARGEST_BIAS = 0.25
# States whose increments are one another's combinations to this share of their variance are one state.
_FAR = 20.0  # standard deviations
_SAME = 1e-10
# Where the expansion in dt holds, its second order is not this much less likely than its first.
_BREAKDOWN = 10.0


def search(options: SparseSDE, data: Trajectories, *, seed: int = 0, progress: Progress | None = None) -> SparseSearch:
    """Finds the terms of an SDE among candidates.

    At fine steps terms are selected on the mean and the covariance of the steps, right to second order in dt. Two steps
    of half the length tell what that leaves: where it would move a coefficient by more than a quarter of its standard
    error and there is one state, the Fokker-Planck likelihood takes over, which is right at any step.

    Args:
        options: Candidates and criterion.
        data: The observations. Candidates written by the user name the states as the data's columns are named, with
            every character that cannot stand in a name replaced by "_".
        seed: Of the search; recorded.
        progress: Called with (what is being done, value of the criterion) after every round.

    Raises:
        InputError: If `options` or `data` are something else, or no candidate can be a variance.
        ExpressionError: If a candidate does not read as a formula in the states.
        DataError: If a candidate is not finite at an observation, there are fewer transitions than candidates, states
            move as one, or the data have no noise.
        ConvergenceError: If the steps are coarse and no model could be fitted, or noise candidates degenerate.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> search(SparseSDE(drift=Library.polynomial(3)), data).model
        SymbolicSDE(drate = (0) dt + (sqrt(g2_1 + g2_rate2*rate**2)) dW, ito, g2_1 > 0, g2_rate2 > 0)
    """
    if not isinstance(options, SparseSDE):
        raise InputError(f"The options must be a SparseSDE, got {type(options).__name__}.")
    if not isinstance(data, Trajectories):
        raise InputError(f"A sparse search needs Trajectories, got {type(data).__name__}.")
    with one_thread(len(data.pairs())):
        return _Run(options, data, seed, progress or (lambda what, value: None)).search()


class _Run:
    """One search of one data set."""

    def __init__(self, options: SparseSDE, data: Trajectories, seed: int, progress: Progress) -> None:
        self._options, self._data, self._seed, self._progress = options, data, seed, progress
        self._pairs = data.pairs()
        self._steps = Steps.of(self._pairs)
        self._notes: list[str] = []
        names = state_names(data.names)
        if changed := [f"{a!r} is called {b}" for a, b in zip(data.names, names, strict=True) if a != b]:
            self._notes.append(f"In formulas {', '.join(changed)}.")
        time = "t" if "t" not in names else "time" if "time" not in names else "t_"
        states, clock = [Symbol(n, real=True) for n in names], Symbol(time, real=True)
        self._drift = Terms(options.drift_library(data.dim).bind(names, time), states, clock)
        noise = Library.polynomial(0) if options.noise == "full" else options.diffusion_library(data.dim)
        self._noise = Terms(noise.bind(names, time), states, clock)
        self._check_size()
        _check_states(self._pairs, names)
        _check_place(self._pairs, (self._drift, self._noise))
        self._drift = self._usable(self._drift, "drift")
        self._noise = self._usable(self._noise, "diffusion")

    def _check_size(self) -> None:
        count = self._data.dim * (len(self._drift) + len(self._noise))
        if len(self._pairs) <= count:
            raise DataError(
                f"{len(self._pairs)} transitions can't choose among {count} candidates "
                f"({len(self._drift)} terms of the drift and {len(self._noise)} of the noise for each state). "
                "Take a longer record or a smaller library."
            )

    def _usable(self, terms: Terms, what: str) -> Terms:
        """The terms that are finite on the data, and that the data tell apart."""
        check_finite(terms, self._steps.t, self._steps.x0, what)
        kept = independent(terms, self._steps.t, self._steps.x0)
        if kept.all():
            return terms
        lost = ", ".join(str(e) for e, k in zip(terms.expressions, kept, strict=True) if not k)
        self._notes.append(
            f"Left out of the {what} library: {lost}. At the observed states they are combinations of the terms before "
            "them, to a part in 1e5. Where values lie far from zero, subtract a typical one."
        )
        return terms.only(kept)

    def search(self) -> SparseSearch:
        """From the candidates to the record."""
        fine = FineSearch(
            self._options, self._steps, self._drift, self._noise, seed=self._seed, progress=self._progress
        )
        try:
            found, trusted = self._at_fine_steps(fine)
        except np.linalg.LinAlgError as cause:
            found, trusted = self._at_constant_noise(cause), False
        bias = bias_of_step(found, self._steps) if trusted else math.inf
        if bias <= LARGEST_BIAS:
            reason = (
                f"The steps are short: what mean and covariance of a step neglect moves no coefficient by more than "
                f"{bias:.1g} standard errors."
            )
            return self._record_fine(found, reason, "fine")
        size = f"by {bias:.2g} standard errors" if math.isfinite(bias) else "beyond measure"
        reason = f"The steps are long: what mean and covariance of a step neglect would move a coefficient {size}."
        autonomous = self._drift.autonomous and self._noise.autonomous
        if self._data.dim == 1 and autonomous:
            return self._record_coarse(
                self._at_coarse_steps(found), f"{reason} Selected on the Fokker-Planck likelihood, right at any step."
            )
        why = "several states" if self._data.dim > 1 else "coefficients that depend on time"
        self._notes.append(
            f"The steps are long for {why}: terms may be missing, or stand in for the error of the step. Sample more "
            "finely, or use fewer candidates."
        )
        return self._record_fine(found, reason, "fine")

    def _at_fine_steps(self, fine: FineSearch) -> tuple[Selection, bool]:
        """The selection, and whether its expansion in dt holds at all."""
        smooth = self._drift.smooth and self._noise.smooth
        if not smooth:
            self._notes.append(
                "A candidate has no derivative, so that steps are taken as Euler's, right to first order in dt only."
            )
            return fine.euler(), True
        first = fine.euler()
        try:
            better = fine.second_order(first)
        except (NumericalError, np.linalg.LinAlgError):
            return first, False
        # A second order that explains less than the first is beyond the steps that it serves.
        return (better, better.value > first.value - _BREAKDOWN) if better.settled else (first, False)

    def _at_constant_noise(self, cause: Exception) -> Selection:
        """A start for one state whose squared noise, as Euler steps see it, vanishes at an observation.

        Raises:
            ConvergenceError: If the search could not go on from it.
        """
        constant = np.array([not e.free_symbols for e in self._noise.expressions])
        if self._data.dim == 1 and constant.any() and self._drift.autonomous and self._noise.autonomous:
            terms, options = self._noise.only(constant), self._options
            fine = FineSearch(options, self._steps, self._drift, terms, seed=self._seed, progress=self._progress)
            try:
                return fine.euler()
            except np.linalg.LinAlgError as again:
                cause = again
        raise ConvergenceError(
            "The best combination of the noise's candidates nearly vanishes at an observation, beyond rounding, so "
            "that nothing can be weighed there. The steps may be too long; use fewer candidates, such as "
            "SparseSDE(diffusion=Library.polynomial(0)) for constant noise."
        ) from cause

    def _at_coarse_steps(self, found: Selection) -> CoarseSelection:
        (noise,) = found.noise or (None,)
        if noise is None:  # a constant covariance of one state
            constant = found.step.noise.constant
            level = float(constant[0, 0]) if constant is not None else 1.0
            coefficients, present = np.array([level]), np.ones(1, dtype=bool)
            sizes, prices = np.array([level * math.sqrt(2.0 / len(self._pairs))]), np.zeros(1)
        elif len(noise.chosen) == len(self._noise):
            coefficients, present = noise.coefficients, noise.chosen
            sizes, prices = 1.0 / noise.quadratic.size, noise.quadratic.prices
        else:  # of all candidates only the constant has been looked at
            present = np.array([not e.free_symbols for e in self._noise.expressions])
            coefficients = np.where(present, noise.coefficients.sum(), 0.0)
            spread = np.sqrt((self._noise.value(0.0, self._pairs.x0).numpy() ** 2).mean(0))
            sizes = noise.coefficients.sum() * math.sqrt(2.0 / len(self._pairs)) / spread
            prices = self._options.prices(len(self._noise), len(self._pairs))
        run = CoarseSearch(
            self._pairs,
            self._drift,
            self._noise,
            np.concatenate([found.drift.prices, prices]),
            np.concatenate([1.0 / found.drift.size, sizes]),
            seed=self._seed,
            progress=self._progress,
        )
        start = np.concatenate([found.active, present])
        return run.run(start, np.concatenate([found.drift.coefficients(found.active), coefficients]))

    def _record_fine(self, found: Selection, reason: str, regime: Literal["fine", "coarse"]) -> SparseSearch:
        p, d = len(self._drift), self._data.dim
        constant = found.step.noise.constant
        empty = np.zeros((len(self._noise), d))
        chosen = Chosen(
            drift=found.drift.coefficients(found.active).reshape(d, p).T,
            active=found.active.reshape(d, p).T,
            noise=np.column_stack([c.coefficients for c in found.noise]) if found.noise else empty,
            present=np.column_stack([c.chosen for c in found.noise]) if found.noise else empty.astype(bool),
            covariance=None if constant is None else constant.numpy(),
        )
        formula = write_model(chosen, self._drift, self._noise, self._pairs.x0)
        names = [name for row in formula.drift_names for name in row]
        blocks = [Block(found.drift, found.active, self._labels("drift", range(d)), names)]
        for i, choice in enumerate(found.noise):
            labels = self._labels("squared noise", [i])
            blocks.append(
                Block(
                    choice.quadratic, choice.chosen, labels, self._noise_names(formula, i, choice.chosen), choice.rivals
                )
            )
        return self._record(formula, blocks, reason, regime, found.settled)

    def _record_coarse(self, found: CoarseSelection, reason: str) -> SparseSearch:
        noise = self._noise_names(found.formula, 0, found.chosen[len(self._drift) :])
        labels = [*self._labels("drift", [0]), *self._labels("squared noise", [0])]
        block = Block(found.quadratic, found.chosen, labels, [*found.formula.drift_names[0], *noise])
        return self._record(found.formula, [block], reason, "coarse", found.settled)

    def _labels(self, part: Part, states: Sequence[int]) -> list[tuple[str, Part, str]]:
        terms = self._drift if part == "drift" else self._noise
        return [(str(terms.state[i]), part, write_expression(e)) for i in states for e in terms.expressions]

    def _noise_names(self, formula: Formula, i: int, chosen: np.ndarray) -> list[str]:
        names = list(formula.noise_names[i])
        alone = np.flatnonzero(chosen)
        if len(alone) == 1:
            # Alone it is written g = s sqrt(psi), and its coefficient is the square of s.
            names[int(alone[0])] = "s**2" if self._data.dim == 1 else f"s_{self._noise.state[i]}**2"
        return names

    def _record(
        self,
        formula: Formula,
        blocks: Sequence["Block"],
        reason: str,
        regime: Literal["fine", "coarse"],
        settled: bool,
    ) -> SparseSearch:
        notes = [
            *self._notes,
            "Standard errors are those of the chosen model, as if it had been known: choosing it on the same data "
            "makes them optimistic, most of all for terms that were nearly dropped.",
        ]
        if not settled:
            notes.append(
                "The search did not come to rest: it went round between sets of terms of nearly the same merit."
            )
        if close := [text for block in blocks for text in block.close_calls()]:
            notes.append(f"Close calls, lost by less than {CLOSE:g} units of log-likelihood: {', '.join(close[:6])}.")
        return SparseSearch(
            model=formula.model,
            start=formula.start,
            method="auto",
            regime=regime,
            reason=reason,
            settings=repr(self._options),
            settled=settled,
            candidates=tuple(c for block in blocks for c in block.candidates()),
            notes=tuple(notes),
            seed=self._seed,
        )


def _check_place(pairs: Pairs, libraries: Sequence[Terms]) -> None:
    """Raises DataError naming a state so far from zero that its powers are as good as the same."""
    mean, spread = pairs.x0.mean(0).abs(), pairs.x0.std(0)
    for i, state in enumerate(libraries[0].state):
        curved = any(e.is_polynomial(state) and sympy.diff(e, state, 2) != 0 for t in libraries for e in t.expressions)
        if curved and float(mean[i]) > _FAR * float(spread[i]):
            raise DataError(
                f"{state} lies far from zero (mean {float(pairs.x0[:, i].mean()):.5g}, standard deviation "
                f"{float(spread[i]):.3g}), where its powers can hardly be told apart. Subtract a typical value, or "
                "take terms of degree one: SparseSDE(drift=Library.polynomial(1), diffusion=Library.polynomial(0))."
            )


def _check_states(pairs: Pairs, names: Sequence[str]) -> None:
    """Raises DataError naming states that move as one."""
    rates = ((pairs.x1 - pairs.x0) / pairs.dt.sqrt()[:, None]).numpy()
    size = np.sqrt((rates**2).mean(0))
    correlation = (rates / size).T @ (rates / size) / len(rates)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] <= _SAME:
        together = [name for name, v in zip(names, vectors[:, 0], strict=True) if abs(v) > 1e-3]
        raise DataError(
            f"The states {' and '.join(together)} move as one: the increments of each are a combination of the others' "
            "to rounding. Leave one of them out."
        )


__all__ = ["LARGEST_BIAS", "search"]
