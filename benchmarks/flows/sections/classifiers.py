"""Digits told apart: an ODE in place of residual blocks, five folds."""

from functools import partial

import numpy as np

from benchmarks.flows.folds import FOLDS, folds, paired
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Digits of 8 x 8 pixels told apart: perceptron, residual network, ODEs; five folds, equal steps"
_CHANNELS = 32
_STEPS = (250, 400)  # by default and under --full
_BATCH, _RATE = 64, 3e-3


def run(context: Context) -> list[Row]:
    """Errors, sizes, and the ODE-Net's error less the residual network's, paired by images."""
    from pdekit.flows import CLASSIFIERS

    steps = 3 if context.quick else _STEPS[context.full]
    tasks = [{"kind": k, "fold": f, "steps": steps} for f in range(1 if context.quick else FOLDS) for k in CLASSIFIERS]
    channels = 8 if context.quick else _CHANNELS
    outcomes = run_tasks(context, "flow_classifiers", partial(train_one, channels=channels), tasks)
    found = {k: [o for t, o in zip(tasks, outcomes, strict=True) if t["kind"] == k] for k in CLASSIFIERS}
    rows = []
    for kind, mine in found.items():
        failed = [o["error"] for o in mine if "error" in o]
        if failed:
            rows.append(Row(f"{kind}: error", "failed", "%", "runs", False, failed[0]))
            continue
        wrong = np.concatenate([o["wrong"] for o in mine])
        told = f"{mine[0]['parameters']:,} parameters; {steps} steps in {np.mean([o['seconds'] for o in mine]):.0f} s"
        if mine[0]["evaluations"]:
            told += f"; {np.mean([o['evaluations'] for o in mine]):.0f} evaluations an image"
        rows.append(Row(f"{kind}: error", 100 * float(wrong.mean()), "%", detail=f"{told}; {len(wrong)} images"))
    if not any("error" in o for k in ("ode-net", "resnet") for o in found[k]):
        ours, theirs = ([o["wrong"] for o in found[kind]] for kind in ("ode-net", "resnet"))
        gap = float(np.mean(np.concatenate(ours)) - np.mean(np.concatenate(theirs)))
        share = found["ode-net"][0]["parameters"] / found["resnet"][0]["parameters"]
        told = f"{paired([[100 * w for w in o] for o in ours], [[100 * w for w in o] for o in theirs])}, paired"
        told += f"; {share:.2f} of its parameters"
        rows.append(Row("ode-net: error less that of resnet", 100 * gap, "%", detail=told))
    return rows


def train_one(task: Task, channels: int) -> Outcome:
    """One training and its judgement."""
    import pdekit as pk
    from pdekit.flows import digits, fit_classifier, image_classifier

    d = digits()
    kept, out = folds(len(d.images))[task["fold"]]
    net = image_classifier(task["kind"], d.shape, channels=channels, seed=task["fold"])
    training = pk.Training(steps=task["steps"], batch=_BATCH, rate=_RATE)
    held = (d.images[out], d.labels[out])
    fit = fit_classifier(net, d.images[kept], d.labels[kept], training, held_out=held, seed=task["fold"])
    return {
        "wrong": [int(w) for w in fit.wrong],
        "parameters": fit.parameters,
        "evaluations": fit.evaluations if np.isfinite(fit.evaluations) else 0.0,
        "seconds": fit.history.seconds,
    }
