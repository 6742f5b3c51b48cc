"""Selection at any step in one state: by the Fokker-Planck likelihood.

A chosen model is fitted by maximum likelihood. There, the scores of all candidates, chosen or not, make the likelihood
quadratic about the estimate (the sum of their outer products is the information), and its best subset is fitted next,
until no other comes out. Close calls are decided by fitting both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pdekit.data import Pairs
from pdekit.errors import ConvergenceError, PdekitError
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.inference.maximum import Progress, maximise
from pdekit.fitting.sparse.model import Chosen, Formula, write_model
from pdekit.fitting.sparse.subsets import Admissible, Quadratic, best_subset, changes, flipped
from pdekit.fitting.sparse.terms import Terms
from pdekit.symbolic import SymbolicSDE

# At coarse steps a grid is cheap; the bridge of a noise of many terms would take SymPy minutes to derive.
_METHOD = "fokker-planck"
_MOST_ROUNDS = 8
# Differences of a twentieth of a standard error (of one coefficient alone) are small and far above rounding.
_DIFFERENCE = 0.05
# Subsets that are worse by no more than this are fitted too, this many of them.
_CLOSE, _MOST_CLOSE = 3.0, 3


@dataclass(frozen=True)
class CoarseSelection:
    """Terms that the Fokker-Planck likelihood chose.

    Attributes:
        formula: The model with the estimates.
        chosen: Which coefficients, (p + q,) bool, the drift's before the squared noise's.
        quadratic: The likelihood about them, in all candidates.
        value: Log-likelihood less prices.
        settled: Whether the same terms came out twice.
    """

    formula: Formula
    chosen: np.ndarray
    quadratic: Quadratic
    value: float
    settled: bool


@dataclass(frozen=True)
class _Fitted:
    formula: Formula
    coefficients: np.ndarray
    value: float


class CoarseSearch:
    """What stays the same from round to round.

    Args:
        pairs: The observations, of one state.
        drift: The drift's candidates.
        noise: The squared noise's candidates.
        prices: The price of each, (p + q,).
        sizes: A standard error of each, roughly, (p + q,).
        seed: Of the searches.
        progress: Called with (what is being done, value of the criterion).
    """

    def __init__(
        self,
        pairs: Pairs,
        drift: Terms,
        noise: Terms,
        prices: np.ndarray,
        sizes: np.ndarray,
        *,
        seed: int,
        progress: Progress,
    ) -> None:
        self._pairs, self._drift, self._noise = pairs, drift, noise
        self._prices, self._sizes, self._seed, self._progress = prices, sizes, seed, progress
        with torch.no_grad():
            self._psi = noise.value(0.0, pairs.x0).numpy()
        self._seen: dict[bytes, _Fitted | None] = {}

    def run(self, start: np.ndarray, coefficients: np.ndarray) -> CoarseSelection:
        """From a first choice (p + q,) bool with coefficients (p + q,).

        Raises:
            ConvergenceError: If no model could be fitted.
        """
        best: tuple[_Fitted, np.ndarray, Quadratic] | None = None
        chosen, settled = start, False
        for _ in range(_MOST_ROUNDS):
            fitted = self._fit(chosen, coefficients)
            if fitted is None or (best is not None and fitted.value <= best[0].value):
                break
            quadratic = self._quadratic(fitted, chosen)
            best = (fitted, chosen, quadratic)
            following = best_subset(quadratic, admissible=self._positive(quadratic), starts=[chosen], seed=self._seed)
            if following is None or (following == chosen).all():
                settled = True
                following = self._close_call(fitted, chosen, quadratic)
                if following is None:
                    break
            chosen, coefficients = following, quadratic.coefficients(following)
        if best is None:
            raise ConvergenceError(
                "The Fokker-Planck likelihood could not be maximised for any choice of terms. Use a smaller library, "
                "or sample more finely."
            )
        fitted, chosen, quadratic = best
        return CoarseSelection(fitted.formula, chosen, quadratic, fitted.value, settled)

    def _fit(self, chosen: np.ndarray, coefficients: np.ndarray) -> _Fitted | None:
        """The maximum of the likelihood of these terms; None if it has none that can be found."""
        key = chosen.tobytes()
        if key not in self._seen:
            self._seen[key] = self._maximise(chosen, coefficients)
        return self._seen[key]

    def _maximise(self, chosen: np.ndarray, coefficients: np.ndarray) -> _Fitted | None:
        formula = self._write(chosen, coefficients)
        for start in (formula.start, None):
            try:
                found = maximise(formula.model, self._pairs, method=_METHOD, start=start, seed=self._seed)
            except (PdekitError, np.linalg.LinAlgError):
                continue
            if not np.isfinite(found.loglik) or not found.minimum.converged:
                continue
            estimates = formula.model.named(found.theta)
            value = found.loglik - float(self._prices[chosen].sum())
            self._progress("sparse search", value)
            final = Formula(formula.model, estimates, formula.drift_names, formula.noise_names)
            return _Fitted(final, self._flat(chosen, coefficients, estimates, formula), value)
        return None

    def _write(self, chosen: np.ndarray, coefficients: np.ndarray, *, simplify: bool = True) -> Formula:
        p = len(self._drift)
        parts = Chosen(coefficients[:p, None], chosen[:p, None], coefficients[p:, None], chosen[p:, None])
        return write_model(parts, self._drift, self._noise, self._pairs.x0, simplify=simplify)

    def _flat(
        self, chosen: np.ndarray, before: np.ndarray, estimates: Mapping[str, float], formula: Formula
    ) -> np.ndarray:
        """The estimates as coefficients of the drift and the squared noise, (p + q,)."""
        names = [*formula.drift_names[0], *formula.noise_names[0]]
        out = np.array([estimates.get(name, 0.0) for name in names])
        alone = np.flatnonzero(chosen[len(self._drift) :])
        if len(alone) == 1:
            k = len(self._drift) + int(alone[0])
            out[k] = np.sign(before[k] or 1.0) * estimates["s"] ** 2
        return out

    def _quadratic(self, fitted: _Fitted, chosen: np.ndarray) -> Quadratic:
        everything = np.ones_like(chosen)
        full = self._write(everything, fitted.coefficients, simplify=False).model
        model = SymbolicSDE(
            full.state_names, full.drift, full.diffusion, dict.fromkeys(full.params), domain=fitted.formula.model.domain
        )
        theta = torch.from_numpy(fitted.coefficients)
        density = transition_density(model, self._pairs, theta, _METHOD)
        columns = []
        with torch.no_grad():
            for k, size in enumerate(self._sizes):
                ahead, behind = theta.clone(), theta.clone()
                ahead[k] += _DIFFERENCE * size
                behind[k] -= _DIFFERENCE * size
                difference = density.log_density(ahead) - density.log_density(behind)
                columns.append((difference / (2.0 * _DIFFERENCE * size)).numpy())
        scores = np.stack(columns, -1)
        return Quadratic.about(fitted.coefficients, scores.sum(0), scores.T @ scores, self._prices)

    def _positive(self, quadratic: Quadratic) -> Admissible:
        """Whether the squared noise of a subset is positive at all states."""
        p = len(self._drift)

        def admissible(chosen: np.ndarray) -> bool:
            return bool(chosen[p:].any()) and float((self._psi @ quadratic.coefficients(chosen)[p:]).min()) > 0.0

        return admissible

    def _close_call(self, fitted: _Fitted, chosen: np.ndarray, quadratic: Quadratic) -> np.ndarray | None:
        """A subset one change away whose own maximum is higher."""
        value, admissible = quadratic.value(chosen), self._positive(quadratic)
        near = []
        for change in changes(chosen):
            other = flipped(chosen, *change)
            if admissible(other) and (lost := value - quadratic.value(other)) < _CLOSE:
                near.append((lost, other))
        for _, other in sorted(near, key=lambda pair: pair[0])[:_MOST_CLOSE]:
            trial = self._fit(other, quadratic.coefficients(other))
            if trial is not None and trial.value > fitted.value:
                return other
        return None
