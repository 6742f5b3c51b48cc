"""Unpaired samples: a double well off equilibrium, laws at rest, and a rotation in the plane."""

import time
from typing import Any

import numpy as np

from benchmarks.criteria import rejects, rms
from benchmarks.fitting import systems
from benchmarks.fitting.truth import Array, double_well, drift_error, stationary_density
from benchmarks.results import Row, at_least, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Snapshots: 21 times over [0, 2], 2000 unpaired samples each, double well from N(-1.5, .2^2)"
_TIMES = np.linspace(0.0, 2.0, 21)
_COUNT = 2000
_BOUNDS = {"a": 2.1, "b": 1.65, "D": 1.4}  # %, of a known first law; for orientation
_AT_REST = (5, 400)  # snapshots and samples of each, of cases that must be refused
_TURN = 2.0


def run(context: Context) -> list[Row]:
    """Errors and coverage over 20 seeds, refusals over 100, the rotation over 3."""
    tasks = [{"seed": seed} for seed in range(context.count(5, full=20))]
    outcomes = run_tasks(context, "snapshots_well", well_seed, tasks)
    rest = [{"seed": seed} for seed in range(context.count(20, full=100))]
    refused = run_tasks(context, "snapshots_rest", rest_seed, rest)
    turn = [{"seed": seed} for seed in range(context.count(1, full=3))]
    return [*_well(outcomes), _refusals(refused), *_rotation(run_tasks(context, "snapshots_turn", turn_seed, turn))]


def well() -> systems.System:
    """The double well as a system that starts off equilibrium."""
    return systems.System("double well", ("x",), lambda x: x - x**3, lambda x: np.full_like(x, 0.5), (-1.5,), (0.2,))


def well_seed(task: Task) -> Outcome:
    """A fit by default options, and the plain weak regression on the same samples."""
    import pdekit as pk

    clouds = systems.snapshots(well(), _TIMES, _COUNT, task["seed"], dt=5e-4)
    begun = time.perf_counter()
    found = pk.fit(pk.models.double_well(), pk.Snapshots(_TIMES, clouds), seed=task["seed"])
    seconds = time.perf_counter() - begun
    return {
        "estimate": {name: p.estimate for name, p in found.params.items()},
        "wald": {name: list(found.interval(name) or (np.nan, np.nan)) for name in found.params},
        "weak": weak_regression(_TIMES, [cloud[:, 0] for cloud in clouds]),
        "seconds": seconds,
    }


def weak_regression(times: Array, clouds: list[Array]) -> dict[str, float]:
    """a, b and D from d/dt E[phi] = E[(a x - b x^3) phi' + D phi''], trapezoids in time, bumps for phi: a baseline."""
    centers, width = np.linspace(-1.8, 1.8, 13), 0.5
    rows, values = [], []
    for center in centers:
        parts = []
        for x in clouds:
            z = (x - center) / width
            phi = np.exp(-0.5 * z**2)
            slope, curve = -z / width * phi, (z**2 - 1) / width**2 * phi
            parts.append([phi.mean(), (x * slope).mean(), (-(x**3) * slope).mean(), curve.mean()])
        means = np.array(parts)
        rows.append(0.5 * np.diff(times)[:, None] * (means[1:, 1:] + means[:-1, 1:]))
        values.append(np.diff(means[:, 0]))
    a, b, tensor = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
    return {"a": float(a), "b": float(b), "sigma": float(np.sqrt(2 * max(tensor, 0.0)))}


def rest_seed(task: Task) -> Outcome:
    """Samples of the law at rest: must be refused."""
    import pdekit as pk
    from pdekit.errors import DataError

    rng = np.random.default_rng([task["seed"], 3])
    grid, weight = stationary_density(double_well())
    clouds = [rng.choice(grid, _AT_REST[1], p=weight)[:, None] for _ in range(_AT_REST[0])]
    try:
        pk.fit(pk.models.double_well(), pk.Snapshots(np.arange(float(_AT_REST[0])), clouds), seed=task["seed"])
    except DataError as error:
        return {"refused": True, "text": str(error)}
    return {"refused": False}


