"""Autoencoders of 8 x 8 digits with six posteriors: five folds, equal time, equal tuning, paired differences."""

from functools import partial

import numpy as np

from benchmarks.flows.folds import FOLDS, chosen, folds, paired, tuning
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Digits of 8 x 8 pixels: autoencoders with six posteriors, five folds, equal time and tuning"
RATES = (1e-3, 3e-3)
_SECONDS = (20.0, 60.0)  # of a training, by default and under --full; half of it for a rate that is tried
_STEPS = 1000  # of another training under --full, the same for all
_SAMPLES = 500
_REFERENCE = "none"


def run(context: Context) -> list[Row]:
    """The bound and the likelihood of each posterior, and its gain over none, paired by images."""
    from pdekit.flows import POSTERIORS

    seconds = 1.0 if context.quick else _SECONDS[context.full]
    function = partial(train_one, samples=5 if context.quick else _SAMPLES)
    tried = [
        {"posterior": kind, "fold": -1, "rate": rate, "seconds": seconds / 2} for kind in POSTERIORS for rate in RATES
    ]
    rates = chosen(POSTERIORS, RATES, run_tasks(context, "flow_digits_rates", function, tried), "nll")
    count = 1 if context.quick else FOLDS
    # Posteriors follow one another within a fold, so that what else the machine does meets all of them.
    tasks = [
        {"posterior": kind, "fold": fold, "rate": rates[kind], "seconds": seconds}
        for fold in range(count)
        for kind in POSTERIORS
    ]
    rows = _compared(tasks, run_tasks(context, "flow_digits", function, tasks), f"{seconds:g} s", "")
    if context.full:
        steps = 20 if context.quick else _STEPS
        equal = [task | {"seconds": None, "steps": steps} for task in tasks]
        rows += _compared(equal, run_tasks(context, "flow_digits_steps", function, equal), "", f", {steps} steps")
    return rows


def _compared(tasks: list[Task], outcomes: list[Outcome], time: str, name: str) -> list[Row]:
    rows, found = [], {}
    for task, outcome in zip(tasks, outcomes, strict=True):
        found.setdefault(task["posterior"], []).append(outcome | {"rate": task["rate"]})
    for kind, mine in found.items():
        failed = [o["error"] for o in mine + found[_REFERENCE] if "error" in o]
        if failed:
            rows.append(Row(f"{kind}{name}: NLL", "failed", "nat", "runs", False, failed[0]))
            continue
        rows += _summarise(f"{kind}{name}", mine, found[_REFERENCE] if kind != _REFERENCE else None, time)
    return rows


def train_one(task: Task, samples: int) -> Outcome:
    """One training and its judgement; fold -1 is the split that rates are chosen by."""
    import pdekit as pk
    from pdekit.flows import digits, fit_vae, vae_with

    d = digits()
    kept, out = tuning(len(d.images)) if task["fold"] < 0 else folds(len(d.images))[task["fold"]]
    vae = vae_with(task["posterior"], d.shape, seed=max(task["fold"], 0))
    training = pk.Training(steps=task.get("steps", 10**6), batch=128, rate=task["rate"], seconds=task["seconds"])
    fit = fit_vae(
        vae,
        d.images[kept],
        training,
        held_out=d.images[out],
        samples=max(5, samples // 10) if task["fold"] < 0 else samples,
        seed=max(task["fold"], 0),
    )
    return {
        "nll": fit.nll,
        "elbo": fit.elbo,
        "surprises": [round(float(v), 4) for v in fit.surprises],
        "evaluations": fit.evaluations if np.isfinite(fit.evaluations) else 0.0,
        "off": fit.reconstruction_error if np.isfinite(fit.reconstruction_error) else 0.0,
        "steps": int(fit.history.steps[-1]) if len(fit.history.steps) else 0,
        "seconds": fit.history.seconds,
        "parameters": sum(p.numel() for p in vae.parameters()),
    }


def _summarise(name: str, mine: list[Outcome], base: list[Outcome] | None, time: str) -> list[Row]:
    def mean(key: str) -> float:
        return float(np.mean([o[key] for o in mine]))

    told = (
        f"{time or format(mean('seconds'), '.0f') + ' s'}, {mean('steps'):.0f} steps at rate {mine[0]['rate']:g}; "
        f"{mine[0]['parameters']:,} parameters; {len(mine)} folds; {_SAMPLES} samples"
    )
    if mean("evaluations"):
        told += f"; {mean('evaluations'):.0f} evaluations a state, there and back off by {mean('off'):.1g}"
    rows = [Row(f"{name}: NLL", mean("nll"), "nat", detail=told), Row(f"{name}: ELBO", mean("elbo"), "nat")]
    if base is not None:
        mine_all, base_all = ([o["surprises"] for o in found] for found in (mine, base))
        gap = float(np.mean(np.concatenate(mine_all)) - np.mean(np.concatenate(base_all)))
        told = f"{paired(mine_all, base_all)}, paired"
        rows.append(Row(f"{name}: NLL less that without a flow", gap, "nat", detail=told))
    return rows
