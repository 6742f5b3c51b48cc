"""What a sparse search found, and how every candidate fared."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pdekit.errors import InputError
from pdekit.report import Table
from pdekit.symbolic import SymbolicSDE

Part = Literal["drift", "squared noise"]


@dataclass(frozen=True)
class Candidate:
    """One candidate term of one equation.

    Attributes:
        state: Whose equation.
        part: "drift" or "squared noise".
        term: The term.
        name: Its coefficient in the model; of a candidate that was dropped, what it would be called.
        estimate: The coefficient: in the chosen model, or if it were added to it.
        stderr: Its standard error there.
        kept: Whether it is in the model.
        change: What adding it, or dropping it, would change the criterion by; negative where that makes it worse.
        order: When it enters if each time the most profitable candidate does, the chosen ones first; from 1.
        criterion: The criterion after it has entered, relative to the first model in that order.
    """

    state: str
    part: Part
    term: str
    name: str
    estimate: float
    stderr: float
    kept: bool
    change: float
    order: int
    criterion: float

    @property
    def z(self) -> float:
        """The coefficient in standard errors."""
        return self.estimate / self.stderr if self.stderr > 0 else math.nan


@dataclass(frozen=True)
class SparseSearch:
    """The chosen model and the record of the search.

    Attributes:
        model: The SDE of the chosen terms, whose coefficients are its parameters.
        start: The search's own estimates of them, to start a likelihood fit from.
        method: The transition density that suits the model, as `pk.fit` takes it.
        regime: "fine", selected on mean and covariance of the steps, or "coarse", on the Fokker-Planck likelihood.
        reason: Why, in a sentence.
        settings: The options, as text.
        settled: Whether the search came to rest.
        candidates: All candidates.
        notes: What to know before using the model, in sentences.
        seed: Of the search.
    """

    model: SymbolicSDE
    start: dict[str, float]
    method: Literal["auto", "euler"]
    regime: Literal["fine", "coarse"]
    reason: str
    settings: str
    settled: bool
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    seed: int

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """The terms in the model."""
        return tuple(c for c in self.candidates if c.kept)

    @property
    def dropped(self) -> tuple[Candidate, ...]:
        """The terms left out."""
        return tuple(c for c in self.candidates if not c.kept)

    def table(self, *, most: int = 40) -> Table:
        """Every candidate: coefficient, standard error, z, verdict, and what the other verdict would cost.

        Args:
            most: How many rows at most; the dropped candidates that came nearest to being kept are shown first.
        """
        nearest = sorted(self.dropped, key=lambda c: -c.change)[: max(0, most - len(self.kept))]
        shown = [c for c in self.candidates if c.kept or c in nearest]
        left = len(self.candidates) - len(shown)
        columns = ("", "of", "Term", "Estimate", "Std. error", "z", "Verdict", "If not", "Entered", "Criterion")
        rows = tuple(
            (
                c.name,
                f"{'drift' if c.part == 'drift' else 'noise'} of {c.state}",
                c.term,
                f"{c.estimate:.4g}",
                f"{c.stderr:.2g}",
                f"{c.z:.1f}",
                "kept" if c.kept else "dropped",
                f"{c.change:+.1f}",
                str(c.order),
                f"{c.criterion:+.1f}",
            )
            for c in sorted(shown, key=lambda c: not c.kept)
        )
        note = (
            '"If not" is what the other verdict would change the criterion by (log-likelihood less the price of the '
            "terms). Terms of the noise make up its square. The criterion is that of the terms entered so far, from "
            "nothing."
        )
        more = f" {left} more were dropped by a wider margin." if left else ""
        return Table("Candidate terms", columns, rows, note + more)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that `json.dumps` accepts."""
        candidates = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(c).items()}
            for c in self.candidates
        ]
        plain = {n: getattr(self, n) for n in ("method", "regime", "reason", "settings", "settled", "seed")}
        return {
            **plain,
            "model": self.model.to_dict(),
            "start": dict(self.start),
            "candidates": candidates,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "SparseSearch":
        """The search that `to_dict` wrote.

        Raises:
            InputError: If the record is incomplete or damaged.
        """
        try:
            numbers: list[dict[str, Any]] = [
                {k: math.nan if v is None else v for k, v in c.items()} for c in record["candidates"]
            ]
            return cls(
                model=SymbolicSDE.from_dict(record["model"]),
                start={str(k): float(v) for k, v in record["start"].items()},
                candidates=tuple(Candidate(**c) for c in numbers),
                notes=tuple(map(str, record["notes"])),
                **{n: record[n] for n in ("method", "regime", "reason", "settings", "settled", "seed")},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            raise InputError(f"The record of a sparse search is incomplete or damaged ({cause}).") from cause

    def __repr__(self) -> str:
        head = f"SparseSearch({len(self.kept)} of {len(self.candidates)} candidate terms, {self.regime} steps)"
        return "\n".join(
            [head, f"  {self.model!r}", *(f"  {c.name} = {c.estimate:.4g} +- {c.stderr:.2g}" for c in self.kept)]
        )
