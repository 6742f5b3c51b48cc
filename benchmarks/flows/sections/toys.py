"""The eight toy laws: held-out likelihood beside zuko's CNF at equal time, mass, and the way back and forth."""

from functools import partial

import numpy as np

from benchmarks.flows import trained
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Toy laws in the plane: a hollow flow with the exact trace"
MASS, OFF = 1e-3, 1e-5
_SECONDS = 40.0  # of a training
_FEW = ("moons", "8gaussians", "checkerboard")
_POINTS, _REACH = 320, 7.0
_KINDS = ("ours", "half", "zuko")
_ROUGHLY = 1e-5  # tolerance of what need not be better


def run(context: Context) -> list[Row]:
    """Each law in three trainings: ours, ours in half the time, zuko's."""
    from pdekit.flows import TOYS

    seconds = 2.0 if context.quick else _SECONDS
    names = list(TOYS) if context.full else list(_FEW)[: 1 if context.quick else None]
    seeds = range(context.count(1, full=3))
    tasks = [
        {"toy": name, "seed": seed, "seconds": seconds, "kind": kind}
        for name in names
        for seed in seeds
        for kind in _KINDS
    ]
    outcomes = run_tasks(context, "flow_toys", partial(train_one, points=60 if context.quick else _POINTS), tasks)
    rows = []
    for name in names:
        mine = {
            kind: [o for t, o in zip(tasks, outcomes, strict=True) if (t["toy"], t["kind"]) == (name, kind)]
            for kind in _KINDS
        }
        rows += _summarise(name, seconds, *(mine[kind] for kind in _KINDS))
    return rows


def train_one(task: Task, points: int) -> Outcome:
    """One training and its judgement."""
    name, seed, seconds = task["toy"], task["seed"], task["seconds"]
    if task["kind"] == "zuko":
        return trained.zukos(name, seed, seconds)
    if task["kind"] == "half":
        return trained.ours(name, seed, seconds / 2, tolerance=_ROUGHLY)[1]
    from pdekit.flows import density_in_plane

    flow, outcome = trained.ours(name, seed, seconds)
    (low, high, *_), density = density_in_plane(flow.changed(rtol=_ROUGHLY, atol=_ROUGHLY), points, _REACH)
    outcome["mass"] = float(density.sum()) * ((high - low) / points) ** 2
    return outcome


def _summarise(name: str, seconds: float, ours: list[Outcome], half: list[Outcome], theirs: list[Outcome]) -> list[Row]:
    failed = [o["error"] for o in ours + half if "error" in o]
    if failed:
        return [Row(f"{name}: held-out NLL", "failed", "nat", "runs", False, failed[0])]

    def mean(found: list[Outcome], key: str) -> float:
        return float(np.mean([o[key] for o in found]))

    nll, error = mean(ours, "nll"), mean(ours, "stderr")
    told = f"+- {error:.3f} (1 s.e. over samples); {seconds:g} s, {mean(ours, 'steps'):.0f} steps; "
    told += f"{mean(ours, 'evaluations'):.0f} evaluations each; {len(ours)} seed(s)"
    rows = [Row(f"{name}: held-out NLL", nll, "nat", detail=told)]
    broken = [o["error"] for o in theirs if "error" in o]
    if broken:
        rows.append(skipped(f"{name}: NLL less zuko's", broken[0]))
    else:
        peer = f"{mean(theirs, 'nll'):.4f} nat of zuko's CNF, {mean(theirs, 'steps'):.0f} steps"
        rows.append(_compared(f"{name}: NLL less zuko's, equal time", ours, theirs, peer))
        rows.append(_compared(f"{name}: NLL in half the time less zuko's", half, theirs, ""))
    mass = max(abs(o["mass"] - 1) for o in ours)
    rows.append(at_most(f"{name}: mass on a grid less one", mass, MASS, detail=f"[-{_REACH:g}, {_REACH:g}]^2"))
    off = max(o["off"] for o in ours)
    rows.append(at_most(f"{name}: back and forth", off, OFF, detail=f"rtol = atol = {trained.TOLERANCE:g}"))
    return rows


def _compared(metric: str, ours: list[Outcome], theirs: list[Outcome], told: str) -> Row:
    """Means of the paired differences, each with twice its standard error over seeds."""
    gaps = np.array([o["nll"] - z["nll"] for o, z in zip(ours, theirs, strict=True)])
    if len(gaps) > 1:
        told += f"{'; ' if told else ''}+- {2 * gaps.std(ddof=1) / len(gaps) ** 0.5:.3f} (2 s.e. over seeds)"
    return at_most(metric, float(gaps.mean()), 0, "nat", told)
