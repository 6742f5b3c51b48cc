"""Options of the ways of fitting that make no sense are refused by name, before any work."""

import numpy as np
import pytest

import pdekit as pk
from pdekit.errors import InputError


@pytest.fixture(scope="module")
def data():
    x = np.cumsum(np.random.default_rng(0).standard_normal(300)) * 0.1
    return pk.Trajectories.from_arrays(np.arange(300) * 0.1, x, names=["x"])


@pytest.mark.parametrize(("options", "said"), [({"lags": 1.5}, "lags"), ({"points": 10**9}, "points must be")])
def test_kernels(options, said):
    with pytest.raises(InputError, match=said):
        pk.KramersMoyal(**options)


def test_a_bandwidth_without_observations(data):
    with pytest.raises(InputError, match="so narrow that fewer than 10 of 300 observations of x"):
        pk.fit(pk.KramersMoyal(bandwidth=1e-9), data)


def test_comparisons_take_several_models_and_paths(data):
    with pytest.raises(InputError, match="list of models"):
        pk.compare(pk.KramersMoyal(), data)  # type: ignore[arg-type]  # the mistake that is tested
    snapshots = pk.Snapshots([0.0, 1.0], [np.zeros((3, 1)), np.ones((3, 1))])
    with pytest.raises(InputError, match="takes Trajectories, got Snapshots"):
        pk.compare([pk.KramersMoyal(), pk.SparseSDE()], snapshots)  # type: ignore[arg-type]  # the mistake that is tested


def test_a_density_does_not_serve_noisy_readings(data):
    with pytest.raises(InputError, match="noisy or partial"):
        pk.fit(pk.models.ornstein_uhlenbeck(), data, method="kessler", observation=pk.Observation(noise=0.1))


def test_identical_models_are_called_the_same(data):
    ou = pk.models.ornstein_uhlenbeck()
    found = pk.compare({"one": ou, "two": ou}, data)
    assert {row[5] for row in found.table().rows} == {"best", "same"}
