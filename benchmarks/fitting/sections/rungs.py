"""Coverage of 95 % intervals by the other transition densities, with the same test as that of the default's."""

from functools import partial
from pathlib import Path

from benchmarks.criteria import FAMILY_LEVEL, NOMINAL, rejects
from benchmarks.fitting import samples, subject
from benchmarks.fitting.truth import cir, double_well, ornstein_uhlenbeck
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Coverage of 95 % intervals by Kessler, Shoji-Ozaki and Ait-Sahalia, dt .01, 20,000 steps"
METHODS = ("kessler", "shoji-ozaki", "ait-sahalia")
_PROCESSES = {"ou": ornstein_uhlenbeck, "cir": cir, "double_well": double_well}
_DT, _N = 0.01, 20_000


def run(context: Context) -> list[Row]:
    """One row for each density, process and parameter."""
    seeds = context.count(10, full=60)
    samples.prepare(double_well(), _DT, _N, seeds, context.cache)
    cells = [(method, name) for method in METHODS for name in _PROCESSES]
    tasks = [{"method": method, "process": name, "seed": seed} for seed in range(seeds) for method, name in cells]
    outcomes = run_tasks(context, "rungs", partial(fit_seed, cache=context.cache), tasks)
    family = sum(len(make().params) for make in _PROCESSES.values()) * len(METHODS)
    rows = []
    for method, name in cells:
        mine = [
            o for task, o in zip(tasks, outcomes, strict=True) if (task["method"], task["process"]) == (method, name)
        ]
        rows += _coverage(method, name, mine, family)
    return rows


def fit_seed(task: Task, cache: Path) -> Outcome:
    """One fit with Wald intervals."""
    process = _PROCESSES[task["process"]]()
    x = samples.path(process, _DT, _N, task["seed"], cache)
    return subject.fit_series(process, _DT, x, route=task["method"], intervals=("wald",))


def _coverage(method: str, name: str, outcomes: list[Outcome], family: int) -> list[Row]:
    rows, failed = [], [outcome["error"] for outcome in outcomes if "error" in outcome]
    for parameter, true in _PROCESSES[name]().truth.items():
        hits = sum(_covers(outcome, parameter, true) for outcome in outcomes)
        detail = f"{hits} of {len(outcomes)}{'; failed: ' + failed[0] if failed else ''}"
        target = f"{NOMINAL:.0%} not rejected at {FAMILY_LEVEL:g} / {family}"
        reached = not rejects(hits, len(outcomes), family)
        metric = f"{method}, {name}: interval of {parameter}"
        rows.append(Row(metric, 100 * hits / len(outcomes), "%", target, reached, detail))
    return rows


def _covers(outcome: Outcome, parameter: str, true: float) -> bool:
    ends = None if "error" in outcome else outcome["wald"][parameter]
    return ends is not None and (ends[0] is None or ends[0] <= true) and (ends[1] is None or true <= ends[1])
