"""The strong form on systems with known fields: laws that are simulated again, drift, noise, weak equations."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.criteria import rms
from benchmarks.fitting import systems
from benchmarks.fitting.truth import Array
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Snapshots without a formula: laws and fields of named systems, noise given"
_TIMES, _COUNT = np.linspace(0.0, 2.0, 11), 3000
_LIMITS = {2: 0.02, 5: 0.1}  # nats
_FIELD = 10.0  # %
SYSTEMS = {
    "rotating well": systems.rotating_well,
    "van der Pol": systems.van_der_pol,
    "spiral": systems.spiral,
    "ring of wells": systems.chain,
}
# The systems' formulas with free coefficients, for the weak equations beside.
_FORMULAS: dict[str, tuple[list[str], list[str], tuple[str, ...]]] = {
    "rotating well": (["a*x - b*x**3 - w*y", "-k*y + w*x"], ["s", "s"], ("a", "b", "w", "k")),
    "van der Pol": (["c*y", "m*y - n*x**2*y - k*x"], ["s", "s"], ("c", "m", "n", "k")),
    "spiral": (["-k*x - w*y", "w*x - k*y"], ["sqrt(s + r*x**2)", "sqrt(s + r*y**2)"], ("k", "w")),
}


def run(context: Context) -> list[Row]:
    """One seed by default, two under --full; pictures of what was learned for the first."""
    count, rows = context.count(1, full=2), []
    names = list(SYSTEMS) if context.full or context.seeds else ["rotating well", "spiral"]
    for name in names:
        tasks = [{"system": name, "seed": seed} for seed in range(count)]
        outcomes = run_tasks(
            context, f"matching_{name.replace(' ', '_')}", partial(match_seed, cache=context.cache), tasks
        )
        rows += _summarise(name, outcomes)
    return rows


def match_seed(task: Task, cache: Path) -> Outcome:
    """One matching; the law at the end is simulated again from fresh samples of the first."""
    import torch

    import pdekit as pk
    from pdekit.fitting.snapshots import knn_divergence

    system = SYSTEMS[task["system"]]()
    seed = task["seed"]
    clouds = systems.snapshots(system, _TIMES, _COUNT, seed, dt=2e-3)
    data = pk.Snapshots(_TIMES, clouds, names=system.states)
    constant = np.ptp(system.noise(clouds[-1])) == 0
    options = pk.SnapshotMatching(noise="state")
    if constant:
        options = pk.SnapshotMatching(diffusion=float(system.noise(clouds[-1])[0, 0]))
    begun = time.perf_counter()
    found = pk.fit(options, data, seed=seed)
    seconds = time.perf_counter() - begun
    model: Any = found.model

    def drift(x: Array) -> Array:
        with torch.no_grad():
            return model.drift(0.0, torch.from_numpy(x)).numpy()

    def noise(x: Array) -> Array:
        with torch.no_grad():
            return model.noise(0.0, torch.from_numpy(x)).diagonal(dim1=-2, dim2=-1).numpy()

    learned = systems.System(system.name, system.states, drift, noise, system.mean, system.sd)
    rng = np.random.default_rng([seed, 99])
    fresh = systems.snapshots(system, _TIMES[[0, 5, 10]], _COUNT, seed + 1000, dt=2e-3)
    start = systems.snapshots(system, _TIMES[:1], _COUNT, seed + 2000)[0]
    again = [systems.euler(learned, start, float(t), 2e-3, rng) for t in _TIMES[[5, 10]]]
    twin = systems.snapshots(system, _TIMES[[5, 10]], _COUNT, seed + 3000, dt=2e-3)
    if seed == 0:
        cache.mkdir(parents=True, exist_ok=True)
        found.report(cache / f"matching_{task['system'].replace(' ', '_')}.html")
    seen = np.concatenate(fresh)
    return {
        "kl": [knn_divergence(a, b) for a, b in zip(fresh[1:], again, strict=True)],
        "kl_twin": [knn_divergence(a, b) for a, b in zip(fresh[1:], twin, strict=True)],
        "drift": _off(drift(seen), system.drift(seen)),
        "noise": _off(noise(seen), system.noise(seen)),
        "noise_given": bool(constant),
        "weak": _weak(task["system"], system, data, seen, seed),
        "seconds": seconds,
    }


def _weak(name: str, system: systems.System, data: Any, seen: Array, seed: int) -> dict[str, float] | None:
    """Errors of drift and noise by weak equations with the system's own formula."""
    import torch

    import pdekit as pk
    from pdekit.fitting.coefficients import Coefficients

    if name not in _FORMULAS:
        return None
    drift, noise, signs = _FORMULAS[name]
    params = {"s": (0.0, None)} | ({"r": (0.0, None)} if name == "spiral" else {}) | dict.fromkeys(signs, (None, None))
    found = pk.fit(pk.SymbolicSDE(system.states, drift, noise, params=params), data, method="weak", seed=seed)
    both, x = Coefficients(found.model), torch.from_numpy(seen)
    f = both.drift(0.0, x, found.theta).numpy()
    g = both.noise(0.0, x, found.theta).diagonal(dim1=-2, dim2=-1).numpy()
    return {"drift": _off(f, system.drift(seen)), "noise": _off(g, system.noise(seen))}


def _off(found: Array, true: Array) -> float:
    return float(np.sqrt(((found - true) ** 2).sum() / (true**2).sum()))


def _summarise(name: str, outcomes: list[Outcome]) -> list[Row]:
    good = [outcome for outcome in outcomes if "error" not in outcome]
    failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
    system = SYSTEMS[name]()
    if not good:
        return [Row(f"{system.name}: KL", "failed", "nat", f"<= {_LIMITS[system.dim]:g}", False, failed[0])]
    kl, twin = (float(np.mean([max(outcome[key]) for outcome in good])) for key in ("kl", "kl_twin"))
    seconds = float(np.median([outcome["seconds"] for outcome in good]))
    told = (
        f"{len(good)} seeds, the greater of t = 1 and 2; the true system simulated again: {twin:.3f}; {seconds:.0f} s"
    )
    rows = [at_most(f"{system.name}: KL(held-out || simulated again)", kl, _LIMITS[system.dim], "nat", told)]
    drift = 100 * rms([outcome["drift"] for outcome in good])[0]
    rows.append(Row(f"{system.name}: drift error", drift, "%", f"<= {_FIELD:g} where identifiable", drift <= _FIELD))
    if good[0]["noise_given"]:
        rows.append(skipped(f"{system.name}: noise error", "the noise was given"))
    else:
        rows.append(at_most(f"{system.name}: noise error", 100 * rms([o["noise"] for o in good])[0], _FIELD, "%"))
    if good[0]["weak"]:
        weak = {key: 100 * rms([outcome["weak"][key] for outcome in good])[0] for key in ("drift", "noise")}
        told = f"noise {weak['noise']:.2f} %"
        rows.append(
            Row(f"{system.name}: drift error of weak equations, formula known", weak["drift"], "%", detail=told)
        )
    return rows
