"""Whether the flags of a fit tell what is wrong with it, and keep still where nothing is."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.fitting import learners, samples
from benchmarks.fitting.truth import Array, cir, double_well, ornstein_uhlenbeck
from benchmarks.results import Row, at_least, at_most
from benchmarks.runner import Context, Outcome, Task, run_tasks

TITLE = "Injected faults: seeds in which a fit warns"
_CAUGHT, _FALSE = 95.0, 5.0  # %
_WORDS = {"measurement noise": "noise", "coarse step": "step"}  # what a title must say where it names the fault


def run(context: Context) -> list[Row]:
    """Faults that must be flagged, then clean series that must not be."""
    count = context.count(5, full=20)
    for dt, n in ((0.01, 100_000), (0.5, 5000)):
        samples.prepare(double_well(), dt, n, count, context.cache)
    rows = []
    for cases, wanted in ((FAULTS, True), (CLEAN, False)):
        for name in cases:
            tasks = [{"case": name, "seed": seed} for seed in range(count)]
            outcomes = run_tasks(
                context, f"faults_{name.replace(' ', '_')}", partial(fit_seed, cache=context.cache), tasks
            )
            rows.append(_count(name, outcomes, wanted))
    return rows


def fit_seed(task: Task, cache: Path) -> Outcome:
    """The titles of what a fit warns of."""
    make = (FAULTS | CLEAN)[task["case"]]
    return {"flags": learners.warnings_of(make(task["seed"], cache))}


def _well(seed: int, cache: Path, dt: float = 0.01, n: int = 20_000) -> Array:
    whole = 100_000 if dt < 0.1 else 5000
    return samples.path(double_well(), dt, whole, seed, cache)[: n + 1]


def _fit(model: Any, dt: float, x: Array, **options: Any) -> Any:
    from pdekit import fit

    return fit(model, learners.series(dt, x), **options)


def _models() -> Any:
    from pdekit import models

    return models


def _noisy(x: Array, seed: int) -> Array:
    return x + 0.05 * np.random.default_rng([seed, 5]).standard_normal(len(x))


def _underdamped(seed: int, n: int = 20_000, dt: float = 0.02) -> Array:
    """The position of an oscillator with friction and noise in its velocity."""
    rng, x, v, found = np.random.default_rng([seed, 6]), 0.0, 0.0, np.empty(n + 1)
    for k in range(n + 1):
        found[k] = x
        for _ in range(4):
            v += (-x - v) * dt / 4 + 0.7 * (dt / 4) ** 0.5 * rng.standard_normal()
            x += v * dt / 4
    return found


def _convention(seed: int, n: int = 20_000, dt: float = 0.05) -> Array:
    """dX = -X dt + G(X) o dW, G = (1 + sin(2 X) / 2) / 2, in Stratonovich's sense, by Heun's steps."""
    rng, x, found = np.random.default_rng([seed, 7]), 0.0, np.empty(n + 1)

    def g(y: float) -> float:
        return 0.5 * (1 + 0.5 * float(np.sin(2 * y)))

    for k in range(n + 1):
        found[k] = x
        for w in rng.standard_normal(20) * (dt / 20) ** 0.5:
            guess = x - x * dt / 20 + g(x) * w
            x += -0.5 * (x + guess) * dt / 20 + 0.5 * (g(x) + g(guess)) * w
    return found


def _wrong_convention(seed: int, cache: Path, convention: Literal["ito", "stratonovich"] = "ito") -> Any:
    from pdekit import SymbolicSDE

    params = {"k": (0, None), "s": (0, None)}
    model = SymbolicSDE("x", "-k*x", "s*(1 + sin(2*x)/2)", params=params, convention=convention)
    return _fit(model, 0.05, _convention(seed))


def _kernels() -> Any:
    from pdekit import KramersMoyal

    return KramersMoyal()


Case = Callable[[int, Path], Any]
FAULTS: dict[str, Case] = {
    "measurement noise, likelihood": lambda s, c: _fit(_models().double_well(), 0.01, _noisy(_well(s, c), s)),
    "measurement noise, kernels": lambda s, c: _fit(_kernels(), 0.01, _noisy(_well(s, c), s)),
    "coarse step, Euler": lambda s, c: _fit(_models().double_well(), 0.5, _well(s, c, 0.5, 5000), method="euler"),
    "coarse step, kernels": lambda s, c: _fit(_kernels(), 0.5, _well(s, c, 0.5, 5000)),
    "missing term": lambda s, c: _fit(_models().ornstein_uhlenbeck(), 0.5, _well(s, c, 0.5, 5000)),
    "wrong convention": _wrong_convention,
    "underdamped, likelihood": lambda s, c: _fit(_models().ornstein_uhlenbeck(), 0.02, _underdamped(s)),
    "underdamped, kernels": lambda s, c: _fit(_kernels(), 0.02, _underdamped(s)),
}
CLEAN: dict[str, Case] = {
    # 20,000 of these steps are 13 relaxation times, which is called short, and rightly.
    "clean double well, dt .01, 100,000 steps": lambda s, c: _fit(
        _models().double_well(), 0.01, _well(s, c, n=100_000)
    ),
    "clean double well, dt .5": lambda s, c: _fit(_models().double_well(), 0.5, _well(s, c, 0.5, 5000)),
    "clean CIR": lambda s, c: _fit(_models().cir(), 0.1, samples.path(cir(), 0.1, 5000, s, c)),
    "clean OU": lambda s, c: _fit(
        _models().ornstein_uhlenbeck(), 0.1, samples.path(ornstein_uhlenbeck(), 0.1, 5000, s, c)
    ),
    "clean double well, kernels": lambda s, c: _fit(_kernels(), 0.01, _well(s, c, n=100_000)),
    "right convention": partial(_wrong_convention, convention="stratonovich"),
}


def _count(name: str, outcomes: list[Outcome], wanted: bool) -> Row:
    good = [outcome for outcome in outcomes if "error" not in outcome]
    failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
    raised = sum(bool(outcome["flags"]) for outcome in good)
    titles = sorted({title for outcome in good for title in outcome["flags"]})
    told = "; ".join([f"{raised} of {len(outcomes)}", *titles[:4], *(f"failed: {text}" for text in failed[:1])])
    share = 100 * raised / len(outcomes)
    return (at_least if wanted else at_most)(name, share, _CAUGHT if wanted else _FALSE, "%", told)
