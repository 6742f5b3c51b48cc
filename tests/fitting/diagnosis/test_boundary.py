"""Attainability against Feller's classification of the catalogue's models, and the notes about it."""

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.fitting.densities.choose import transition_density
from pdekit.fitting.diagnosis.boundary import attainable, check_boundary
from pdekit.fitting.evidence import Evidence
from pdekit.symbolic import SymbolicSDE, models


def evidence(model: SymbolicSDE, x: list[float], dt: float = 0.1, **truth: float) -> Evidence:
    data = Trajectories.from_arrays(dt * np.arange(len(x)), x, time_unit="s")
    pairs, theta = data.pairs(), model.theta(truth)
    nothing = torch.zeros(len(theta), len(theta), dtype=torch.float64)
    return Evidence(model, data, pairs, theta, nothing, transition_density(model, pairs, theta), 0)


X = [0.3, 0.35, 0.32, 0.28, 0.3]


@pytest.mark.parametrize(
    ("name", "truth", "reached"),
    [
        ("cir", {"kappa": 1.0, "theta": 0.3, "sigma": 0.7}, False),  # 2 kappa theta = .6 > .49
        ("cir", {"kappa": 1.0, "theta": 0.2, "sigma": 0.7}, True),
        ("ckls", {"alpha": 0.1, "beta": -0.3, "sigma": 0.5, "gamma": 0.9}, False),
        ("ckls", {"alpha": 0.1, "beta": -0.3, "sigma": 0.5, "gamma": 0.4}, True),
        ("geometric_brownian_motion", {"mu": -1.0, "sigma": 0.3}, False),
    ],
)
def test_whether_zero_is_reached(name, truth, reached):
    assert attainable(evidence(getattr(models, name)(), X, **truth), 0.0, "lower") == reached


def test_the_two_ends_of_an_interval_are_told_apart():
    # Near 0 the ratio 2 * drift * distance / g^2 is 2 k m / s^2 = .8, near 1 it is 2 k (1 - m) / s^2 = 1.2.
    jacobi = SymbolicSDE(
        "x", "k*(m - x)", "s*sqrt(x*(1 - x))", {"k": (0, None), "m": (0, 1), "s": (0, None)}, domain=[(0, 1)]
    )
    case = evidence(jacobi, X, k=1.0, m=0.4, s=1.0)
    assert attainable(case, 0.0, "lower")
    assert not attainable(case, 1.0, "upper")


def test_only_a_near_boundary_that_is_reached_earns_a_note():
    cir = models.cir()
    (far,) = check_boundary(evidence(cir, X, dt=1e-3, kappa=1.0, theta=0.2, sigma=0.7))
    (near,) = check_boundary(evidence(cir, X, dt=0.5, kappa=1.0, theta=0.2, sigma=0.7))
    (entrance,) = check_boundary(evidence(cir, X, dt=0.5, kappa=1.0, theta=0.3, sigma=0.7))
    assert [c.flag.severity for c in (far, near, entrance)] == ["ok", "note", "ok"]
    # x / (sigma sqrt(x) sqrt(dt)) at the lowest start, .28.
    assert near.flag.value == pytest.approx(np.sqrt(0.28 / 0.5) / 0.7)
    assert "reflected" in near.flag.detail


def test_the_whole_line_has_no_boundary():
    assert check_boundary(evidence(models.ornstein_uhlenbeck(), X, theta=1.0, mu=0.0, sigma=1.0)) == []
