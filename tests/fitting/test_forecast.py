"""Continuations: where they start, when they are, and what law they have."""

import math

import pytest
import torch

from pdekit import Trajectories, fit, models, simulate
from pdekit.errors import InputError
from pdekit.fitting.forecast import continue_paths, forecast_times


@pytest.fixture(scope="module")
def found():
    sde = models.get("ou").at(theta=1.0, mu=0.0, sigma=0.5)
    path = simulate(sde, 1.0, torch.arange(401.0) / 4, seed=1)
    data = Trajectories.from_arrays(path.times + 10.0, path.values[:, 0])
    return fit(models.get("ou"), data)


def test_times_continue_the_data(found):
    future = found.simulate(paths=3, horizon=2.0, seed=4)
    torch.testing.assert_close(future.times, 110.0 + 0.25 * torch.arange(9.0, dtype=torch.float64))
    assert bool((future.values[0] == found.data.values[-1][-1]).all())
    assert future.boundary == "reflect"


def test_default_horizon_is_the_data_and_default_seed_the_fits(found):
    future = continue_paths(found, paths=2)
    assert abs(float(future.times[-1] - future.times[0]) - found.data.duration) < 1e-9
    assert future.seed == found.seed
    assert torch.equal(future.values, continue_paths(found, paths=2).values)


def test_law_after_one_time_unit(found):
    future = continue_paths(found, paths=4000, horizon=1.0, seed=2)
    theta, mu, sigma = (found.params[name].estimate for name in ("theta", "mu", "sigma"))
    x0, decay = float(found.data.values[-1][-1]), math.exp(-theta)
    sd = sigma * math.sqrt((1 - decay**2) / (2 * theta))
    end = future.values[-1, :, 0]
    assert abs(float(end.mean()) - (mu + (x0 - mu) * decay)) < 4 * sd / math.sqrt(4000)
    assert abs(float(end.std()) / sd - 1.0) < 4 / math.sqrt(2 * 4000) + 0.01  # and the pilot's 1 %


def test_a_horizon_shorter_than_a_step_is_kept(found):
    torch.testing.assert_close(forecast_times(found.data, 0.1), torch.tensor([110.0, 110.1]).double())


def test_the_last_path_is_continued():
    t = torch.arange(5.0)
    data = Trajectories.from_arrays([t, t + 100.0], [t.sin(), t.cos()])
    assert float(forecast_times(data, 2.0)[0]) == 104.0


@pytest.mark.parametrize("horizon", [0.0, -1.0, math.inf, math.nan])
def test_impossible_horizons_are_refused(found, horizon):
    with pytest.raises(InputError, match="horizon must be a positive number"):
        continue_paths(found, horizon=horizon)


def test_a_horizon_that_fills_the_memory_is_refused(found):
    with pytest.raises(InputError, match="ask for a shorter one"):
        continue_paths(found, horizon=1e9)
