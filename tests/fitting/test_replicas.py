"""Simulated records: right law, right times, bounded cost."""

import torch

from pdekit import Trajectories, models, simulate
from pdekit.fitting.evidence import Evidence
from pdekit.fitting.replicas import _MOST_STEPS, Replicas, simulate_future, simulate_replicas


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


def test_a_stiff_long_record_is_cut_not_simulated_for_minutes():
    data = ou_data(40_000, 0.01)
    found = simulate_replicas(evidence_of("ou", {**OU, "theta": 100.0}, data), slot=0.01)
    assert isinstance(found, Replicas)
    assert not found.whole
    assert len(found.times[0]) <= _MOST_STEPS + 1


def test_an_explosion_is_a_reason_not_an_error():
    t = torch.arange(30.0)
    data = Trajectories.from_arrays(t, torch.sin(t) + 3.0)
    evidence = evidence_of("double_well", {"a": 1.0, "b": 1.0, "sigma": 0.5}, data)
    model = models.get("double_well").with_bounds(a=None, b=None)
    exploding = Evidence(
        model, data, data.pairs(), model.theta({"a": 1.0, "b": -1.0, "sigma": 0.5}), evidence.covariance, None, 0
    )  # pyright: ignore
    assert "could not be simulated" in simulate_replicas(exploding, slot=1.0)
    assert "could not be simulated" in simulate_future(exploding, 10.0)
