"""Absolute time: the divergence of hollow nets against vmap(jacrev) of perceptrons, with the quality of their fits."""

import time

import torch
from torch import nn
from torch.func import jacrev, vmap

from benchmarks.operators import nets, truth
from benchmarks.operators.measure import Measured, Way, duration, measure
from benchmarks.operators.rows import faster
from benchmarks.results import Row
from benchmarks.runner import Context, Outcome, Task, run_tasks
from pdekit.operators import divergence

TITLE = "Divergence in absolute time beside the quality of fits, float32"
FIXED_GAIN, EQUAL_GAIN = 9.0, 25.0
_PERCEPTRON = "perceptron"
_RATES = (0.003, 0.02)  # of learning; each net is judged at its better one
_HELD_OUT = 256  # rows of 256 dimensions in the score; attention over more of them at once outgrows the memory


def run(context: Context) -> list[Row]:
    """d = 256, batch 256, against three tanh layers: 256 wide, then as wide as equal parameter counts ask for."""
    dim, batch, width = (8, 4, 16) if context.quick else (256, 256, 256)
    x = nets.states(batch, dim)
    fixed = nets.mlp(dim, dim, width=width)
    hollow = {name: nets.hollow(name, dim) for name in nets.CONDITIONERS}
    equal = {name: _equal(net, dim) for name, net in hollow.items()}
    ways = {"fixed": _reverse(fixed, x)}
    for name in hollow:
        ways[name] = _hollow(hollow[name], x)
        ways[f"equal {name}"] = _reverse(equal[name], x)
    with torch.no_grad():
        found = measure(f"absolute d {dim}", ways, context)
    return [*_rows(f"d {dim}, batch {batch}", found, fixed, hollow, equal), *_quality(dim, width, context)]


def train(task: Task) -> Outcome:
    """The score of one net on the common task, with the seconds of its training."""
    from benchmarks.hollow_task import train_and_score

    dim, width = task["dim"], task["width"]
    net = nets.mlp(dim, dim, width=width) if task["net"] == _PERCEPTRON else nets.hollow(task["net"], dim)
    net.dim = dim  # type: ignore[assignment]
    begun = time.perf_counter()
    score = train_and_score(
        net, task["seed"], task["steps"], rows=task["rows"], learning_rate=task["rate"], held_out=_HELD_OUT
    )
    return {"score": score, "seconds": time.perf_counter() - begun, "about": nets.describe(net)}


def _quality(dim: int, width: int, context: Context) -> list[Row]:
    """The error of each net as timed above, after equally many steps of the task that tells conditioners apart."""
    steps, rows = (2, 4) if context.quick else (2000, 256) if context.full else (300, 32)
    tasks = [
        {"net": name, "dim": dim, "width": width, "steps": steps, "rows": rows, "rate": rate, "seed": 0}
        for name in (*nets.CONDITIONERS, _PERCEPTRON)
        for rate in _RATES
    ]
    outcomes = run_tasks(context, "hollow_task", train, tasks)
    found = []
    for name in (*nets.CONDITIONERS, _PERCEPTRON):
        mine = [(t, o) for t, o in zip(tasks, outcomes, strict=True) if t["net"] == name]
        metric = f"d {dim}: fit of {name}, relative error"
        failures = [o["error"] for _, o in mine if "error" in o]
        if failures:
            found.append(Row(metric, "failed", "", "trains", False, failures[0]))
            continue
        task, best = min(mine, key=lambda pair: pair[1]["score"])
        told = (
            f"{steps} steps of {rows} points at rate {task['rate']:g} in {duration(best['seconds'])}; {best['about']}"
        )
        found.append(Row(metric, best["score"], detail=f"{told}; 1 where nothing of the others is learned"))
    return found


def _equal(net: nn.Module, dim: int) -> nn.Sequential:
    return nets.mlp(dim, dim, width=nets.width_for(nets.parameter_count(net), dim, dim))


def _hollow(net: nn.Module, x: torch.Tensor) -> Way:
    operator = divergence(net, full_output=True)
    right = truth.divergence(truth.double(net), x[: truth.ROWS])
    return Way(lambda: operator(x), right, lambda result: result.value)


def _reverse(net: nn.Module, x: torch.Tensor) -> Way:
    right = truth.divergence(truth.double(net), x[: truth.ROWS])
    return Way(lambda: vmap(jacrev(net))(x).diagonal(dim1=-2, dim2=-1).sum(-1), right)


def _rows(
    label: str,
    found: dict[str, Measured],
    fixed: nn.Module,
    hollow: dict[str, nn.Module],
    equal: dict[str, nn.Sequential],
) -> list[Row]:
    against = {"fixed": dict.fromkeys(hollow, found["fixed"]), "equal": {n: found[f"equal {n}"] for n in hollow}}
    best = {kind: max(hollow, key=lambda name: theirs[name].over(found[name])) for kind, theirs in against.items()}
    rows = [
        Row(
            f"{label}: vmap(jacrev) of the fixed perceptron",
            duration(found["fixed"].median),
            "",
            detail=found["fixed"].story(nets.describe(fixed)),
        )
    ]
    for name, net in hollow.items():
        rows.append(
            faster(
                f"{label}: {name} against the fixed perceptron",
                found[name],
                found["fixed"],
                "times faster",
                FIXED_GAIN if name == best["fixed"] else None,
                nets.describe(net),
            )
        )
        theirs = found[f"equal {name}"]
        told = f"perceptron of width {equal[name][0].out_features}, {nets.describe(equal[name])}: {theirs.story()}"
        rows.append(
            faster(
                f"{label}: {name} against a perceptron of as many parameters",
                found[name],
                theirs,
                "times faster",
                EQUAL_GAIN if name == best["equal"] else None,
                told,
            )
        )
    return rows
