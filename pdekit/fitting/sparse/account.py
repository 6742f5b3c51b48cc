"""How every candidate fared, drawn from the likelihood that judged it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pdekit.fitting.sparse.result import Candidate, Part
from pdekit.fitting.sparse.subsets import Quadratic, changes, flipped, order_of_entry

# Models this much worse, in log-likelihood, are worth naming.
CLOSE = 3.0


class Block(NamedTuple):
    """Candidates that were judged by one likelihood."""

    quadratic: Quadratic
    chosen: np.ndarray
    labels: Sequence[tuple[str, Part, str]]
    names: Sequence[str]
    exact: Mapping[tuple[int, ...], float] = {}  # what changes of the chosen do, where they were fitted

    def close_calls(self) -> list[str]:
        """The models one change away that are nearly as good, in words."""
        best = self.quadratic.value(self.chosen)
        found: list[tuple[float, str]] = []
        for change in changes(self.chosen):
            lost = best - self.quadratic.value(flipped(self.chosen, *change))
            if (lost := -self.exact.get(change, -lost)) < CLOSE:
                terms = [self.labels[k][2] for k in change]
                state, part, _ = self.labels[change[0]]
                words = f"{terms[-1]} in place of {terms[0]}" if len(change) == 2 else terms[0]
                verb = "" if len(change) == 2 else "without " if self.chosen[change[0]] else "with "
                found.append((lost, f"{verb}{words} in the {part} of {state} ({lost:.1f})"))
        return [text for _, text in sorted(found)]

    def candidates(self) -> list[Candidate]:
        """How each fared."""
        quadratic, chosen = self.quadratic, self.chosen
        inside, errors = quadratic.coefficients(chosen), quadratic.stderr(chosen)
        added, gains = quadratic.adding(chosen)
        lost = quadratic.dropping(chosen)
        order, value, entered = order_of_entry(quadratic, chosen), {}, np.zeros(len(chosen), dtype=bool)
        for k in order:
            entered[k] = True
            value[k] = quadratic.value(entered)
        out = []
        for k, ((state, part, term), name) in enumerate(zip(self.labels, self.names, strict=True)):
            estimate = inside[k] if chosen[k] else added[k]
            z = math.sqrt(2.0 * gains[k])
            stderr = errors[k] if chosen[k] else abs(added[k]) / z if z > 0 else math.nan
            change = quadratic.prices[k] - lost[k] if chosen[k] else gains[k] - quadratic.prices[k]
            fitted = self.exact.get((k,), -math.inf)
            change = fitted if math.isfinite(fitted) else change
            rank = order.index(k) + 1
            out.append(
                Candidate(
                    *(state, part, term, name),
                    *(float(estimate), float(stderr), bool(chosen[k]), float(change), rank, float(value[k])),
                )
            )
        return out
