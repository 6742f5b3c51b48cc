"""How often a sparse search finds exactly the terms that the data were made with."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fitting import learners, samples, systems
from benchmarks.fitting.sections import peers
from benchmarks.fitting.truth import cir, double_well
from benchmarks.results import Row, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Sparse discovery: exact support of drift and noise, default candidates"
_WELL = {"drift": [["x", "x**3"]], "noise": [["1"]]}
_TRUE = {
    "double well": _WELL,
    "double well, coarse": _WELL,
    "CIR": {"drift": [["1", "x"]], "noise": [["x"]]},
    "Lorenz-63": {"drift": [["x", "y"], ["x", "x*z", "y"], ["x*y", "z"]], "noise": [["1"]] * 3},
}
# system: dt, observations, share of seeds wanted
_CASES = {
    "double well": (0.01, 100_000, 0.95),
    "CIR": (0.01, 100_000, 0.95),
    "Lorenz-63": (0.01, 2000, 0.95),
    "double well, coarse": (0.5, 5000, 0.90),
}


def run(context: Context) -> list[Row]:
    """Counts over seeds, and what was found instead."""
    rows, count = [], context.count(5, full=100)
    for name, (dt, n, wanted) in _CASES.items():
        if name.startswith("double well"):
            samples.prepare(double_well(), dt, n, count, context.cache)
        tasks = [{"system": name, "seed": seed} for seed in range(count)]
        store = f"sparse_{name.split(',')[0].replace(' ', '_')}_dt{dt:g}"
        outcomes = run_tasks(context, store, partial(search_seed, cache=context.cache), tasks)
        rows.append(_count(name, outcomes, wanted))
    return rows + _sindy(context)


def _sindy(context: Context) -> list[Row]:
    """Lorenz-63 by pysindy, which looks for drifts only."""
    version = peers.installed_version(context.peers_python, "pysindy")
    label = "Lorenz-63: exact support of the drift, pysindy"
    if version is None:
        return [skipped(label, f"pysindy is not installed in {context.peers_python}")]
    dt, n, _ = _CASES["Lorenz-63"]
    store, found = context.store("sparse_pysindy"), []
    for seed in range(context.count(5, full=20)):
        outcome = store.get({"seed": seed})
        if outcome is None:
            x = systems.path(systems.lorenz(), dt, n, seed)
            outcome = peers.run_worker("pysindy", dt, x, context.peers_python)
            store.put({"seed": seed}, outcome)
        found.append(outcome)
    true = [["x0", "x1"], ["x0", "x0 x2", "x1"], ["x0 x1", "x2"]]
    rows = []
    for threshold in found[0]:
        exact = sum([sorted(terms) for terms in outcome.get(threshold, [])] == true for outcome in found)
        told = f"{exact} of {len(found)}, version {version}, threshold {threshold}"
        rows.append(Row(label, 100 * exact / len(found), "%", detail=told))
    return rows


def search_seed(task: Task, cache: Path) -> Outcome:
    """One search with default options."""
    import pdekit as pk

    name, seed = task["system"], task["seed"]
    dt, n, _ = _CASES[name]
    if name == "Lorenz-63":
        system = systems.lorenz()
        return learners.found_terms(pk.SparseSDE(), dt, systems.path(system, dt, n, seed), system.states)
    process = cir() if name == "CIR" else double_well()
    return learners.found_terms(pk.SparseSDE(), dt, samples.path(process, dt, n, seed, cache), ("x",))


def _count(name: str, outcomes: list[Outcome], wanted: float) -> Row:
    true = _TRUE[name]
    exact = [all(outcome.get(part) == true[part] for part in true) for outcome in outcomes]
    dt, n, _ = _CASES[name]
    others = [outcome.get("error") or f"{outcome['drift']} {outcome['noise']}" for outcome in outcomes]
    wrong = [f"seed {k}: {text}" for k, (hit, text) in enumerate(zip(exact, others, strict=True)) if not hit]
    seconds = np.median([outcome["seconds"] for outcome in outcomes if "seconds" in outcome] or [np.nan])
    detail = f"{sum(exact)} of {len(exact)}, dt {dt:g}, n {n:,}; {seconds:.1f} s; {'; '.join(wrong[:4])}".rstrip("; ")
    share = sum(exact) / len(exact)
    return Row(f"{name}: exact support", 100 * share, "%", f">= {100 * wanted:g}", bool(share >= wanted), detail)
