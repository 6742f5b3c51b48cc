"""Uses that once gave wrong numbers in silence, lost a training, or ended in a raw error."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

import pdekit as pk
from pdekit.errors import DataError, InputError
from pdekit.flows import (
    CNF,
    VAE,
    ContinuousFlow,
    FlowFit,
    LatentODE,
    MaskedFlow,
    NormalizingFlow,
    ODEBlock,
    PlanarField,
    PlanarFlow,
    SeriesRNN,
    SylvesterFlow,
    VAEFit,
    digits,
    fit_classifier,
    fit_flow,
    fit_vae,
    image_classifier,
    spirals,
    toy,
    vae_networks,
    vae_with,
)
from pdekit.nets import MLP, HollowNet

STEPS = {"method": pk.ode.RK4(), "control": pk.ode.Fixed(0.5)}
X = toy("moons", 100).astype(np.float32)
SHORT = pk.Training(steps=3, batch=20, rate=1e-2)


def base():
    return Independent(Normal(torch.zeros(2), 1.0), 1)


def field(seed=0, **options):
    return MLP(2, (8,), time=True, seed=seed, **options)


def test_everything_below_is_trained_and_saved(tmp_path):
    def made(seed):
        return NormalizingFlow(PlanarFlow(2, 2, seed=seed), CNF(field(seed), base(), **STEPS))

    flow = made(0)
    before = [p.clone() for p in (*flow.bijection.parameters(), *flow.base.field.parameters())]
    fit = fit_flow(flow, X, SHORT)
    after = [*flow.bijection.parameters(), *flow.base.field.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True) if a.numel() > 1)
    fit.save(tmp_path / "fit")
    again = FlowFit.load(tmp_path / "fit", made(1))
    states = torch.from_numpy(X[:4])
    assert torch.equal(again.flow.log_prob(states), fit.flow.log_prob(states))
    upside_down = CNF(field(), NormalizingFlow(PlanarFlow(2, 2, seed=0), base()), **STEPS)
    planar = [p.clone() for p in upside_down.base.bijection.parameters()]
    fit_flow(upside_down, X, SHORT)
    assert not torch.equal(planar[0], next(upside_down.base.bijection.parameters()))
    with pytest.raises(InputError, match="neither be trained nor saved"):
        fit_flow(CNF(field(), Independent(Normal(nn.Parameter(torch.zeros(2)), 1.0), 1), **STEPS), X, SHORT)


def test_files_go_into_the_same_thing_or_nowhere(tmp_path):
    fit_flow(CNF(field(), base(), **STEPS), X, SHORT).save(tmp_path / "fit")
    for other in (
        CNF(field(activation="relu"), base(), **STEPS),
        CNF(MLP(2, (9,), time=True, seed=0), base(), **STEPS),
    ):
        kept = [p.clone() for p in other.field.parameters()]
        with pytest.raises(InputError, match="don't fit"):
            FlowFit.load(tmp_path / "fit", other)
        assert all(torch.equal(a, b) for a, b in zip(kept, other.field.parameters(), strict=True))
    judge = {"rtol": 1e-3, "atol": 1e-3}
    fit_flow(CNF(field(), base(), **STEPS), X, SHORT, judge=judge).save(tmp_path / "fit")
    assert FlowFit.load(tmp_path / "fit", CNF(field(), base(), **STEPS), judge).flow.options()["rtol"] == 1e-3
    with pytest.raises(InputError, match="don't fit"):
        FlowFit.load(tmp_path / "fit", CNF(field(), base(), **STEPS))
    images = digits().images[:60]
    fit_vae(vae_with("planar", (8, 8), 2, hidden=4, networks=(8,)), images, SHORT, samples=2).save(tmp_path / "vae")
    with pytest.raises(InputError, match="don't fit"):
        VAEFit.load(tmp_path / "vae", vae_with("none", (8, 8), 2, networks=(8,)))


def test_shapes_of_discrete_flows_are_not_stretched():
    law = NormalizingFlow(PlanarFlow(2, seed=0), base())
    for x in (torch.zeros(2, 1), torch.tensor(0.0), np.zeros((2, 2)), torch.zeros(2, 3)):
        with pytest.raises(InputError, match=r"\(\*batch, 2\)"):
            law.log_prob(x)
    layer = PlanarFlow(2, context_dim=3, seed=0)
    for context in (torch.ones(5, 1), torch.tensor(1.0), np.ones((5, 3))):
        with pytest.raises(InputError, match="context"):
            layer(torch.zeros(5, 2), context)
    with pytest.raises(InputError, match="float64"):
        layer(torch.zeros(5, 2).double(), torch.ones(5, 3))
    with pytest.raises(InputError, match="sample_shape"):
        law.sample(5)
    with pytest.raises(InputError, match="takes no context"):
        law.given(torch.ones(5, 3))
    assert "rank=2" in repr(SylvesterFlow(2, seed=0))


def test_fields_traces_and_end_times():
    one, two = PlanarField(2, 3, seed=0), PlanarField(2, 3, seed=1)
    law = CNF(one, base(), one.with_divergence)
    with pytest.raises(InputError, match="old field"):
        law.changed(field=two)
    assert law.changed(field=two, trace=two.with_divergence).field is two
    end = nn.Parameter(torch.tensor(1.0))
    for layer in (ODEBlock(field(), times=(0.0, end)), ContinuousFlow(field(), times=(0.0, end))):
        assert any(p is end for p in layer.parameters())
        with pytest.raises(InputError, match="another layer"):
            layer.field = field(1)
    for trace in (pk.Hutchinson, "exact", None):
        with pytest.raises(InputError, match="trace must be"):
            CNF(one, base(), trace)
    with pytest.raises(InputError, match="floating-point"):
        law.log_prob(torch.zeros(3, 2, dtype=torch.int64))


def test_options_of_a_training_are_an_object():
    for call in (
        lambda t: fit_flow(CNF(field(), base(), **STEPS), X, t),
        lambda t: fit_vae(vae_with("none", (8, 8), 2), digits().images[:60], t),
        lambda t: fit_classifier(
            image_classifier("mlp", (2, 2)), X[:, [0, 1, 0, 1]], np.zeros(100, int), t, held_out=()
        ),
    ):
        for training in (pk.Training, 5):
            with pytest.raises(InputError, match="Training"):
                call(training)
    with pytest.raises(InputError, match="kinetic"):
        fit_flow(CNF(field(), base(), **STEPS), X, SHORT, kinetic=-1.0)
    for data in ("moons", None):
        with pytest.raises(InputError, match="data must be"):
            fit_flow(CNF(field(), base(), **STEPS), data, SHORT)
    with pytest.raises(InputError, match="CNF"):
        fit_flow(field(), X, SHORT)


def test_autoencoders_are_judged_as_they_will_be_used():
    """Dropout and running statistics: the judging must not change them, nor depend on chance."""
    images = digits().images[:60]

    def fitted():
        encoder, decoder = vae_networks((8, 8), 2, 0, (8,), seed=0)
        noisy = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(64), encoder)
        torch.manual_seed(0)
        return fit_vae(VAE(noisy, decoder, 2), images, SHORT, samples=2)

    one, two = fitted(), fitted()
    assert one.nll == two.nll
    assert int(one.vae.encoder[1].num_batches_tracked) == SHORT.steps
    with pytest.raises(InputError, match="no option 'rtoll'"):
        fit_vae(vae_with("none", (8, 8), 2), images, SHORT, judge={"rtoll": 1})
    with pytest.raises(InputError, match="pixels"):
        fit_vae(vae_with("none", (8, 8), 2), images, SHORT, held_out=images[:, :60])
    with pytest.raises(InputError, match="255"):
        fit_vae(vae_with("none", (8, 8), 2), np.zeros((60, 64), np.uint8), SHORT)
    with pytest.raises(InputError, match="Bijection"):
        VAE(*vae_networks((8, 8), 2, 0), 2, field())
    empty = vae_with("iaf", (8, 8), 2).log_likelihood(torch.zeros(0, 64), 3, torch.Generator())
    assert empty.shape == (0,)


def test_classifiers_refuse_before_the_training():
    d = digits()
    x, y = d.images[:60], d.labels[:60]

    def call(labels, held_out):
        return fit_classifier(image_classifier("mlp", (8, 8)), x, labels, SHORT, held_out=held_out)

    for labels, held_out in (
        (np.where(y == 3, -100, y), (x, y)),
        (y, (x, y + 5)),
        (y, (x[:, :60], y)),
        (y, 0.2),
    ):
        with pytest.raises(InputError):
            call(labels, held_out)


@pytest.mark.parametrize("shape", [8, (8,), (8, 8, 1), (8.0, 8), (0, 8), "88"])
def test_shapes_of_images(shape):
    for make in (lambda s: image_classifier("mlp", s), lambda s: vae_with("none", s), lambda s: vae_networks(s, 2, 0)):
        with pytest.raises(InputError, match="height and the width"):
            make(shape)


@pytest.mark.parametrize("seed", [-1, 0.5, "a", True, None, 2**63])
def test_seeds(seed):
    for call in (
        lambda s: toy("moons", 3, seed=s),
        lambda s: spirals(3, seed=s),
        lambda s: fit_flow(CNF(field(), base(), **STEPS), X, SHORT, seed=s),
        lambda s: fit_vae(vae_with("none", (8, 8), 2), digits().images[:60], SHORT, seed=s),
        lambda s: vae_with("planar", (8, 8), 2, seed=0.5 if s is None else s),
    ):
        with pytest.raises(InputError, match="seed must be"):
            call(seed)


def test_samplers_are_called_with_a_count_and_a_seed():
    for sampler in (lambda n: X[:n], lambda: X, lambda n, *, seed: X[:n], toy):
        with pytest.raises(InputError, match=r"\(how many, seed\)|name must be"):
            fit_flow(CNF(field(), base(), **STEPS), sampler, SHORT)
    with pytest.raises(InputError, match="noise"):
        spirals(3, noise=-1)


def test_series_are_told_forwards_only():
    t, x = torch.linspace(0, 1, 7).expand(3, 7), torch.zeros(3, 7, 2)
    model = SeriesRNN(2, seed=0)
    for times in (t - 5, t.flip(1) + 5, t + torch.nan):
        with pytest.raises(InputError, match="after the last reading"):
            model(t, x, times)
    with pytest.raises(InputError, match="expand"):
        LatentODE(2, seed=0)(t[0], x, t)
    with pytest.raises(InputError, match="expand"):
        LatentODE(2, seed=0)(t, x, t[0])


def test_conditional_fits_and_empty_batches():
    context = torch.randn(100, 1)
    flow = CNF(HollowNet(2, time=True, context_dim=1, seed=0), base(), **STEPS)
    fit = fit_flow(flow, X, SHORT, context=context.numpy())
    assert len(fit.plot(points=10).axes) == 2
    with pytest.raises(DataError, match="contexts"):
        fit_flow(flow, X, SHORT, context=context * torch.nan)
    layer = MaskedFlow(2, seed=0)
    assert layer(torch.zeros(0, 2))[0].shape == layer.inverse(torch.zeros(0, 2)).shape == (0, 2)
    x, log_p = CNF(field(), base()).rsample_and_log_prob((0,))
    assert (x.shape, log_p.shape) == ((0, 2), (0,))
