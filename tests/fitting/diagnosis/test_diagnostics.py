"""Every defect raises its own flag; clean records raise none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.fitting.diagnosis.diagnostics import Diagnostics, diagnose
from pdekit.fitting.estimation import fit
from pdekit.fitting.evidence import Evidence
from pdekit.symbolic import SymbolicSDE, models

OU = models.ornstein_uhlenbeck()
SPIRAL = SymbolicSDE(
    ["x", "y"], ["-a*x + w*y", "-w*x - a*y"], ["s", "s"], params={"a": (0, None), "w": None, "s": (0, None)}
)


def fitted(model: SymbolicSDE, data: Trajectories, **options) -> Evidence:
    return fit(model, data, **options).evidence


def raised(found: Diagnostics) -> set[str]:
    """The titles of warnings and worse."""
    return {flag.title for flag in found.flags if flag.severity in ("warning", "serious")}


def spiral(n: int, dt: float, seed: int) -> Trajectories:
    """A linear spiral, a = 1, w = 2, s = .5, exact at any step: a rotation, a contraction and isotropic noise."""
    rng = np.random.default_rng(seed)
    turn = np.exp(-dt) * np.array([[np.cos(2 * dt), np.sin(2 * dt)], [-np.sin(2 * dt), np.cos(2 * dt)]])
    spread = 0.5 * np.sqrt((1.0 - np.exp(-2.0 * dt)) / 2.0)
    x = np.zeros((n, 2))
    for i in range(1, n):
        x[i] = turn @ x[i - 1] + spread * rng.standard_normal(2)
    return Trajectories.from_arrays(dt * np.arange(n), x, time_unit="s")


def with_values(data: Trajectories, change) -> Trajectories:
    return Trajectories.from_arrays(data.times[0].numpy(), change(data.values[0][:, 0].numpy().copy()), time_unit="s")


def test_clean_records_raise_nothing(ornstein_uhlenbeck_path):
    alarms = [raised(diagnose(fitted(OU, ornstein_uhlenbeck_path(1000, 0.3, seed)))) for seed in range(16)]
    # Some eight tests at one in a thousand: 16 records raise two alarms with a probability of 1 %.
    assert sum(map(bool, alarms)) <= 1


def test_a_clean_double_well_raises_nothing(double_well_path):
    found = diagnose(fitted(models.double_well(), double_well_path(2000, 0.5, 1, substeps=50)))
    assert found.ok, found
    assert found.pit.shape == found.residuals.shape == (1999,)


def test_several_paths_with_irregular_steps():
    rng, times, values = np.random.default_rng(5), [], []
    for n in (300, 150, 20):
        dt = rng.uniform(0.05, 0.6, n - 1)
        x = np.zeros(n)
        for i in range(1, n):
            decay = np.exp(-dt[i - 1])
            x[i] = decay * x[i - 1] + 0.5 * np.sqrt((1.0 - decay**2) / 2.0) * rng.standard_normal()
        times.append(np.concatenate([[0.0], np.cumsum(dt)]))
        values.append(x)
    found = diagnose(fitted(OU, Trajectories.from_arrays(times, values, time_unit="s")))
    assert found.ok, found
    assert len(found.positions) == 467


def test_tiny_records_are_diagnosed(ornstein_uhlenbeck_path):
    found = diagnose(fitted(OU, ornstein_uhlenbeck_path(30, 0.5, 1)))
    assert raised(found) <= {"Record too short", "theta is hardly determined"}


def test_the_wrong_noise_has_the_wrong_shape():
    # A square-root process, fitted with constant noise.
    rng, x = np.random.default_rng(1), np.full(3000, 0.1)
    for i in range(1, len(x)):
        current = x[i - 1]
        for _ in range(10):
            current = abs(current + (0.1 - current) * 0.01 + 0.4 * np.sqrt(current) * 0.1 * rng.standard_normal())
        x[i] = current
    found = diagnose(fitted(OU, Trajectories.from_arrays(0.1 * np.arange(len(x)), x, time_unit="s")))
    assert {"Transition law has the wrong shape", "Autocorrelation in the squared residuals"} <= raised(found)


def test_a_hidden_velocity_is_noticed():
    rng, x, v = np.random.default_rng(1), np.zeros(2000), 0.0
    for i in range(1, len(x)):
        current = x[i - 1]
        for _ in range(10):
            v += (-current - 1.5 * v) * 0.01 + 0.05 * rng.standard_normal()
            current += 0.01 * v
        x[i] = current
    found = diagnose(fitted(OU, Trajectories.from_arrays(0.1 * np.arange(len(x)), x, time_unit="s")))
    assert "Autocorrelation in the residuals" in raised(found)
    assert any(title.startswith("The fit fails over") for title in raised(found))
    assert "Suspicion of measurement noise" not in raised(found)


def test_noise_breaks_chapman_kolmogorov(ornstein_uhlenbeck_path):
    noise = 0.1 * np.random.default_rng(2).standard_normal(4000)
    found = diagnose(fitted(OU, with_values(ornstein_uhlenbeck_path(4000, 0.05, 1), lambda x: x + noise)))
    assert {"The fit fails over 2 steps", "Suspicion of measurement noise"} <= raised(found)


def test_an_outlier_is_listed_with_its_time_and_row(ornstein_uhlenbeck_path):
    def jump(x: np.ndarray) -> np.ndarray:
        x[500] += 3.0
        return x

    found = diagnose(fitted(OU, with_values(ornstein_uhlenbeck_path(2000, 0.1, 3), jump)))
    (flag,) = (f for f in found.flags if f.title == "Outliers")
    assert flag.value == 2
    assert "t = 49.9, observation 500 to 501 (+" in flag.detail
    assert "t = 50, observation 501 to 502 (-" in flag.detail


@pytest.mark.parametrize(("periods", "severities"), [(600, {"ok"}), (50, {"warning"}), (12, {"serious"})])
def test_short_records_are_flagged(ornstein_uhlenbeck_path, periods, severities):
    for seed in range(4):
        found = diagnose(fitted(OU, ornstein_uhlenbeck_path(periods * 5, 0.2, seed)))
        (check,) = (c for c in found.checks if c.name == "Record length")
        assert {check.flag.severity} <= severities | ({"warning"} if periods == 12 else set())


def test_a_record_without_stationary_law_gets_a_note():
    rng = np.random.default_rng(1)
    x = np.exp(np.cumsum(0.003 + 0.06 * rng.standard_normal(500)))
    found = diagnose(fitted(models.geometric_brownian_motion(), Trajectories.from_arrays(0.1 * np.arange(500), x)))
    assert found.ok, found
    assert found.relaxation_time is None
    assert "No stationary law" in {flag.title for flag in found.flags}


def test_independent_observations_are_noticed(ornstein_uhlenbeck_path):
    found = diagnose(fitted(OU, ornstein_uhlenbeck_path(1000, 5.0, 2)))
    assert {"Observations too far apart", "Parameters can't be told apart"} <= raised(found)


def test_a_redundant_parameter_is_named(ornstein_uhlenbeck_path):
    found = fitted(OU, ornstein_uhlenbeck_path(1000, 0.1, 1))
    errors = torch.tensor([2.0, 1.0, 0.01], dtype=torch.float64)
    together = torch.tensor([[1.0, -0.9995, 0.0], [-0.9995, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    vague = diagnose(replace(found, covariance=errors[:, None] * together * errors))
    (flag,) = (f for f in vague.flags if f.title == "Parameters can't be told apart")
    # (1 + .9995) / (1 - .9995)
    assert flag.value == pytest.approx(3999.0)
    assert "correlation of theta and mu: -0.9995" in flag.detail or "mu and theta: -0.9995" in flag.detail
    assert "theta is hardly determined" in raised(vague)
    sharp = diagnose(replace(found, covariance=1e-4 * errors[:, None] * together * errors))
    assert "Parameters strongly correlated" in {f.title for f in sharp.flags if f.severity == "note"}


def test_what_the_search_reports_is_passed_on(ornstein_uhlenbeck_path):
    found = fitted(OU, ornstein_uhlenbeck_path(1500, 0.2, 1))
    bad = diagnose(found, shift=np.array([0.01, -0.3, 0.0]), at_bound=("theta",), converged=False)
    assert {"The search did not converge", "Parameter at its bound", "The likelihood is not converged"} <= raised(bad)
    assert diagnose(found, shift=np.array([0.01, -0.02, 0.0])).ok


def test_a_singular_covariance_is_reported(ornstein_uhlenbeck_path):
    found = fitted(OU, ornstein_uhlenbeck_path(300, 0.2, 1))
    nowhere = torch.full((3, 3), torch.nan, dtype=torch.float64)
    assert "Parameters not identified" in raised(diagnose(replace(found, covariance=nowhere)))


def test_two_dimensions():
    assert diagnose(fitted(SPIRAL, spiral(6000, 0.01, 1))).residuals.shape == (5999, 2)
    found = diagnose(fitted(SPIRAL, spiral(3000, 0.2, 1), method="euler"))
    assert "Step too coarse for Euler" in raised(found)
    assert not raised(diagnose(fitted(SPIRAL, spiral(3000, 0.2, 1))))  # by the density that is exact for it
    assert found.pit is None
    # The components forget at rate 1 while they turn.
    assert found.relaxation_time == pytest.approx(1.0, rel=0.4)


def test_noise_in_one_of_two_dimensions_is_noticed():
    data = spiral(4000, 0.02, 3)
    x = data.values[0].numpy().copy()
    x[:, 1] += 0.05 * np.random.default_rng(1).standard_normal(len(x))
    found = diagnose(
        fitted(SPIRAL, Trajectories.from_arrays(data.times[0].numpy(), x, time_unit="s", names=["x", "y"]))
    )
    (flag,) = (f for f in found.flags if f.title == "Suspicion of measurement noise")
    assert "residuals of y" in flag.detail


def test_long_records_are_sampled_in_blocks(ornstein_uhlenbeck_path):
    found = diagnose(fitted(OU, ornstein_uhlenbeck_path(30_000, 0.05, 1)))
    assert found.ok, found
    assert len(found.positions) == len(found.pit) == 10_000


def test_the_same_seed_gives_the_same_findings():
    found = fitted(SPIRAL, spiral(500, 0.1, 1))
    assert repr(diagnose(found)) == repr(diagnose(found))


def test_the_table_and_the_text(ornstein_uhlenbeck_path):
    found = diagnose(fitted(OU, ornstein_uhlenbeck_path(250, 0.2, 1)))
    assert found.table().columns == ("check", "statistic", "p / limit", "verdict")
    assert len(found.table().rows) == len(found.flags)
    assert "Record too short" in repr(found)
    assert all(flag.action for flag in found.flags if flag.severity in ("warning", "serious"))