def turn_seed(task: Task) -> Outcome:
    """A spring that turns, from a law that is longer in one direction."""
    import pdekit as pk

    def drift(x: Array) -> Array:
        return np.stack([-x[:, 0] - _TURN * x[:, 1], _TURN * x[:, 0] - x[:, 1]], -1)

    system = systems.System("turning spring", ("x", "y"), drift, lambda x: np.full_like(x, 0.5), (1.0, 0.0), (0.6, 0.2))
    times = np.linspace(0.0, 1.0, 6)
    clouds = systems.snapshots(system, times, _COUNT, task["seed"])
    params = {"k": (0, None), "w": (None, None), "s": (0, None)}
    model: Any = pk.SymbolicSDE(("x", "y"), ["-k*x - w*y", "w*x - k*y"], ["s", "s"], params=params)
    begun = time.perf_counter()
    found = pk.fit(model, pk.Snapshots(times, clouds, names=("x", "y")), seed=task["seed"])
    return {
        "estimate": {name: p.estimate for name, p in found.params.items()},
        "stderr": {name: p.stderr for name, p in found.params.items()},
        "route": found.route,
        "seconds": time.perf_counter() - begun,
    }


def _well(outcomes: list[Outcome]) -> list[Row]:
    good = [outcome for outcome in outcomes if "error" not in outcome]
    failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
    rows = [at_most("failed fits", len(failed), 0, detail=failed[0] if failed else "")]
    if not good:
        return rows
    seconds = float(np.median([outcome["seconds"] for outcome in good]))
    for label, key, limits in (("likelihood", "estimate", (4.0, 3.0)), ("plain weak regression", "weak", (None, None))):
        errors = _relative([outcome[key] for outcome in good])
        drift = [_drift(outcome[key]) for outcome in good]
        told = f"{len(good)} seeds; a {_rms(errors['a'])}, b {_rms(errors['b'])}"
        if limits[0] is None:
            rows.append(Row(f"{label}: drift error", 100 * rms(drift)[0], "%", detail=told))
            rows.append(Row(f"{label}: error of D", 100 * rms(errors["D"])[0], "%", detail=_mean(errors["D"])))
            continue
        told += f" (bounds {_BOUNDS['a']}, {_BOUNDS['b']}); {seconds:.0f} s"
        worst = max(rms(errors["a"])[0], rms(errors["b"])[0])
        rows.append(at_most(f"{label}: greater error of the two drift coefficients", 100 * worst, limits[0], "%", told))
        rows.append(Row(f"{label}: drift error under the law at rest", 100 * rms(drift)[0], "%"))
        rows.append(at_most(f"{label}: error of D", 100 * rms(errors["D"])[0], limits[1], "%", _mean(errors["D"])))
    truth = double_well().truth
    for name, true in truth.items():
        hits = sum(outcome["wald"][name][0] <= true <= outcome["wald"][name][1] for outcome in good)
        reached = not rejects(hits, len(good), family=len(truth))
        metric = f"likelihood: interval of {name}"
        rows.append(Row(metric, 100 * hits / len(good), "%", "95 % not rejected", reached, f"{hits} of {len(good)}"))
    return rows


def _relative(estimates: list[dict[str, float]]) -> dict[str, list[float]]:
    truth = double_well().truth
    found = {name: [p[name] / truth[name] - 1 for p in estimates] for name in ("a", "b")}
    return found | {"D": [(p["sigma"] / truth["sigma"]) ** 2 - 1 for p in estimates]}


def _drift(p: dict[str, float]) -> float:
    process = double_well()
    return drift_error(process, lambda x: process.drift(x, np.array([p["a"], p["b"], p["sigma"]])))


def _rms(values: list[float]) -> str:
    return f"{100 * rms(values)[0]:.2f} %"


def _mean(values: list[float]) -> str:
    return f"mean {100 * float(np.mean(values)):+.2f} %"


def _refusals(outcomes: list[Outcome]) -> Row:
    refused = sum(bool(outcome.get("refused")) for outcome in outcomes)
    detail = f"{refused} of {len(outcomes)}; {_AT_REST[0]} snapshots of {_AT_REST[1]} samples"
    return at_least("laws at rest that are refused", 100 * refused / len(outcomes), 100.0, "%", detail)


def _rotation(outcomes: list[Outcome]) -> list[Row]:
    rows = []
    for name, true in (("w", _TURN), ("k", 1.0), ("s", 0.5)):
        good = [outcome for outcome in outcomes if "error" not in outcome]
        if not good:
            return [Row("turning spring", "failed", detail=outcomes[0]["error"])]
        off = [outcome["estimate"][name] / true - 1 for outcome in good]
        error, seconds = 100 * good[0]["stderr"][name] / true, good[0]["seconds"]
        told = f"{len(good)} seeds, standard error {error:.2f} %; {seconds:.0f} s"
        rows.append(Row(f"turning spring, 2-D: error of {name}", 100 * rms(off)[0], "%", detail=told))
    return rows
