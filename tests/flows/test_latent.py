"""Latent ODEs on irregular series."""

import pytest
import torch

from pdekit.errors import InputError
from pdekit.flows import LatentODE, SeriesRNN, spirals
from pdekit.training import Training, train


def some(n=6, k=9, seed=0):
    """Series with times of their own."""
    t, x, clean = spirals(n, points=100, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(50, generator=generator)[:k].sort().values for _ in range(n)])
    row = torch.arange(n)[:, None]
    return t[chosen], x[row, chosen], t, clean


def test_spirals():
    t, x, clean = spirals(400, points=60, noise=0.1, seed=3)
    assert t.shape == (60,)
    assert float((x - clean).std()) == pytest.approx(0.1, rel=0.05)
    radius = clean.norm(dim=-1)
    assert bool((radius[::2].diff(dim=1) < 0).all())
    assert bool((radius[1::2].diff(dim=1) > 0).all())


@pytest.mark.parametrize("kind", [LatentODE, SeriesRNN])
def test_a_series_does_not_depend_on_the_others(kind):
    model = kind(2, seed=0).double()
    t, x, grid, _ = some()
    t, x, times = t.double(), x.double(), grid[None, 60:70].double().expand(6, 10)
    together = model(t, x, times)
    alone = torch.cat([model(t[k : k + 1], x[k : k + 1], times[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-8)


def test_the_path_is_followed_through_any_times():
    model = LatentODE(2, seed=0, rtol=1e-7).double()
    t, x, *_ = some()
    t, x = t.double(), x.double()
    few = t[:, :1] + torch.tensor([[0.0, 0.4, 1.0]]).double()
    many = t[:, :1] + torch.linspace(0, 1, 11).double()
    torch.testing.assert_close(model(t, x, few), model(t, x, many)[:, [0, 4, 10]], rtol=1e-5, atol=1e-6)
    later = few[:, 1:]
    torch.testing.assert_close(model(t, x, later), model(t, x, few)[:, 1:], rtol=1e-5, atol=1e-6)


def test_the_bound_is_the_textbook_one():
    model = LatentODE(2, seed=0).double()
    t, x, *_ = some()
    t, x = t.double(), x.double()
    mean, log_spread = model.posterior(t, x)
    with torch.no_grad():
        draws = torch.stack([model.elbo(t, x, torch.Generator().manual_seed(k)) for k in range(3)])
        free = torch.stack([model.elbo(t, x, torch.Generator().manual_seed(k), weight=0.0) for k in range(3)])
    normal = torch.distributions.Normal(mean, log_spread.exp())
    divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(free - draws, divergence.detach().expand(3, 6))


@pytest.mark.parametrize("kind", [LatentODE, SeriesRNN])
def test_training_makes_it_better(kind):
    model = kind(2, seed=0)
    t, x, *_ = some(32, 12)

    def loss(generator, share):
        return -model.elbo(t, x, generator).mean()

    history = train(model, loss, Training(steps=25, batch=32, rate=1e-2), seed=0, what="the series")
    assert history.losses[-1] < history.losses[0] - 5


def test_what_makes_no_sense_is_refused():
    model = LatentODE(2, seed=0)
    t, x, *_ = some()
    with pytest.raises(InputError, match="increase"):
        model.posterior(t.flip(1), x)
    with pytest.raises(InputError, match="readings"):
        model.posterior(t, x[..., :1])
    with pytest.raises(InputError, match="before the first"):
        model(t, x, t - 5)
    x = x.clone()
    x[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="finite"):
        model.posterior(t, x)
