"""No false alarms: sound code passes every check, however many examples are drawn."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from pdekit import operators
from pdekit.symbolic import models
from pdekit.symbolic.evaluation import evaluate
from pdekit.testing import (
    CheckFailure,
    check_density,
    check_rowwise,
    check_sde,
    strategies,
)
from pdekit.testing import specifications as spec
from pdekit.testing.checking import for_all
from pdekit.testing.functions import TIME
from pdekit.testing.matrix import Progress
from pdekit.testing.operator_check import judge
from pdekit.testing.trials import trials
from verification.evidence import Finding
from verification.level import Level

TITLE = "No false alarms"
_FAST = 0.01  # seconds: checks that take less are tried on many more examples


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """One finding per check: how many examples passed."""
    checks = _checks(device)
    found = []
    for number, (name, (strategy, check)) in enumerate(checks.items()):
        progress(f"no false alarm: {name}", number, len(checks))
        found.append(_tried(name, strategy, check, level))
    return found


def _tried(name: str, strategy: Any, check: Callable[[Any], Any], level: Level) -> Finding:
    begun = time.perf_counter()
    trial = max(5, level.slow_alarms // 10)
    examples = trial
    try:
        for_all(strategy, check, examples=trial, seed=1)
        fast = (time.perf_counter() - begun) / trial < _FAST
        examples = level.alarms if fast else level.slow_alarms
        for_all(strategy, check, examples=examples, seed=2, shrink=True)
    except CheckFailure as failure:
        return Finding(name, "sound code", examples, "a false alarm", "none", False, str(failure))
    each = 1e3 * (time.perf_counter() - begun) / (examples + trial)
    return Finding(name, f"sound code, {each:.1f} ms an example", examples, "no alarm", "none", True)


def _checks(device: str) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    pairs = [
        (spec.divergence, operators.divergence),
        (spec.laplacian, operators.laplacian),
        (spec.generator, operators.generator),
        (spec.fokker_planck_operator, operators.fokker_planck_operator),
        (spec.log_fokker_planck_operator, operators.log_fokker_planck_operator),
        (spec.probability_current, operators.probability_current),
        (spec.ito_drift, operators.ito_drift),
    ]
    found: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        f"check_operator, {s.name}": (
            trials(s),
            lambda trial, s=s, operator=operator: judge(operator, s, trial, device=device),
        )
        for s, operator in pairs
    }
    found["evaluate"] = (_expressions(), _evaluated)
    found["check_rowwise"] = (_fields(), lambda f: check_rowwise(operators.divergence(f.module()), f.dim))
    found["check_sde, drawn equations"] = (strategies.dims().flatmap(strategies.equations), _sde)
    found["check_sde, the catalogue"] = (st.sampled_from(sorted(models.catalogue())), _model)
    found["check_density"] = (st.integers(1, 2).flatmap(strategies.gaussian_mixtures), _density)
    return found


def _fields() -> Any:
    return strategies.dims().flatmap(strategies.fields)


def _sde(equation: Any) -> None:
    check_sde(equation.sde)


def _model(name: str) -> None:
    model = models.get(name)
    check_sde(model.at(**model.defaults), model=model)


def _density(mixture: Any) -> None:
    p = mixture.module()
    check_density(lambda x: torch.log(p(x)), mixture.dim, rtol=1e-5)


def _expressions() -> Any:
    return st.tuples(strategies.dims(2).flatmap(lambda d: st.tuples(strategies.scalars(d), strategies.points(d))))


def _evaluated(example: Any) -> None:
    """float64 by torch is within a few units of thirty digits."""
    ((function, x),) = example
    truth = evaluate([function.expression], (*function.state, TIME), np.column_stack([x, np.zeros(len(x))]))
    got = function.module()(torch.tensor(x)).numpy()
    units = np.abs(got - truth.value[:, 0]) / (np.finfo(float).eps * truth.magnitude[:, 0] + 1e-300)
    if not units.max() <= 100:
        raise CheckFailure("evaluate", f"{function} at {x.tolist()}: {units.max():.3g} units")
