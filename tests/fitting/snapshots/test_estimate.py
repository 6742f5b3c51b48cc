"""Fits to snapshots of equations whose laws are known, and what snapshots can't tell."""

import math

import numpy as np
import pytest
import torch

from pdekit.data.snapshots import Snapshots
from pdekit.errors import DataError, InputError, UnsupportedError
from pdekit.fitting.snapshots.estimate import fit_snapshots
from pdekit.symbolic import SymbolicSDE

OU = SymbolicSDE("x", "k*(m - x)", "s", params={"k": (0, None), "m": None, "s": (0, None)})
SPIRAL = SymbolicSDE(
    ["x", "y"], ["-k*x + w*y", "-w*x - k*y"], ["s", "s"], params={"k": None, "w": None, "s": (0, None)}
)


def _relaxing(seed, n=500, mean=2.0, deviation=0.4, times=(0.0, 0.3, 0.7, 1.5), k=1.0, s=0.7):
    """Exact samples of dx = -k x dt + s dW."""
    rng = np.random.default_rng(seed)
    found = []
    for t in times:
        e = math.exp(-k * t)
        var = deviation**2 * e * e + s * s * (1 - e * e) / (2 * k)
        found.append(mean * e + math.sqrt(var) * rng.normal(size=n))
    return Snapshots(times, found)


def _settled(seed, n=400, count=5):
    return _relaxing(seed, n, 0.0, 0.7 / math.sqrt(2), tuple(np.linspace(0, 1, count)))


def test_error_bars_cover_with_an_unknown_law_at_the_start():
    model = OU.fix(m=0.0)
    scores = []
    for seed in range(6):
        found = fit_snapshots(model, _relaxing(seed, n=150, times=(0.0, 0.4, 1.0)))
        assert found.converged
        scores.append((found.theta.numpy() - [1.0, 0.7]) / found.covariance.diagonal().sqrt().numpy())
    # The sum of 6 squares of standard normal numbers lies between these with a probability of .998.
    assert np.all((np.square(scores).sum(0) > 0.38) & (np.square(scores).sum(0) < 22.5))


def test_what_a_fit_reports():
    told = []
    found = fit_snapshots(OU, _relaxing(0), progress=lambda what, value: told.append(value))
    assert found.method == "grid"
    assert found.loglik is not None
    assert told
    assert found.loglik == pytest.approx(told[-1], abs=1.0)
    assert set(found.params) == {"k", "m", "s"}
    assert "Fokker-Planck" in found.route
    assert found.flags == ()
    assert torch.allclose(found.sandwich.diagonal().sqrt(), found.covariance.diagonal().sqrt(), rtol=0.3)
    again = fit_snapshots(OU, _relaxing(0), start={"k": 0.5}, fixed={"m": 0.0})
    assert again.stderr["m"] == 0.0
    assert again.free.tolist() == [True, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_settled_laws_are_refused(seed):
    with pytest.raises(DataError, match=r"one law.*common factor.*k, m, s"):
        fit_snapshots(OU, _settled(seed))


def test_settled_laws_with_known_noise():
    found = fit_snapshots(OU, _settled(0), fixed={"s": 0.7})
    assert abs(found.params["k"] - 1) < 3.5 * found.stderr["k"]
    assert [flag.title for flag in found.flags] == ["The law does not move"]


def test_a_positive_state():
    """Geometric Brownian motion: log x is normal, its drift m - s^2/2."""
    model = SymbolicSDE("x", "m*x", "s*x", params={"m": None, "s": (0, None)}, domain=[(0, None)])
    rng = np.random.default_rng(0)
    times = [0.0, 0.5, 1.0]
    logs = [(0.4 - 0.045) * t + math.sqrt(0.04 + 0.09 * t) * rng.normal(size=800) for t in times]
    found = fit_snapshots(model, Snapshots(times, [np.exp(y) for y in logs]))
    assert np.all(np.abs(found.theta.numpy() - [0.4, 0.3]) < 3.5 * found.covariance.diagonal().sqrt().numpy())


def test_weak_equations_in_two_states():
    found = fit_snapshots(SPIRAL, _spiral(0), method="weak")
    assert found.loglik is None
    assert np.all(np.abs(found.theta.numpy() - [1.0, 2.0, 0.6]) < 4 * found.covariance.diagonal().sqrt().numpy())


def _spiral(seed, n=600, start=(1.2, 0.0), times=(0.0, 0.25, 0.5, 0.75, 1.0), width=0.4):
    rng, found = np.random.default_rng(seed), []
    for t in times:
        e = math.exp(-t)
        mean = [e * (math.cos(2 * t) * start[0] + math.sin(2 * t) * start[1])]
        mean.append(e * (math.cos(2 * t) * start[1] - math.sin(2 * t) * start[0]))
        found.append(np.array(mean) + math.sqrt(width**2 * e * e + 0.18 * (1 - e * e)) * rng.normal(size=(n, 2)))
    return Snapshots(times, found)


def test_a_rotation_that_no_law_shows_is_flagged():
    data = _spiral(1, n=500, start=(0.0, 0.0), times=(0.0, 0.2, 0.4), width=1.2)
    found = fit_snapshots(SPIRAL, data, fixed={"s": 0.6}, method="weak")
    assert abs(found.params["k"] - 1) < 4 * found.stderr["k"]
    serious = [flag for flag in found.flags if flag.severity == "serious"]
    assert [flag.title for flag in serious] == ["Parameters not identified"]
    assert "about w is no more than sampling errors" in serious[0].detail


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "euler"}, InputError, "method"),
        ({"start": {"q": 1.0}}, InputError, "'q'"),
        ({"fixed": {"k": -1.0}}, InputError, "outside its bounds"),
        ({"fixed": {"k": 1.0, "m": 0.0, "s": 1.0}}, InputError, "nothing to estimate"),
    ],
)
def test_refusals(change, error, message):
    with pytest.raises(error, match=message):
        fit_snapshots(OU, _relaxing(0, n=20), **change)


def test_data_that_do_not_fit_the_model():
    with pytest.raises(DataError, match=r"1 state\(s\)"):
        fit_snapshots(OU, _spiral(0, n=20))
    with pytest.raises(DataError, match="outside the domain"):
        fit_snapshots(SymbolicSDE("x", "-k*x", "s*x", domain=[(0, None)]), _settled(0, n=20))
    with pytest.raises(UnsupportedError, match="weak"):
        fit_snapshots(SymbolicSDE("x", "-k*x*t", "s"), _relaxing(0, n=20), method="grid")
    with pytest.raises(InputError, match="Snapshots"):
        fit_snapshots(OU, [1.0])  # type: ignore[arg-type]
