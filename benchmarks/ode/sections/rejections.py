"""How many of Kvaerno5's steps are made in vain, beside the same tableau in diffrax."""

from benchmarks.ode import peers, runs
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks
from verification.stiff import problem, stiff_set

TITLE = "Steps of Kvaerno5 rejected or unsolved, rtol 1e-4"
RTOL, SHARE = 1e-4, 15.0
SMALL = ("prothero_robinson", "van_der_pol", "oregonator", "robertson", "e5", "hires", "pollution")


def run(context: Context) -> list[Row]:
    """The share over the whole set, and problem by problem."""
    names = SMALL[:1] if context.quick else tuple(p.name for p in stiff_set())
    limit = None if context.full else runs.LIMIT
    tasks = [{"problem": name, "limit": limit} for name in names]
    outcomes = dict(zip(names, run_tasks(context, "ode_rejections", measure, tasks), strict=True))
    arrived = {name: o for name, o in outcomes.items() if o.get("status") == "success"}
    left = [f"{name} {_ended(o)}" for name, o in outcomes.items() if name not in arrived]
    if peers.package("diffrax") is None:
        theirs = {}
    else:
        theirs = {name: found for name in SMALL if name in names and (found := _diffrax(name))}
    rows = [
        at_most(
            f"share of all attempts, {len(arrived)} problems",
            _share(list(arrived.values())),
            SHARE,
            "%",
            f"without {', '.join(left)}" if left else "the whole set",
        ),
        *(_beside(arrived, theirs) if theirs else [skipped("diffrax Kvaerno5", peers.missing("diffrax"))]),
    ]
    for name, o in outcomes.items():
        if name not in arrived:
            missed = not runs.took_too_long(o)
            rows.append(Row(name, "failed", "", "arrives", False, _ended(o)) if missed else skipped(name, _ended(o)))
            continue
        beside = f"; diffrax {_told(theirs[name])}" if name in theirs else ""
        rows.append(Row(name, _share([o]), "%", detail=f"{_told(o)}{beside}"))
    return rows


def measure(task: Task) -> Outcome:
    """One problem by Kvaerno5."""
    return runs.integrate(problem(task["problem"]), "Kvaerno5", RTOL, task["limit"])


def _ended(o: Outcome) -> str:
    return str(o["status"] if "status" in o else o["error"])


def _diffrax(name: str) -> Outcome | None:
    return peers.diffrax_counts(problem(name), RTOL)


def _beside(ours: dict[str, Outcome], theirs: dict[str, Outcome]) -> list[Row]:
    both = [name for name in theirs if name in ours]
    told = f"{len(both)} small problems: {', '.join(both)}"
    return [
        Row("share on the small problems", _share([ours[name] for name in both]), "%", detail=told),
        Row("share on the small problems, diffrax", _share([theirs[name] for name in both]), "%", detail=told),
    ]


def _share(outcomes: list[Outcome]) -> float:
    vain = sum(o["rejected"] + o.get("unsolved", 0) for o in outcomes)
    attempts = vain + sum(o["accepted"] for o in outcomes)
    return 100 * vain / attempts if attempts else float("nan")


def _told(o: Outcome) -> str:
    unsolved = f", {o['unsolved']} unsolved" if "unsolved" in o else ""
    return f"{o['accepted']} accepted, {o['rejected']} rejected{unsolved}, error {o['error']:.2g} tolerances"
