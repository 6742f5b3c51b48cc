"""Which setting reaches an error with the fewest evaluations: ours, and CVODE with each of its linear solvers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ode import peers, runs
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks
from verification.stiff import problem

RTOLS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)  # from loose to tight; the first that suffices counts
_CVODE = "CVODE BDF, "


@dataclass(frozen=True)
class Entry:
    """One problem.

    Args:
        problem: Of the stiff set.
        settings: Methods with their solvers, as `runs.method` reads them.
        error: What must be reached, as `StiffProblem.error` measures it.
        most: The target for the best one's f-equivalents; None for none.
    """

    problem: str
    settings: Sequence[str]
    error: float
    most: int | None


def race(store: str, entries: Sequence[Entry], context: Context) -> list[Row]:
    """For each problem the best setting, then every one, and CVODE."""
    has_cvode = peers.package("sksundae") is not None
    theirs = [_CVODE + linear for linear in (peers.LINEAR[:1] if context.quick else peers.LINEAR) if has_cvode]
    rtols = (1e-4, 3e-6) if context.quick else RTOLS
    limit = None if context.full else runs.LIMIT
    tasks = [
        {"problem": entry.problem, "setting": setting, "error": entry.error, "rtols": rtols, "limit": limit}
        for entry in entries
        for setting in (*entry.settings, *theirs)
    ]
    outcomes = run_tasks(context, store, measure, tasks)
    found = {(t["problem"], t["setting"]): o for t, o in zip(tasks, outcomes, strict=True)}
    rows = []
    for entry in entries:
        ours = {setting: found[entry.problem, setting] for setting in entry.settings}
        rows.append(_best(entry, ours))
        rows += [_row(entry, setting, o) for setting, o in ours.items()]
        rows += [_row(entry, setting, found[entry.problem, setting]) for setting in theirs]
        if not has_cvode:
            rows.append(skipped(f"{entry.problem}: CVODE", peers.missing("scikit-sundae")))
    return rows


def measure(task: Task) -> Outcome:
    """The outcomes of one setting, at tighter and tighter tolerances until it is accurate enough."""
    p, setting, limit = problem(task["problem"]), task["setting"], task["limit"]

    def once(rtol: float) -> Outcome:
        if setting.startswith(_CVODE):
            return peers.cvode(p, setting.removeprefix(_CVODE), rtol, limit)
        return runs.integrate(p, setting, rtol, limit)

    return {"outcomes": runs.until(task["error"], task["rtols"], once)}


def _best(entry: Entry, ours: dict[str, Outcome]) -> Row:
    reached = {s: best for s, o in ours.items() if (best := runs.cheapest(o.get("outcomes", []), entry.error))}
    name = min(reached, key=lambda s: reached[s]["equivalents"], default=None)
    metric = f"{entry.problem}: the best of {len(ours)} settings"
    if name is None:
        return Row(metric, "failed", "", "one arrives", False, "none of them reaches the error")
    best: dict[str, Any] = reached[name]
    detail = f"{name}: {_told(best)}"
    if entry.most is None:
        return Row(metric, best["equivalents"], "f-equivalents", detail=detail)
    return at_most(metric, best["equivalents"], entry.most, "f-equivalents", detail)


def _row(entry: Entry, setting: str, found: Outcome) -> Row:
    metric = f"{entry.problem}: {setting}"
    outcomes = found.get("outcomes", [])
    best = runs.cheapest(outcomes, entry.error)
    if "error" in found and not setting.startswith(_CVODE):
        return Row(metric, "failed", "", "runs", False, found["error"])
    if best is None:
        why = found.get("error") or "; ".join(
            f"rtol {o['rtol']:g}: {o['status']}, error {o['error'] * o['rtol']:.1e}" for o in outcomes
        )
        return Row(metric, "does not reach it", detail=why)
    return Row(metric, best["equivalents"], "f-equivalents", detail=_told(best))


def _told(outcome: Outcome) -> str:
    return f"rtol {outcome['rtol']:g}, error {outcome['error'] * outcome['rtol']:.1e}; {runs.told(outcome)}"


__all__ = ["RTOLS", "Entry", "race"]
