"""Every way to a fit ends in the same object."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import DataError, InputError, UnsupportedError

WELL = pk.models.get("double_well")


@pytest.fixture(scope="module")
def path():
    sde = WELL.at(a=1.0, b=1.0, sigma=0.5)
    return pk.simulate(sde, 1.0, torch.arange(3001.0) / 20, seed=1)


@pytest.fixture(scope="module")
def data(path):
    return pk.Trajectories.from_arrays(path.times, path.values[:, 0])


@pytest.fixture(scope="module")
def snapshots():
    times = torch.linspace(0.0, 2.0, 5, dtype=torch.float64)
    start = -1.5 + 0.2 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cloud = pk.simulate(WELL.at(a=1.0, b=1.0, sigma=0.5), start, times, seed=1).values
    return pk.Snapshots(times, [cloud[k, 400 * k : 400 * (k + 1)] for k in range(5)])


def kept(fit, folder):
    fit.save(folder / "kept")
    return pk.Fit.load(folder / "kept")


def test_kernels(data, tmp_path):
    fit = pk.fit(pk.KramersMoyal(), data)
    assert fit.method == "kramers-moyal"
    assert "Coefficients" in fit.summary()
    x = torch.tensor([[1.0]], dtype=torch.float64)
    assert abs(float(fit.model.noise(0.0, x)) - 0.5) < 0.05
    again = kept(fit, tmp_path)
    assert again.loglik == fit.loglik
    assert torch.equal(again.model.drift(0.0, x), fit.model.drift(0.0, x))


def test_search_for_terms(data, tmp_path):
    fit = pk.fit(pk.SparseSDE(drift=pk.Library.polynomial(3)), data)
    assert set(fit.params) == {"f_x", "f_x3", "s"}
    assert "Candidate terms" in fit.summary()
    again = kept(fit, tmp_path)
    assert again.loglik == fit.loglik
    assert "Candidate terms" in again.summary()
    # The chosen model, stated by hand, has the same maximum.
    stated = pk.fit(pk.SymbolicSDE("x", "a*x + b*x**3", "s", {"a": None, "b": None, "s": (0, None)}), data)
    assert stated.loglik == pytest.approx(fit.loglik, abs=1e-3)


def test_noisy_readings(path, tmp_path):
    noise = 0.1 * torch.randn(len(path.times), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    readings = pk.Trajectories.from_arrays(path.times[:1001], (path.values[:, 0] + noise)[:1001])
    fit = pk.fit(WELL, readings, observation=pk.Observation(noise="estimate"))
    assert abs(fit.params["noise_x"].estimate - 0.1) < 4 * fit.params["noise_x"].stderr
    assert not [flag.title for flag in fit.flags if "noise" in flag.title.lower()]
    fit.plot()
    again = kept(fit, tmp_path)
    assert again.loglik == fit.loglik
    assert again.estimate.observation == fit.estimate.observation
    assert fit.simulate(paths=2, horizon=1.0).values.shape[1:] == (2, 1)


def test_a_position_without_its_velocity():
    model = pk.models.get("damped_oscillator")
    run = pk.simulate(model.at(**model.defaults), [1.0, 0.0], torch.arange(801.0) / 10, seed=1)
    fit = pk.fit(
        model, pk.Trajectories.from_arrays(run.times, run.values[:, 0, :1]), observation=pk.Observation(of=["x"])
    )
    for name, value in model.defaults.items():
        assert abs(fit.params[name].estimate - value) < 4 * fit.params[name].stderr
    assert fit.evidence.of_states.data.names == ("x", "v")
    assert "coefficients" not in fit.summary()
    fit.plot()


def test_snapshots(snapshots, tmp_path):
    fit = pk.fit(WELL, snapshots)
    for name, value in {"a": 1.0, "b": 1.0, "sigma": 0.5}.items():
        assert abs(fit.params[name].estimate - value) < 4 * fit.params[name].stderr
    assert fit.n == 2000
    assert "Snapshots" in fit.summary()
    fit.report(tmp_path / "page.html")
    again = kept(fit, tmp_path)
    assert again.loglik == fit.loglik
    with pytest.raises(UnsupportedError, match="not paired"):
        fit.simulate()


def test_networks(data, tmp_path):
    options = pk.NeuralSDE(hidden=(8,), ensemble=2, training=pk.Training(steps=5))
    fit = pk.fit(options, data)
    again = kept(fit, tmp_path)
    x = torch.tensor([[0.5]], dtype=torch.float64)
    assert torch.equal(again.model.drift(0.0, x), fit.model.drift(0.0, x))
    assert again.loglik == pytest.approx(fit.loglik, rel=1e-12)


@pytest.mark.parametrize("model", [pk.KramersMoyal(), pk.SparseSDE(), pk.NeuralSDE()], ids=lambda m: type(m).__name__)
class TestRefusals:
    def test_options_of_a_model_with_parameters(self, model, data):
        for options in ({"fixed": {"a": 1.0}}, {"start": {"a": 1.0}}, {"method": "euler"}):
            with pytest.raises(InputError, match="belongs to a model with named parameters"):
                pk.fit(model, data, **options)

    def test_unpaired_samples(self, model, snapshots):
        with pytest.raises(InputError, match="paired"):
            pk.fit(model, snapshots)


def test_what_is_no_model_and_no_data(data):
    with pytest.raises(InputError, match="must be a SymbolicSDE"):
        pk.fit("double_well", data)
    with pytest.raises(InputError, match="Trajectories or Snapshots"):
        pk.fit(WELL, np.zeros(5))


def test_readings_of_states_that_do_not_exist(data):
    with pytest.raises((InputError, DataError)):
        pk.fit(WELL, data, observation=pk.Observation(of=["velocity"]))
