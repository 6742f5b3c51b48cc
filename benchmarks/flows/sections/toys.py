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
_POINTS, _REACH = 160, 7.0


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
        for kind in ("ours", "half", "zuko")
    ]
    outcomes = run_tasks(context, "flow_toys", partial(train_one, points=60 if context.quick else _POINTS), tasks)
    rows = []
    for name in names:
        mine = {
            kind: [o for t, o in zip(tasks, outcomes, strict=True) if (t["toy"], t["kind"]) == (name, kind)]
            for kind in ("ours", "half", "zuko")
        }
        rows += _summarise(name, seconds, mine)
    return rows


def train_one(task: Task, points: int) -> Outcome:
    """One training and its judgement."""
    name, seed, seconds = task["toy"], task["seed"], task["seconds"]
    if task["kind"] == "zuko":
        return trained.zukos(name, seed, seconds)
    flow, outcome = trained.ours(name, seed, seconds if task["kind"] == "ours" else seconds / 2)
    if task["kind"] == "ours":
        from pdekit.flows import density_in_plane

        (low, high, *_), density = density_in_plane(flow, points, _REACH)
        outcome["mass"] = float(density.sum()) * ((high - low) / points) ** 2
    return outcome


def _summarise(name: str, seconds: float, mine: dict[str, list[Outcome]]) -> list[Row]:
    failed = [o["error"] for o in mine["ours"] + mine["half"] if "error" in o]
    if failed:
        return [Row(f"{name}: held-out NLL", "failed", "nat", "runs", False, failed[0])]

    def mean(kind: str, key: str) -> float:
        return float(np.mean([o[key] for o in mine[kind]]))

    nll, error = mean("ours", "nll"), mean("ours", "stderr")
    told = f"{seconds:g} s; {mean('ours', 'evaluations'):.0f} evaluations each; {len(mine['ours'])} seed(s)"
    rows = [Row(f"{name}: held-out NLL", nll, "nat", detail=told)]
    peers = [o["nll"] for o in mine["zuko"] if "nll" in o]
    if peers:
        theirs = float(np.mean(peers))
        gaps = [o["nll"] - z["nll"] for o, z in zip(mine["ours"], mine["zuko"], strict=True) if "nll" in z]
        told = f"{theirs:.4f} nat of zuko's CNF in as many seconds; limit: 2 standard errors of ours"
        if len(gaps) > 1:
            told += f"; over seeds +- {2 * np.std(gaps, ddof=1) / len(gaps) ** 0.5:.3f} (2 s.e.)"
        rows.append(at_most(f"{name}: NLL less zuko's, equal time", nll - theirs, 2 * error, "nat", told))
        half = mean("half", "nll")
        rows.append(at_most(f"{name}: NLL in half the time less zuko's", half - theirs, 2 * error, "nat"))
    else:
        rows.append(skipped(f"{name}: NLL less zuko's", mine["zuko"][0].get("error", "not run")))
    mass = max(abs(o["mass"] - 1) for o in mine["ours"])
    rows.append(at_most(f"{name}: mass on a grid less one", mass, MASS, detail=f"[-{_REACH:g}, {_REACH:g}]^2"))
    off = max(o["off"] for o in mine["ours"])
    rows.append(at_most(f"{name}: back and forth", off, OFF, detail="rtol = atol = 1e-7"))
    return rows
