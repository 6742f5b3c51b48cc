"""Starting values of noisy and partial readings: in the basin of the truth, inside bounds, what is given kept."""

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.data import Pairs
from pdekit.fitting.filtering import Observation, observed_model, starting_values_observed
from pdekit.fitting.filtering.readings_noise import noise_level, series_of, smoothness
from pdekit.symbolic import SymbolicSDE

NOISY = Observation(noise="estimate")


def simulated(model: SymbolicSDE, values, start, dt, n, paths, level, columns, seed=0) -> Pairs:
    """Euler steps four to a reading, noise added to the columns that are kept."""
    rng, sde, h = np.random.default_rng(seed), model.at(**values), dt / 4
    x, out = torch.tensor(start, dtype=torch.float64).expand(paths, -1), []
    for _ in range(n + 1):
        out.append(x[:, columns].numpy())
        for _ in range(4):
            z = torch.from_numpy(rng.standard_normal((paths, model.dim)))
            x = x + sde.drift(0.0, x) * h + sde.diffusion(0.0, x) * z * np.sqrt(h)
    y = np.stack(out)
    return pk.Trajectories.from_arrays(np.arange(n + 1) * dt, y + level * rng.standard_normal(y.shape)).pairs()


@pytest.mark.parametrize("level", [0.02, 0.05, 0.2])
def test_the_noise_of_a_rough_record_is_read_from_its_differences(level):
    model = pk.models.get("double_well")
    pairs = simulated(model, model.defaults, [1.0], 0.01, 1000, 5, level, [0])
    assert smoothness(model, "x") == 0
    assert noise_level(series_of(pairs), 0, 0) == pytest.approx(level, rel=0.25)


def test_the_noise_of_a_smooth_record_is_read_from_higher_differences():
    model = pk.models.get("damped_oscillator")
    pairs = simulated(model, model.defaults, [0.5, 0.0], 0.1, 400, 5, 0.05, [0])
    assert (smoothness(model, "v"), smoothness(model, "x")) == (0, 1)
    assert noise_level(series_of(pairs), 0, 1) == pytest.approx(0.05, rel=0.1)


def test_series_are_the_paths_that_pairs_were_made_of():
    t = [[0.0, 1.0, 3.0], [0.0, 2.0, 2.5, 4.0]]
    x = [[1.0, 2.0, 0.0], [3.0, 1.0, 4.0, 1.0]]
    series = series_of(pk.Trajectories.from_arrays(t, x).pairs())
    assert [times.tolist() for times, _ in series] == t
    assert [readings[:, 0].tolist() for _, readings in series] == x


def test_a_noisy_double_well_starts_near_the_truth():
    plain = pk.models.get("double_well")
    model = observed_model(plain, NOISY)
    pairs = simulated(plain, plain.defaults, [1.0], 0.02, 600, 10, 0.05, [0])
    start = model.named(starting_values_observed(model, pairs, NOISY, {}))
    assert start["sigma"] == pytest.approx(0.5, rel=0.15)
    assert start["noise_x"] == pytest.approx(0.05, rel=0.15)
    assert 0.3 < start["a"] < 3.0
    assert 0.3 < start["b"] < 3.0


def test_an_unobserved_velocity_is_found_from_differences_and_what_is_given_is_kept():
    plain, observation = pk.models.get("damped_oscillator"), Observation(of=["x"])
    pairs = simulated(plain, plain.defaults, [0.5, 0.0], 0.1, 400, 5, 0.0, [0])
    start = plain.named(starting_values_observed(plain, pairs, observation, {"gamma": 0.5}))
    assert start["gamma"] == 0.5
    assert start["omega"] == pytest.approx(1.0, rel=0.2)
    assert start["T"] == pytest.approx(0.2, rel=0.4)


def test_hidden_states_behind_parameters_are_found_by_trying():
    model = SymbolicSDE(
        ["x", "h"], ["-x + c*h", "-h/2"], ["0.1", "0.5"], params={"c": (0, None)}, name="driven by a hidden force"
    )
    observation = Observation(of=["x"])
    pairs = simulated(model, {"c": 2.0}, [0.0, 0.0], 0.2, 200, 4, 0.0, [0])
    start = starting_values_observed(model, pairs, observation, {})
    assert float(start) == pytest.approx(2.0, rel=0.3)
