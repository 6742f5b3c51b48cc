"""The exact trace against Hutchinson's on the same hollow network: what training with each comes to."""

from functools import partial

import numpy as np
import torch

from benchmarks.flows import trained
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Exact trace against Hutchinson's, the same hollow network and time, judged exactly"
_SECONDS = 60.0  # of a training
_TOY = "2spirals"
_DRAWS = 20


def run(context: Context) -> list[Row]:
    """Held-out NLL, evaluations, and the scatter of the stochastic NLL."""
    seconds = 2.0 if context.quick else _SECONDS
    seeds = range(context.count(2, full=5))
    tasks = [{"seed": seed, "seconds": seconds, "trace": kind} for seed in seeds for kind in ("exact", "hutchinson")]
    outcomes = run_tasks(context, "flow_trace", partial(train_one), tasks)
    rows = []
    table = {
        kind: [o for t, o in zip(tasks, outcomes, strict=True) if t["trace"] == kind]
        for kind in ("exact", "hutchinson")
    }
    failed = [o["error"] for found in table.values() for o in found if "error" in o]
    if failed:
        return [Row(f"{_TOY}: held-out NLL", "failed", "nat", "runs", False, failed[0])]
    for kind, found in table.items():
        for key, metric, unit in (
            ("nll", "held-out NLL", "nat"),
            ("evaluations", "evaluations of a density", ""),
            ("scatter", "standard deviation of a stochastic log p", "nat"),
        ):
            values = [o[key] for o in found]
            told = (
                f"+- {np.std(values, ddof=1) / len(values) ** 0.5:.2g} (1 s.e. over seeds)"
                if len(values) > 1
                else "one seed"
            )
            rows.append(Row(f"{_TOY}, trained by {kind}: {metric}", float(np.mean(values)), unit, detail=told))
    gap = [h["nll"] - e["nll"] for e, h in zip(table["exact"], table["hutchinson"], strict=True)]
    told = f"{seconds:g} s each, {len(gap)} seeds, paired"
    if len(gap) > 1:
        told += f"; +- {np.std(gap, ddof=1) / len(gap) ** 0.5:.2g} (1 s.e. over seeds)"
    rows.append(Row(f"{_TOY}: what the exact trace gains", float(np.mean(gap)), "nat", detail=told))
    return rows


def train_one(task: Task) -> Outcome:
    """One training; then log p of some states by single random directions."""
    import pdekit as pk

    trace = pk.Exact() if task["trace"] == "exact" else pk.Hutchinson()
    flow, outcome = trained.ours(_TOY, task["seed"], task["seconds"], trace)
    x = trained.held_out(_TOY, task["seed"])[:200].double()
    with torch.no_grad():
        draws = torch.stack([flow.changed(trace=pk.Hutchinson(seed=k)).log_prob(x) for k in range(_DRAWS)])
    outcome["scatter"] = float(draws.var(0).mean().sqrt())
    return outcome
