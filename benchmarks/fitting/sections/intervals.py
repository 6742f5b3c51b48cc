"""Whether 95 % intervals, Wald and profile apart, cover the truth as often; whether short records are flagged."""

from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.criteria import FAMILY_LEVEL, NOMINAL, rejects
from benchmarks.fitting import samples, subject
from benchmarks.fitting.truth import cir, double_well, ornstein_uhlenbeck
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Coverage of 95 % intervals"
PROCESSES = {"ou": ornstein_uhlenbeck, "cir": cir, "double_well": double_well}
KINDS: tuple[Literal["wald", "profile"], ...] = ("wald", "profile")
_SAMPLING = ((0.01, 100_000), (0.1, 5000), (0.5, 5000))  # dt, n
# n and whether the flag must come: 25 relaxation times (those within a well for the double well), where normal
# intervals are known to cover too little, must be flagged; OU at 50 is on the edge; the long records should not be.
_SHORT_DT = 0.1
_SHORT = (("ou", 250, True), ("cir", 83, True), ("double_well", 125, True), ("ou", 500, None))
_LONG = tuple((name, 5000, None) for name in PROCESSES)
_SHORT_SEEDS = 10


def run(context: Context) -> list[Row]:
    """Coverage per process, step, parameter and kind of interval, then the flags of short records."""
    seeds = context.count(60, full=400)
    cells = [(name, dt, n) for name in PROCESSES for dt, n in _SAMPLING]
    for name, dt, n in cells:
        samples.prepare(PROCESSES[name](), dt, n, seeds, context.cache)
    tasks = [
        _task(cell, seed) for seed in range(seeds) for cell in cells
    ]  # every cell advances: a stopped run is usable
    outcomes = run_tasks(context, "intervals", partial(fit_seed, cache=context.cache), tasks)
    rows = []
    family = sum(len(PROCESSES[name]().params) for name, _, _ in cells)
    for cell in cells:
        mine = [outcome for task, outcome in zip(tasks, outcomes, strict=True) if task == _task(cell, task["seed"])]
        rows += _coverage(cell, mine, family)
    return rows + _short_records(context)


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One fit with both kinds of intervals."""
    process = PROCESSES[task["process"]]()
    x = samples.path(process, task["dt"], task["n"], task["seed"], cache)
    return subject.fit_series(process, task["dt"], x, intervals=KINDS)


def flag_seed(task: Task, cache: Path) -> Outcome:
    """Whether a fit to the first n + 1 observations raises the short-record flag."""
    process = PROCESSES[task["process"]]()
    x = samples.path(process, task["dt"], 5000, task["seed"], cache)[: task["n"] + 1]
    return {"short": subject.says_short_record(subject.fit_series(process, task["dt"], x, flags=True))}


def _task(cell: tuple[str, float, int], seed: int) -> Task:
    name, dt, n = cell
    return {"process": name, "dt": dt, "n": n, "seed": seed}


def _coverage(cell: tuple[str, float, int], outcomes: list[Outcome], family: int) -> list[Row]:
    name, dt, n = cell
    truth, rows = PROCESSES[name]().truth, []
    failed = sum("error" in outcome or not outcome["converged"] for outcome in outcomes)
    first = _first_error(outcomes)
    for kind in KINDS:
        for parameter, true in truth.items():
            hits = sum("error" not in outcome and _covers(outcome[kind][parameter], true) for outcome in outcomes)
            detail = f"{hits} of {len(outcomes)}; {failed} fits failed. {first}".strip()
            target = f"{NOMINAL:.0%} not rejected at {FAMILY_LEVEL:g} / {family}"
            reached = not rejects(hits, len(outcomes), family)
            metric = f"{name} dt {dt:g}, n {n}: {kind} interval of {parameter}"
            rows.append(Row(metric, 100 * hits / len(outcomes), "%", target, reached, detail))
    return rows


def _covers(interval: list[float | None] | None, true: float) -> bool:
    """A missing end of an interval is open; a missing interval covers nothing."""
    if interval is None:
        return False
    lower, upper = interval
    return (lower is None or lower <= true) and (upper is None or true <= upper)


def _short_records(context: Context) -> list[Row]:
    count, rows = context.count(_SHORT_SEEDS), []
    cells = [((name, _SHORT_DT, n), wanted) for name, n, wanted in (*_SHORT, *_LONG)]
    samples.prepare(double_well(), _SHORT_DT, 5000, count, context.cache)
    tasks = [_task(cell, seed) for cell, _ in cells for seed in range(count)]
    outcomes = run_tasks(context, "short_records", partial(flag_seed, cache=context.cache), tasks)
    for i, ((name, dt, n), wanted) in enumerate(cells):
        mine = outcomes[i * count : (i + 1) * count]
        raised = sum(bool(outcome.get("short")) for outcome in mine)
        detail = f"{raised} of {count}. {_first_error(mine)}".strip()
        target, reached = ("always", raised == count) if wanted else ("", None)
        rows.append(
            Row(f"{name} dt {dt:g}, n {n}: short-record flag", 100 * raised / count, "%", target, reached, detail)
        )
    return rows


def _first_error(outcomes: list[Outcome]) -> str:
    return next((outcome["error"] for outcome in outcomes if "error" in outcome), "")
