"""Simulated records: right law, right times, bounded cost."""

import torch

from pdekit import Simulation, Trajectories, models, simulate
from pdekit.fitting.display.replicas import Replicas, simulate_future, simulate_replicas
from pdekit.fitting.evidence import Evidence


def evidence_of(name, values, data) -> Evidence:
    model = models.get(name)
    k = len(model.params)
    return Evidence(model, data, data.pairs(), model.theta(values), torch.eye(k).double(), None, 7)  # pyright: ignore


OU = {"theta": 1.0, "mu": 0.0, "sigma": 0.5}


def ou_data(n, dt, paths=1):
    path = simulate(models.get("ou").at(**OU), 0.3, torch.arange(n + 1.0) * dt, paths=paths, seed=1)
    return Trajectories.from_arrays(path.times, path.values)


def test_records_start_where_the_data_do_and_have_the_law_of_the_model():
    data = ou_data(50, 0.5, paths=3)
    found = simulate_replicas(evidence_of("ou", OU, data), slot=0.5)
    assert isinstance(found, Replicas)
    assert found.whole
    assert len(found.simulated) == 3
    for t, observed, simulated in zip(found.times, found.observed, found.simulated, strict=True):
        assert simulated.shape == (51, found.records, 1)
        assert len(t) == 51
        assert bool((simulated[0] == observed[0]).all())
        # variance of 200 normal values: relative standard deviation 10 %
        assert abs(float(simulated[-1].var()) / 0.125 - 1.0) < 0.4
    assert not torch.equal(found.simulated[0], found.simulated[1])


def test_same_seed_same_records():
    evidence = evidence_of("ou", OU, ou_data(20, 0.5))
    first, second = (simulate_replicas(evidence, slot=0.5) for _ in range(2))
    assert torch.equal(first.simulated[0], second.simulated[0])


def test_a_future_is_shortened_rather_than_slow(monkeypatch):
    monkeypatch.setattr("pdekit.fitting.display.replicas._FUTURE_STEPS", 100)
    found = simulate_future(evidence_of("ou", OU, ou_data(20, 0.5)), 1e6)
    assert isinstance(found, Simulation)
    assert found.dt < 0.5  # of the relaxation time, 1
    assert float(found.times[-1]) < 60.0
    assert float(found.times[0]) == 10.0


def test_a_stiff_long_record_is_cut_not_simulated_for_minutes(monkeypatch):
    monkeypatch.setattr("pdekit.fitting.display.replicas._MOST_STEPS", 400)
    t = torch.arange(40_000.0) / 100
    data = Trajectories.from_arrays(t, torch.sin(t))
    found = simulate_replicas(evidence_of("ou", {**OU, "theta": 100.0}, data), slot=0.01)
    assert isinstance(found, Replicas)
    assert not found.whole
    assert 2 <= len(found.times[0]) <= 401


def test_an_explosion_is_a_reason_not_an_error():
    t = torch.arange(30.0)
    data = Trajectories.from_arrays(t, torch.sin(t) + 3.0)
    evidence = evidence_of("double_well", {"a": 1.0, "b": 1.0, "sigma": 0.5}, data)
    model = models.get("double_well").with_bounds(a=None, b=None)
    exploding = Evidence(
        model, data, data.pairs(), model.theta({"a": 1.0, "b": -1.0, "sigma": 0.5}), evidence.covariance, None, 0
    )  # pyright: ignore
    assert "could not be simulated" in simulate_replicas(exploding, slot=1.0)
