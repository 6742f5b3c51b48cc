"""Autoencoders: the bound and the likelihood against quadrature, every flow, files."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal

import pdekit as pk
from pdekit.errors import DataError, InputError
from pdekit.flows import (
    VAE,
    ContinuousFlow,
    MaskedFlow,
    PlanarFlow,
    SylvesterFlow,
    VAEFit,
    fit_vae,
    vae_networks,
)
from pdekit.nets import ConcatSquashMLP, HollowNet
from pdekit.operators import Hutchinson

FIXED = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.5)}
X = torch.bernoulli(torch.full((6, 16), 0.4), generator=torch.Generator().manual_seed(0))
FLOWS = {
    "none": lambda: None,
    "planar": lambda: PlanarFlow(2, 2, 3, seed=0),
    "sylvester": lambda: SylvesterFlow(2, 2, 2, 3, seed=0),
    "autoregressive": lambda: MaskedFlow(2, "autoregressive", 2, (8,), 3, seed=0),
    "ffjord": lambda: ContinuousFlow(ConcatSquashMLP(2, (8,), context_dim=3, seed=0), Hutchinson(), **FIXED),
    "hollow": lambda: ContinuousFlow(HollowNet(2, time=True, context_dim=3, seed=0), **FIXED),
}


def made(kind):
    flow = FLOWS[kind]()
    return VAE(*vae_networks((4, 4), 2, 0 if flow is None else 3, (12,), seed=1), 2, flow)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def by_quadrature(vae, x):
    """log of the integral of p(x | z) N(z; 0, 1) over the plane."""
    node = torch.linspace(-7, 7, 141)
    z = torch.cartesian_prod(node, node)
    logits = vae.decoder(z)
    seen = (x[:, None] * logits - nn.functional.softplus(logits)).sum(-1)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    return (seen + prior).logsumexp(-1) + 2 * math.log(0.1)


@pytest.mark.parametrize("kind", FLOWS)
def test_likelihood_is_the_integral_and_the_bound_is_below(kind):
    vae = made(kind)
    with torch.no_grad():
        truth = by_quadrature(vae, X)
        vae.encoder[-1].bias[2:4] += 0.5  # wider than the posterior, so that weights have moments
        exact = vae.changed(trace=pk.Exact())
        found = exact.log_likelihood(X, 10_000, generator())
        bound = torch.stack([exact.elbo(X, generator(k)) for k in range(50)])
    torch.testing.assert_close(found, truth, atol=0.05, rtol=0)
    error = bound.std(0) / 50**0.5
    assert bool((bound.mean(0) < truth + 5 * error).all())
    assert float((truth - bound.mean(0)).max()) > 0.02


def test_without_a_flow_the_bound_is_the_textbook_one():
    vae = made("none")
    with torch.no_grad():
        mean, log_spread = vae.encoder(X).chunk(2, -1)
        divergence = 0.5 * (mean**2 + (2 * log_spread).exp() - 2 * log_spread - 1).sum(-1)
        draws = torch.stack([vae.elbo(X, generator(k)) for k in range(600)])
        seen = torch.stack([vae.elbo(X, generator(k), weight=0.0) for k in range(600)])
    # Without the weight what remains is the reconstruction; the rest is the Kullback-Leibler divergence on average.
    gap = seen - draws
    assert float(((gap.mean(0) - divergence) / (gap.std(0) / 600**0.5)).abs().max()) < 5


def test_chunks_do_not_matter_and_seeds_fix_everything():
    vae = made("ffjord")
    with torch.no_grad():
        one = vae.log_likelihood(X, 50, generator(3))
        two = vae.log_likelihood(X, 50, generator(3))
        other = vae.log_likelihood(X, 50, generator(4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, atol=2.0, rtol=0)


def test_fit_save_and_load(tmp_path):
    rng = np.random.default_rng(0)
    images = (rng.random((200, 1)) < 0.5) * 0.8 + 0.1 + np.zeros((200, 16))
    training = pk.Training(steps=300, batch=64, rate=5e-3)
    fit = fit_vae(made("planar"), images.astype(np.float32), training, samples=50, seed=1)
    # One bit, and sixteen noisy pixels: nothing does better than the entropy.
    entropy = math.log(2) - 16 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert fit.nll == pytest.approx(entropy, abs=1.5)
    assert fit.elbo <= -fit.nll + 0.3
    assert "ELBO" in repr(fit)
    assert np.isnan(fit.evaluations)
    fit.save(tmp_path / "fit.safetensors")
    again = VAEFit.load(tmp_path / "fit.safetensors", made("planar"))
    assert repr(again) == repr(fit)
    assert torch.equal(again.vae.elbo(X, generator()), fit.vae.elbo(X, generator()))
    with pytest.raises(InputError, match="don't fit"):
        VAEFit.load(tmp_path / "fit.safetensors", made("none"))
    assert len(fit.plot().axes) == 2


def test_continuous_posteriors_are_judged_exactly_and_tell_their_cost():
    images = torch.full((40, 16), 0.5)
    fit = fit_vae(made("ffjord"), images, pk.Training(steps=3, batch=16), samples=5)
    assert fit.vae.flow.transport.trace == pk.Exact()
    assert fit.evaluations > 6
    assert 0 <= fit.reconstruction_error < 1e-3


def test_convolutions_for_28_pixels():
    encoder, decoder = vae_networks((28, 28), 4, 8)
    vae = VAE(encoder, decoder, 4, PlanarFlow(4, 2, 8, seed=0))
    x = torch.bernoulli(torch.full((3, 784), 0.2), generator=generator())
    value = vae.elbo(x, generator())
    value.sum().backward()
    assert value.shape == (3,)
    assert all(p.grad is not None for p in vae.parameters())
    assert vae.sample(2, generator()).shape == (2, 784)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="carry 3"):
        VAE(*vae_networks((4, 4), 3, 0), 3, PlanarFlow(2, seed=0))
    with pytest.raises(InputError, match="encoder must make"):
        VAE(*vae_networks((4, 4), 2, 0, (4,)), 2, PlanarFlow(2, 2, 3, seed=0)).elbo(X, generator())
    with pytest.raises(DataError, match="probabilities"):
        fit_vae(made("none"), torch.full((40, 16), 16.0))
    with pytest.raises(InputError, match="warm_up"):
        fit_vae(made("none"), torch.full((40, 16), 0.5), warm_up=1.0)
    with pytest.raises(InputError, match="held_out"):
        fit_vae(made("none"), torch.full((40, 16), 0.5), held_out=2.0)
