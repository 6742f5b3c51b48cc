"""The stiff test set: errors at the end in units of the tolerance, and what they cost, beside SciPy."""

from typing import Any

from benchmarks.ode import runs
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks
from pdekit import ode
from verification.stiff import problem, stiff_set
from verification.stiff.problem import StiffProblem

TITLE = "The stiff set: max |err| / (atol + rtol |y|) at the end"
OURS, THEIRS = ("Kvaerno5", "RadauIIA5"), ("SciPy BDF", "SciPy Radau")
RTOLS, UNITS = (1e-4, 1e-6, 1e-8), 10.0
_IMPOSSIBLE = (  # runs that can't arrive: problem, method, most steps
    ("robertson", "Kvaerno5 Functional", 2000),
    ("ring_modulator", "Tsit5", 2000),
    ("van_der_pol", "AdamsBashforthMoulton Functional", 500),
    ("robertson", "TRBDF2 JacobiNewton", 30),
)


def run(context: Context) -> list[Row]:
    """One row per problem, tolerance and method of ours; SciPy with the exact Jacobian beside it."""
    names = ("prothero_robinson",) if context.quick else tuple(p.name for p in stiff_set())
    rtols = RTOLS[:1] if context.quick else RTOLS
    limit = None if context.full else runs.LIMIT
    tasks = [
        {"problem": name, "method": method, "rtols": rtols, "limit": limit}
        for name in names
        for method in (*OURS, *THEIRS)
    ]
    outcomes = run_tasks(context, "ode_stiff", measure, tasks)
    found = {(t["problem"], t["method"]): o for t, o in zip(tasks, outcomes, strict=True)}
    failing = [measure_impossible(*case) for case in (_IMPOSSIBLE[-1:] if context.quick else _IMPOSSIBLE)]
    rows = [_silent([o for key, o in found.items() if key[1] in OURS], failing)]
    for name in names:
        for i, rtol in enumerate(rtols):
            rows += [_row(name, rtol, method, _at(found[name, method], i), found, i) for method in OURS]
    return rows


def measure(task: Task) -> Outcome:
    """The outcomes of one method on one problem, from the loosest tolerance on, until one takes too long."""
    p, outcomes = problem(task["problem"]), []
    for rtol in task["rtols"]:
        outcomes.append(runs.integrate(p, task["method"], rtol, task["limit"]))
        if runs.took_too_long(outcomes[-1]):
            break
    return {"outcomes": outcomes}


def measure_impossible(name: str, method: str, most: int) -> Outcome:
    """A run that can't arrive: its status must say so."""
    return runs.integrate(problem(name), method, 1e-4, control=ode.StepControl(max_steps=most))


def _silent(found: list[Outcome], failing: list[Outcome]) -> Row:
    every = [o for one in found for o in one.get("outcomes", [])] + failing
    silent = sum(o["status"] == "success" and not o["finite"] for o in every)
    told = ", ".join(sorted({o["status"] for o in failing}))
    return at_most(
        "states that are not finite although the status says success",
        silent,
        0,
        detail=f"{len(every)} runs, {len(failing)} of them impossible on purpose, which end as {told}",
    )


def _at(found: Outcome, i: int) -> Outcome:
    if "error" in found:
        return {"status": found["error"]}
    outcomes: list[Outcome] = found["outcomes"]
    return outcomes[i] if i < len(outcomes) else outcomes[-1]  # the last one, if it took too long


def _row(name: str, rtol: float, method: str, ours: Outcome, found: dict[Any, Outcome], i: int) -> Row:
    metric = f"{name}, rtol {rtol:g}: {method}"
    peers = {peer: _at(found[name, peer], i) for peer in THEIRS}
    beside = [f"{peer} {_brief(outcome)}" for peer, outcome in peers.items()]
    if runs.took_too_long(ours):
        return skipped(metric, f"{ours['status']} (--full has no limit); {'; '.join(beside)}")
    if ours["status"] != "success":
        return Row(metric, "failed", "", "arrives", False, f"{ours['status']}; {'; '.join(beside)}")
    bdf = peers[THEIRS[0]]
    limit = max(UNITS, float(bdf["error"])) if bdf["status"] == "success" else UNITS
    known = "" if not _vague(problem(name), rtol) else "; SciPy and the reference differ by more than this tolerance"
    detail = f"{ours['equivalents']:,} f-equivalents: {runs.told(ours)}; {'; '.join(beside)}{known}"
    return at_most(metric, ours["error"], limit, "tolerances", detail)


def _vague(p: StiffProblem, rtol: float) -> bool:
    from verification.stiff.references import record

    return record(p.name)["error"] > rtol


def _brief(outcome: Outcome) -> str:
    if outcome["status"] != "success":
        return str(outcome["status"])
    return f"{outcome['error']:.3g} for {outcome['equivalents']:,}"
