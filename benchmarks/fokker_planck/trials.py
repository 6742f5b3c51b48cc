"""One method on one problem with a known law: solved, compared with the law, and kept as soon as it is there."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.fokker_planck.problems import Case
from benchmarks.results import Row, at_most, skipped
from benchmarks.runner import Context, Outcome, Task
from pdekit import fokker_planck
from pdekit.errors import PdekitError
from pdekit.fokker_planck.moment_closure import Gaussian, moved_closure, resting_closure

POINTS, SEED = 10_000, 1234  # of the true law, at which densities are compared
MASS = 1e-3
_QUICK = {"paths": 2000, "snapshots": 2, "hidden": [16], "components": 2, "steps": 20}
_TELL = 30.0  # seconds between two lines of progress

Measure = Literal["rms", "mape", "log_l2"]
_MEASURES: dict[Measure, tuple[str, str, float]] = {
    "rms": ("rms error of log p", "nats", 1.0),
    "mape": ("mean |error| / p", "%", 100.0),
    "log_l2": ("relative L2 error of log p", "%", 100.0),
}


@dataclass(frozen=True)
class Trial:
    """A method with its options, and what it is held to.

    Args:
        method: A class of `pdekit.fokker_planck`.
        options: Its options, `steps` those of its training.
        limit: Of the main measure, in its unit; None for a number given for information.
        minutes: Of the whole solve; None for information.
        mass: Whether the mass has to be one within 1e-3.
    """

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    limit: float | None = None
    minutes: float | None = None
    mass: bool = False

    @property
    def label(self) -> str:
        """Short."""
        kind = [str(self.options[name]) for name in ("family", "network") if name in self.options]
        return " ".join([self.method, *kind])

    @property
    def told(self) -> str:
        """The method as written in code."""
        steps = self.options.get("steps")
        given = [f"{name}={value!r}" for name, value in self.options.items() if name != "steps"]
        return f"{self.method}({', '.join([*given, *([f'steps={steps}'] if steps else [])])})"

    def build(self, progress: Callable[[str, float], None]) -> Any:
        """The method; None if this version of the package does not have it."""
        kind = getattr(fokker_planck, self.method, None)
        if kind is None:
            return None
        options = {name: tuple(v) if isinstance(v, list) else v for name, v in self.options.items() if name != "steps"}
        if "steps" in self.options:
            options["training"] = replace(kind.training, steps=self.options["steps"])
        return kind(**options, progress=progress)


def judged(
    make: Callable[[], Case], name: str, measure: Measure, trials: Sequence[Trial], context: Context, store: str
) -> list[Row]:
    """The rows of a problem: normal laws beside, then each method."""
    case: list[Case] = []

    def opened() -> Case:
        if not case:
            case.append(make())
        return case[0]

    kept = context.store(
        f"{store}_{'_'.join(name.split('(')[0].replace(',', '').split())}"
    )  # one file for each problem
    if context.quick:
        trials = [Trial(t.method, t.options | _QUICK, t.limit, t.minutes, t.mass) for t in trials]
    rows, points = [], 500 if context.quick else POINTS

    def outcome(task: Task, run: Callable[[], Outcome]) -> Outcome:
        found = kept.get(task)
        if found is None:
            found = run()
            kept.put(task, found)
        return found

    rows += _baselines(name, measure, outcome({"case": name, "method": "normal"}, lambda: normal(opened(), points)))
    for trial in trials:
        if trial.build(lambda what, share: None) is None:
            rows.append(skipped(f"{name}, {trial.label}", f"pdekit.fokker_planck has no {trial.method}"))
            continue
        task = {"case": name, "method": trial.method, "options": trial.options, "threads": context.threads}
        rows += _rows(name, measure, trial, outcome(task, lambda trial=trial: measured(opened(), trial, points)))
    return rows


def measured(case: Case, trial: Trial, points: int = POINTS) -> Outcome:
    """A solve and its errors; a method that gives up has `error` with its message and the seconds until then."""
    method, begun = trial.build(_progress(f"{case.name}, {trial.label}")), time.perf_counter()
    try:
        if case.time is None:
            solution = case.problem.stationary(method)
        else:
            solution = case.problem.solve([case.time], method)
        seconds = time.perf_counter() - begun
        return {"seconds": seconds} | _compared(case, solution, points)
    except PdekitError as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.perf_counter() - begun}
    except Exception as error:  # a fault of the package under test is a result too
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "seconds": time.perf_counter() - begun}


def normal(case: Case, points: int = POINTS) -> Outcome:
    """Normal laws in place of p: the one with closed moments, and an isotropic one with p's mean and mean variance."""
    x = case.draw(points, SEED)
    exact, mean, covariance = case.log_p(x), x.mean(0).numpy(), torch.cov(x.T).numpy()
    variance = float(np.trace(covariance)) / len(mean)
    found: Outcome = {"isotropic": _errors(_values(Gaussian(mean, variance * np.eye(len(mean))), x), exact)}
    try:
        if case.time is None:
            closure = resting_closure(case.problem, mean)
        else:
            closure = moved_closure(case.problem, np.array([case.time]))[0]
        found["closed moments"] = _errors(_values(closure, x), exact)
    except (PdekitError, np.linalg.LinAlgError) as cause:
        found["no closure"] = str(cause)
    return found


def _values(law: Gaussian, x: Tensor) -> Tensor:
    return torch.as_tensor(law.log_values(x.numpy()))


