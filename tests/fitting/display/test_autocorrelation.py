"""Autocorrelation against direct sums and the exponential of the Ornstein-Uhlenbeck process."""

import math

import torch

from pdekit import Trajectories, models, simulate
from pdekit.fitting.display.autocorrelation import autocorrelation, simulated_band, slot_and_lags


def test_regular_record_agrees_with_the_direct_sum():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = autocorrelation((torch.arange(50.0),), (x,), slot=1.0, lags=7).values
    y = x - x.mean(0)
    for k in range(8):
        direct = (y[: 50 - k] * y[k:]).mean(0) / (y * y).mean(0)
        torch.testing.assert_close(found[k], direct, rtol=0, atol=1e-12)


def test_gaps_are_left_out_and_paths_are_pooled():
    t = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    x = torch.tensor([1.0, 2.0, -1.0, -3.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    broken = autocorrelation((t,), (x,), slot=1.0, lags=3)
    pooled = autocorrelation((t[:3], t[3:]), (x[:3], x[3:]), slot=1.0, lags=3)
    torch.testing.assert_close(broken.values[:3], pooled.values[:3], rtol=0, atol=1e-12)
    assert bool(torch.isnan(broken.values[3]).all())  # no two observations are 3 apart


def test_many_records_are_each_their_own():
    x = torch.randn(40, 5, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.arange(40.0)
    together = autocorrelation((t,), (x,), slot=1.0, lags=4).values
    for i in range(5):
        alone = autocorrelation((t,), (x[:, i],), slot=1.0, lags=4).values
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-12)


def test_jittered_ou_decays_exponentially():
    generator = torch.Generator().manual_seed(3)
    t = torch.cumsum(0.1 + 0.04 * (torch.rand(5_000, generator=generator, dtype=torch.float64) - 0.5), 0)
    path = simulate(models.get("ou").at(theta=1.0, mu=0.0, sigma=1.0), 0.0, t, dt=0.2, seed=4)
    data = Trajectories.from_arrays(t, path.values[:, 0])
    slot, lags = slot_and_lags(data)
    found = autocorrelation(data.times, data.values, slot=slot, lags=lags)
    assert 2.0 < float(found.lags[-1]) < 20.0
    # Bartlett: the error of an autocorrelation over T = 500 relaxation times is about sqrt(1 / T)
    assert float((found.values[:, 0] - torch.exp(-found.lags)).abs().max()) < 4 / math.sqrt(500)


def test_band_holds_its_share():
    every = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None, None].expand(201, 3, 1)
    low, middle, high = simulated_band(every)
    torch.testing.assert_close(torch.stack([low, middle, high])[:, 0, 0], torch.tensor([0.025, 0.5, 0.975]).double())
