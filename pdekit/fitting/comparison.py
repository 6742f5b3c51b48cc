"""Which of several fits predicts best: all fitted to the first part of the data and judged on the rest."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, PdekitError
from pdekit.fitting.estimation import fit
from pdekit.fitting.result import Fit
from pdekit.report import Table, render_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_FEWEST = 20
_SAME = 1e-6  # nats for each transition
_IMPOSSIBLE = "impossible steps"


@dataclass(frozen=True, eq=False)
class Entry:
    """One way of fitting.

    Attributes:
        name: What it was called.
        fit: Its fit to the first part of the data; None if that failed.
        held_out: Its log-density of every held-out transition, (n,); empty if the fit failed.
        problem: Why it failed, or an empty text.
    """

    name: str
    fit: Fit | None
    held_out: Tensor
    problem: str = ""

    @property
    def mean(self) -> float:
        """The mean log-density of a held-out transition, in nats; -inf where one was impossible or the fit failed."""
        return float(self.held_out.mean()) if len(self.held_out) else float("-inf")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Fits beside one another.

    Attributes:
        entries: In the order given.
        share: How much of the data was held out.
    """

    entries: tuple[Entry, ...]
    share: float

    @cached_property
    def best(self) -> Entry:
        """The one under which the held-out transitions are likeliest."""
        return max(self.entries, key=lambda entry: entry.mean)

    def behind(self, entry: Entry) -> tuple[float, float] | None:
        """How far an entry is behind the best, in nats for each held-out transition, and the standard error of that."""
        if not len(entry.held_out) or not bool(torch.isfinite(entry.held_out).all()):
            return None
        gap = self.best.held_out - entry.held_out
        return float(gap.mean()), float(gap.std() / len(gap) ** 0.5)

    def to_dataframe(self) -> "DataFrame":
        """One row for each: parameters, log-likelihood, criteria, held-out log-density, and how far behind the best."""
        import pandas as pd

        return pd.DataFrame([self._row(entry) for entry in self.entries]).set_index("model")

    def _row(self, entry: Entry) -> dict[str, Any]:
        found, behind = entry.fit, self.behind(entry)
        flags = () if found is None else found.flags
        return {
            "model": entry.name,
            "parameters": None if found is None else found.n_estimated,
            "loglik": None if found is None else found.loglik,
            "aic": None if found is None else found.aic,
            "bic": None if found is None else found.bic,
            "held_out": None if found is None else entry.mean,
            "behind": None if behind is None else behind[0],
            "behind_stderr": None if behind is None else behind[1],
            "warnings": "; ".join(f.title for f in flags if f.severity == "warning"),
            "serious": entry.problem or "; ".join(f.title for f in flags if f.severity == "serious"),
        }

    def table(self) -> Table:
        """The same as text, best first."""
        rows = []
        for entry in sorted(self.entries, key=lambda e: -e.mean):
            row, behind = self._row(entry), self.behind(entry)
            if entry is self.best:
                told = "best"
            elif behind is None:
                told = "failed" if entry.fit is None else _IMPOSSIBLE
            else:
                told = "same" if behind[0] < _SAME else f"{behind[0]:.2g} ± {behind[1]:.1g}"
            numbers = (_number(row["parameters"], ".3g"), _number(row["loglik"], ".2f"), _number(row["bic"], ".2f"))
            rows.append((entry.name, *numbers, _number(row["held_out"], ".4f"), told, _flags(entry)))
        count = len(self.best.held_out)
        note = (
            f"Fitted to the first {1 - self.share:.0%} of every path, judged on the last {self.share:.0%} ({count:,} "
            "transitions): the mean log-density of one, and how far behind the best, both in nats. A gap of less than "
            "two standard errors tells nothing."
        )
        routes = {e.name: re.split(r"[(:,]", e.fit.route)[0].strip() for e in self.entries if e.fit is not None}
        if len(set(routes.values())) > 1:
            told = "; ".join(f"{name}: {route}" for name, route in routes.items())
            note += f" Densities differ in how right they are at these steps: {told}."
        failed = [f"{e.name} failed: {e.problem}" for e in self.entries if e.fit is None]
        columns = ("Model", "Params", "Log-lik.", "BIC", "Held out", "Behind", "Flags")
        return Table("Comparison", columns, tuple(rows), " ".join((note, *failed)))

    def plot(self) -> "Figure":
        """How far each is behind the best, with two standard errors."""
        from pdekit.report import new_figure

        canvas, ax = new_figure()
        shown = [(e.name, self.behind(e)) for e in self.entries]
        known = [(name, gap) for name, gap in shown if gap is not None]
        places = range(len(known))
        ax.errorbar([g[0] for _, g in known], places, xerr=[2 * g[1] for _, g in known], fmt="o", capsize=3)
        ax.axvline(0.0, linewidth=0.8)
        ax.set_yticks(list(places), [name for name, _ in known])
        ax.set_xlabel("behind the best (nats per held-out transition, ± 2 standard errors)")
        return canvas

    def __repr__(self) -> str:
        return render_table(self.table())