def _compared(case: Case, solution: fokker_planck.DensitySolution, points: int) -> Outcome:
    x, begun = case.draw(points, SEED), time.perf_counter()
    found = (solution.log_pdf(x) if case.time is None else solution.log_pdf(case.time, x)).detach().cpu().double()
    seconds, density = time.perf_counter() - begun, solution.densities[0]
    unit, deviation = getattr(density, "unit", None), getattr(density, "deviation", None)
    outcome = _errors(found, case.log_p(x)) | {"evaluation": seconds}
    outcome["notes"] = {name: str(value) for name, value in solution.notes.items()}
    outcome["mass"] = None if unit is None else [unit.value, unit.stderr]
    outcome["estimate"] = float(solution.error_estimate[0])
    if deviation is not None:
        claim = {"rms": deviation.rms, "stderr": deviation.stderr, "trusted": deviation.trusted}
        outcome["claim"] = claim | {"scatter": deviation.scatter}
    return outcome


def _errors(found: Tensor, exact: Tensor) -> Outcome:
    """Errors of log p, at states drawn from p."""
    off, p = found - exact, (exact - exact.max()).exp()
    ratio = torch.expm1(off)
    return {
        "rms": float(off.square().mean().sqrt()),
        "kl": -float(off.mean()),
        "worst": float(off.abs().max()),
        "l2": float(((ratio.square() * p).mean() / p.mean()).sqrt()),
        "log_l2": float(off.norm() / exact.norm()),
        "mape": float(ratio.abs().mean()),
        "ratio": [1 + float(ratio.mean()), float(ratio.std() / len(ratio) ** 0.5)],
    }


def _baselines(name: str, measure: Measure, outcome: Outcome) -> list[Row]:
    metric, unit, scale = _MEASURES[measure]
    rows = []
    for law in ("closed moments", "isotropic"):
        label = f"{name}, normal law, {law}: {metric}"
        if law in outcome:
            rows.append(Row(label, scale * outcome[law][measure], unit, detail=_told(outcome[law])))
        else:
            rows.append(skipped(label, outcome["no closure"]))
    return rows


def _rows(name: str, measure: Measure, trial: Trial, outcome: Outcome) -> list[Row]:
    metric, unit, scale = _MEASURES[measure]
    label = f"{name}, {trial.label}"
    if "error" in outcome:
        target, reached = (f"<= {trial.limit:g}", False) if trial.limit is not None else ("", None)
        detail = f"{outcome['error']} After {outcome['seconds']:.0f} s; {trial.told}"
        return [Row(f"{label}: {metric}", "failed", unit, target, reached, detail)]
    notes = ", ".join(f"{key} {value}" for key, value in outcome["notes"].items() if key != "mass")
    detail = f"{_told(outcome)}; {trial.told}{'; ' if notes else ''}{notes}"
    seconds = f"10,000 densities in {outcome['evaluation']:.1f} s"
    return [
        _limited(f"{label}: {metric}", scale * outcome[measure], trial.limit, unit, detail),
        _limited(f"{label}: time", outcome["seconds"], trial.minutes and 60 * trial.minutes, "s", seconds),
        _mass(label, trial, outcome),
        _claim(label, outcome),
    ]


def _limited(metric: str, value: float, limit: float | None, unit: str, detail: str) -> Row:
    return Row(metric, value, unit, detail=detail) if limit is None else at_most(metric, value, limit, unit, detail)


def _mass(label: str, trial: Trial, outcome: Outcome) -> Row:
    """By the solution's own estimate if it has one, otherwise by the mean of p / p_true under the true law."""
    (ratio, spread), own = outcome["ratio"], outcome["mass"]
    seen = f"{ratio:.5f} +- {spread:.1g} by the mean of p / p_true under the true law"
    told = f"{own[0]:.5f} +- {own[1]:.1g} by its own estimate; {seen}" if own else f"one by construction; {seen}"
    off = abs((own[0] if own else ratio) - 1)
    return _limited(f"{label}: mass off one by", off, MASS if trial.mass else None, "", told)


def _claim(label: str, outcome: Outcome) -> Row:
    claim, true = outcome.get("claim"), outcome["rms"]
    metric = f"{label}: error that it claims over its error"
    if claim is None:
        estimate = outcome["estimate"]
        if np.isfinite(float(estimate)):
            detail = f"relative L2 {float(estimate):.2g} claimed, {outcome['l2']:.2g} measured"
            return Row(metric, float(estimate) / outcome["l2"], detail=detail)
        return skipped(metric, "it claims none")
    detail = f"rms {claim['rms']:.2g} +- {claim['stderr']:.1g} nats claimed, {true:.2g} measured"
    return Row(metric, claim["rms"] / true, detail=detail if claim["trusted"] else f"{detail}; it says: unknown")


def _told(errors: Outcome) -> str:
    return (
        f"rms {errors['rms']:.3g} nats, KL {errors['kl']:.2g}, relative L2 {errors['l2']:.2g} of p, "
        f"{errors['log_l2']:.2g} of log p, mean |error| / p {errors['mape']:.2g}, worst {errors['worst']:.2g} nats"
    )


def _progress(label: str) -> Callable[[str, float], None]:
    shown = [time.monotonic()]

    def tell(what: str, share: float) -> None:
        if time.monotonic() - shown[0] > _TELL:
            shown[0] = time.monotonic()
            print(f"{label}: {what}, {100 * share:.0f} %", file=sys.stderr, flush=True)

    return tell


__all__ = ["POINTS", "SEED", "Trial", "judged", "measured", "normal"]
