"""Every transition density against a numerical solution of the Fokker-Planck equation: distance, mass, order in dt."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdekit.data import Pairs
from pdekit.fitting.densities.bridge import BridgeExpressions, BridgeTransition
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.densities.euler import EulerTransition
from pdekit.fitting.densities.grid import FokkerPlanckTransition
from pdekit.symbolic import SymbolicSDE, models
from pdekit.testing import CheckFailure, check_transition
from pdekit.testing.matrix import Progress
from pdekit.testing.reference import LogDensity
from verification.evidence import Finding
from verification.level import Level

TITLE = "Transition densities against the Fokker-Planck equation"

Make = Callable[[SymbolicSDE, Pairs, Tensor], Any]


@dataclass(frozen=True)
class Case:
    """A density of a model from a start, and what it must satisfy."""

    density: str
    model: str
    make: Make
    x0: float
    lower: float
    upper: float
    order: float | None = None
    tolerance: float | None = None
    dts: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)


def _euler(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> Any:
    return EulerTransition(model, pairs)


def _extrapolated(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> Any:
    return FokkerPlanckTransition.lay(model, pairs, theta, cells=240).extrapolated()


def _by(method: Any) -> Make:
    return lambda model, pairs, theta: transition_density(model, pairs, theta, method)


def _bridge(model: SymbolicSDE, pairs: Pairs, theta: Tensor) -> Any:
    return BridgeTransition(model, pairs, expressions=BridgeExpressions.of(model))


_OU, _WELL, _GBM = "ornstein_uhlenbeck", "double_well", "geometric_brownian_motion"
_FINE = "Fokker-Planck grid, 240 cells, extrapolated"
_FEW = (0.1, 0.05, 0.025, 0.0125)
CASES = (
    Case("Euler, additive noise", _OU, _euler, 0.7, -2.5, 3.0, order=1.0, dts=_FEW),
    Case("Euler, additive noise", _WELL, _euler, 0.4, -3.0, 3.0, order=1.0),
    Case("Euler, multiplicative noise", _GBM, _euler, 1.0, 0.15, 4.0, order=0.5, dts=(0.4, 0.2, 0.1, 0.05)),
    Case("Euler, multiplicative noise", "student", _euler, 0.8, -5.0, 6.0, order=0.5, dts=_FEW),
    Case("closed form", _OU, _by("closed-form"), 0.7, -2.5, 3.0, tolerance=1e-5),
    Case("closed form", _GBM, _by("closed-form"), 1.0, 0.1, 5.0, tolerance=1e-5),
    Case("closed form", "cir", _by("closed-form"), 0.3, 0.02, 1.2, tolerance=1e-4),
    Case("Fokker-Planck grid", _WELL, _by("fokker-planck"), 0.4, -3.0, 3.0, tolerance=0.01),
    Case("Fokker-Planck grid", "student", _by("fokker-planck"), 0.8, -6.0, 7.0, tolerance=0.01),
    Case(_FINE, _WELL, _extrapolated, 0.4, -3.0, 3.0, tolerance=5e-4),
    Case(_FINE, "student", _extrapolated, 0.8, -6.0, 7.0, tolerance=1e-3),
    Case("bridge", _WELL, _bridge, 0.4, -2.0, 2.0, tolerance=1e-3, dts=(0.04, 0.02, 0.01)),
)


def run(level: Level, device: str, progress: Progress) -> list[Finding]:
    """One finding per density and model."""
    found = []
    for number, case in enumerate(CASES):
        progress(f"{case.density}, {case.model}", number, len(CASES))
        found.append(_verified(case))
    return found


def log_density_of(model: SymbolicSDE, make: Make) -> LogDensity:
    """A transition density as a function (x0, x1, dt) -> log p, at the model's example values."""
    theta = torch.tensor([model.defaults[name] for name in model.param_names], dtype=torch.float64)

    def log_density(x0: Tensor, x1: Tensor, dt: Tensor) -> Tensor:
        pairs = Pairs(torch.zeros_like(dt), dt, x0, x1, torch.zeros(len(dt), dtype=torch.int64))
        return make(model, pairs, theta).log_density(theta)

    return log_density


def _verified(case: Case) -> Finding:
    model = models.get(case.model)
    setting = f"{case.model}, dt {case.dts[0]:g} to {case.dts[-1]:g}"
    allowed = f"order {case.order:g} +- .15" if case.order else f"L1 {case.tolerance:g}"
    try:
        report = check_transition(
            log_density_of(model, case.make),
            model.at(**model.defaults),
            case.x0,
            lower=case.lower,
            upper=case.upper,
            dts=case.dts,
            order=case.order,
            tolerance=case.tolerance,
        )
    except CheckFailure as failure:
        return Finding(case.density, setting, len(case.dts), "a fault", allowed, False, str(failure))
    found = f"L1 {report.distance.max():.2g} to {report.distance.min():.2g}"
    found += f", order {report.order:.2f}" if case.order else ""
    found += f", mass off by {abs(report.mass - 1).max():.1g}"
    return Finding(case.density, setting, len(case.dts), found, allowed, True)
