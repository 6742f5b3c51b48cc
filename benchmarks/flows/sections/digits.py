"""Autoencoders of 8 x 8 digits with six posteriors: five folds, equal time, equal tuning, paired differences."""

from functools import partial

import numpy as np

from benchmarks.flows.folds import FOLDS, chosen, folds, paired, tuning
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Digits of 8 x 8 pixels: autoencoders with six posteriors, five folds, equal time and tuning"
RATES = (1e-3, 3e-3)
_SECONDS = (20.0, 60.0)  # of a training, by default and under --full; half of it for a rate that is tried
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
    outcomes = run_tasks(context, "flow_digits", function, tasks)
    rows = []
    for kind in POSTERIORS:
        mine = [o for t, o in zip(tasks, outcomes, strict=True) if t["posterior"] == kind]
        base = [o for t, o in zip(tasks, outcomes, strict=True) if t["posterior"] == _REFERENCE]
        failed = [o["error"] for o in mine + base if "error" in o]
        if failed:
            rows.append(Row(f"{kind}: NLL", "failed", "nat", "runs", False, failed[0]))
            continue
        rows += _summarise(kind, mine, base, rates[kind], seconds)
    return rows


def train_one(task: Task, samples: int) -> Outcome:
    """One training and its judgement; fold -1 is the split that rates are chosen by."""
    import pdekit as pk
    from pdekit.flows import digits, fit_vae, vae_with

    d = digits()
    kept, out = tuning(len(d.images)) if task["fold"] < 0 else folds(len(d.images))[task["fold"]]
    vae = vae_with(task["posterior"], d.shape, seed=max(task["fold"], 0))
    training = pk.Training(steps=10**6, batch=128, rate=task["rate"], seconds=task["seconds"])
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
        "parameters": sum(p.numel() for p in vae.parameters()),
    }


def _summarise(kind: str, mine: list[Outcome], base: list[Outcome], rate: float, seconds: float) -> list[Row]:
    def mean(key: str) -> float:
        return float(np.mean([o[key] for o in mine]))

    told = (
        f"{seconds:g} s, {mean('steps'):.0f} steps at rate {rate:g}; {mine[0]['parameters']:,} parameters; {len(mine)} "
        f"folds; {_SAMPLES} samples"
    )
    if mean("evaluations"):
        told += f"; {mean('evaluations'):.0f} evaluations a state, there and back off by {mean('off'):.1g}"
    rows = [
        Row(f"{kind}: NLL", mean("nll"), "nat", detail=told),
        Row(f"{kind}: ELBO", mean("elbo"), "nat"),
    ]
    if kind != _REFERENCE:
        mine_all, base_all = ([o["surprises"] for o in found] for found in (mine, base))
        gap = float(np.mean(np.concatenate(mine_all)) - np.mean(np.concatenate(base_all)))
        told = f"{paired(mine_all, base_all)}, paired"
        rows.append(Row(f"{kind}: NLL less that without a flow", gap, "nat", detail=told))
    return rows
