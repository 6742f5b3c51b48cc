import math

import numpy as np
import pytest
import torch

from pdekit.sde import SDE
from pdekit.simulation import EulerMaruyama, simulate


def double_well(**options):
    return SDE(lambda t, x: x - x**3, lambda t, x: torch.full_like(x, 0.5), dim=1, **options)


def test_fine_output_needs_no_substeps():
    run = simulate(double_well(separable=True), 1.0, np.linspace(0, 1, 101), seed=0)
    assert run.dt == pytest.approx(0.01)


def test_a_better_scheme_takes_longer_steps():
    times = [0.0, 1.0, 2.0]
    euler = simulate(double_well(), 1.0, times, seed=0).dt
    assert simulate(double_well(separable=True), 1.0, times, seed=0).dt >= 4 * euler


def test_the_step_chosen_keeps_its_promise():
    times = np.linspace(0, 5, 11)
    chosen = simulate(double_well(separable=True), 1.0, times, paths=20_000, seed=0)
    exact = simulate(double_well(separable=True), 1.0, times, paths=20_000, seed=1, dt=1e-2)
    # 1 % of a move per interval is far below four standard errors of the two samples.
    for power in (1, 2):
        a, b = chosen.values[-1] ** power, exact.values[-1] ** power
        assert abs(a.mean() - b.mean()) < 4 * math.hypot(a.std(), b.std()) / math.sqrt(20_000)


def test_stiff_drift_gets_stable_steps():
    stiff = SDE(lambda t, x: -500 * (x - torch.cos(t)), lambda t, x: torch.ones_like(x), dim=1)
    run = simulate(stiff, 1.0, [0.0, 0.5, 1.0], seed=0, scheme=EulerMaruyama())
    assert run.dt < 2 / 500
    assert abs(run.values[-1].item() - math.cos(1)) < 0.2


@pytest.mark.parametrize(("rate", "found"), [(20.0, r"it is \d+\.\d%"), (1000.0, "more than 100%")])
def test_a_step_that_can_not_be_found_is_said(rate, found, monkeypatch):
    monkeypatch.setattr("pdekit.simulation.pilot.MOST_SUBSTEPS", 32)
    fast = SDE(lambda t, x: -rate * x, lambda t, x: torch.ones_like(x), dim=1)
    with pytest.warns(UserWarning, match=rf"No step down to 0\.0312 .*{found}.* give dt"):
        simulate(fast, 1.0, [0.0, 1.0], seed=0, scheme=EulerMaruyama())


def test_choosing_a_step_does_not_change_the_paths():
    chosen = simulate(double_well(separable=True), 1.0, [0.0, 1.0, 2.0], seed=0)
    given = simulate(double_well(separable=True), 1.0, [0.0, 1.0, 2.0], seed=0, dt=chosen.dt)
    assert torch.equal(chosen.values, given.values)


def test_a_state_at_rest_is_no_obstacle():
    still = SDE(lambda t, x: 0 * x, lambda t, x: 0 * x, dim=1)
    assert simulate(still, 1.0, [0.0, 1.0], seed=0).dt == 1.0