def _flags(entry: Entry) -> str:
    if entry.fit is None:
        return ""
    counts = [(kind, sum(f.severity == kind for f in entry.fit.flags)) for kind in ("serious", "warning")]
    return ", ".join(f"{count} {kind}" for kind, count in counts if count) or "none"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def compare(
    models: Mapping[str, Any] | Sequence[Any],
    data: Trajectories,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Fits several models to the first part of the data and holds them against the rest.

    One that fails is listed with its reason and does not stop the others.

    Args:
        models: Whatever `fit` takes, by name; a sequence is named after what is in it.
        data: The trajectories.
        held_out: The share of every path, its end, that is kept for the judgement.
        seed: As in `fit`.
        progress: Called with (what is being done, a number) now and then.

    Raises:
        InputError: If there is nothing to compare, or the share is not between 0 and 1.
        DataError: If too few transitions would be left on either side.

    Example:
        >>> import pdekit as pk
        >>> data = pk.Trajectories.from_csv("examples/data/us_tbill.csv", time="date", columns=["rate"])
        >>> found = compare({"Vasicek": pk.models.vasicek(), "CIR": pk.models.cir()}, data)
        >>> sorted(entry.name for entry in found.entries)
        ['CIR', 'Vasicek']
    """
    if isinstance(models, str) or not isinstance(models, Mapping | Sequence):
        raise InputError(f"A comparison takes a list of models, or models by name, got {type(models).__name__}.")
    if not isinstance(data, Trajectories):
        raise InputError(
            f"A comparison holds out the ends of paths, so that it takes Trajectories, got {type(data).__name__}."
        )
    named = dict(models) if isinstance(models, Mapping) else _names(models)
    if len(named) < 2:
        raise InputError(f"A comparison takes two models at least, got {len(named)}.")
    if not 0.0 < held_out < 1.0:
        raise InputError(f"held_out must be a share between 0 and 1, got {held_out!r}.")
    first, rest = split(data, held_out)
    pairs = rest.pairs()
    entries = []
    for name, model in named.items():
        if progress:
            progress(name, 0.0)
        try:
            found = fit(model, first, seed=seed, progress=progress)
            entries.append(Entry(name, found, _held_out(found, pairs)))
        except PdekitError as error:
            entries.append(Entry(name, None, torch.zeros(0), f"{type(error).__name__}: {error}"))
    if all(entry.fit is None for entry in entries):
        raise InputError(f"None of the models could be fitted. {entries[0].name}: {entries[0].problem}")
    return Comparison(tuple(entries), held_out)


def split(data: Trajectories, share: float) -> tuple[Trajectories, Trajectories]:
    """The beginning of every path, and its end; the observation between belongs to both.

    Raises:
        DataError: If too little would be left on either side.
    """
    parts: tuple[list[tuple[Tensor, Tensor, str]], ...] = ([], [])
    for t, x, label in zip(data.times, data.values, data.ids, strict=True):
        cut = int(torch.searchsorted(t, t[0] + (1.0 - share) * (t[-1] - t[0])))
        for part, chosen in zip(parts, (slice(0, cut + 1), slice(cut, None)), strict=True):
            if len(t[chosen]) > 1:
                part.append((t[chosen], x[chosen], label))
    counts = [sum(len(t) - 1 for t, _, _ in part) for part in parts]
    if min(counts) < _FEWEST:
        raise DataError(
            f"Holding out {share:g} of every path leaves {counts[0]} transitions to fit and {counts[1]} to judge by; "
            f"{_FEWEST} are needed on either side. Change held_out, or take a longer record."
        )
    first, rest = (
        Trajectories(
            tuple(t for t, _, _ in part),
            tuple(x for _, x, _ in part),
            tuple(label for _, _, label in part),
            data.names,
            data.time_unit,
            data.origin,
            data.notes,
        )
        for part in parts
    )
    return first, rest


def _names(models: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for model in models:
        base = getattr(model, "name", None) or type(model).__name__
        name, number = base, 2
        while name in named:
            name, number = f"{base} ({number})", number + 1
        named[name] = model
    return named


def _held_out(found: Fit, pairs: Any) -> Tensor:
    with torch.no_grad():
        return found.estimate.density_of(pairs).log_density(found.theta)


__all__ = ["Comparison", "Entry", "compare", "split"]
