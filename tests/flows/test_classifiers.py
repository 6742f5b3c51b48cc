"""Networks of images with an ODE as a layer."""

import numpy as np
import pytest
import torch
from torch import nn

from pdekit.errors import DataError, InputError
from pdekit.flows import CLASSIFIERS, ClassifierFit, ODEBlock, digits, fit_classifier, image_classifier
from pdekit.ode import Backsolve, Discrete, odeint
from pdekit.training import Training

TIGHT = {"rtol": 1e-8, "atol": 1e-8}


class Mixing(nn.Module):
    """Smooth, and mixes pixels and channels of one image."""

    def __init__(self, channels):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, 1, 1).double()

    def forward(self, t, x):
        return torch.tanh(self.convolution(x)) * (1 + torch.as_tensor(t).reshape(-1, 1, 1, 1))


def test_images_are_states_and_channels_are_appended():
    torch.manual_seed(0)
    field = Mixing(3)
    block = ODEBlock(field, 1, shape=(2, 4, 4), **TIGHT)
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    y = block(x)
    assert y.shape == (3, 3, 4, 4)
    start = torch.cat([x, torch.zeros(3, 1, 4, 4).double()], 1)
    flat = odeint(lambda t, z: field(t, z.unflatten(-1, (3, 4, 4))).flatten(1), start.flatten(1), [0.0, 1.0], **TIGHT)
    torch.testing.assert_close(y.flatten(1), flat.y[-1])
    assert block(x[0]).shape == (3, 4, 4)
    torch.testing.assert_close(block(x[0]), y[0], rtol=1e-6, atol=1e-6)
    with pytest.raises(InputError, match=r"\(\*batch, 2, 4, 4\)"):
        block(x[:, :, :3])
    assert len(list(block.parameters())) == len(list(field.parameters()))


def test_gradients_of_images_by_both_ways():
    torch.manual_seed(0)
    field = Mixing(2)
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    found = []
    for gradient in (Discrete(), Backsolve()):
        block = ODEBlock(field, shape=(2, 4, 4), gradient=gradient, **TIGHT)
        found.append(torch.autograd.grad(block(x).square().sum(), list(field.parameters())))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_the_papers_sizes():
    """Of .24, .60, .22, .22 million parameters."""
    sizes = [sum(p.numel() for p in image_classifier(k, (28, 28)).parameters()) / 1e6 for k in CLASSIFIERS]
    assert sizes == pytest.approx([0.24, 0.60, 0.22, 0.22], abs=0.03)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_each_learns_is_judged_and_kept(kind, tmp_path):
    d = digits()
    net = image_classifier(kind, d.shape, channels=16, blocks=2)
    training = Training(steps=30 if kind == "ode-net" else 60, batch=64, rate=1e-2)
    fit = fit_classifier(
        net, d.images[:1000], d.labels[:1000], training, held_out=(d.images[1000:1200], d.labels[1000:1200])
    )
    assert fit.error < (0.8 if kind == "ode-net" else 0.5), fit  # by chance .9
    assert fit.error == pytest.approx(float(fit.wrong.float().mean()))
    assert np.isnan(fit.evaluations) == (kind in ("mlp", "resnet"))
    assert "parameters" in repr(fit)
    assert len(fit.plot().axes) == 1
    fit.save(tmp_path / "fit")
    made = image_classifier(kind, d.shape, channels=16, blocks=2, seed=1)
    again = ClassifierFit.load(tmp_path / "fit", made)
    assert repr(again) == repr(fit)
    assert torch.equal(again.wrong, fit.wrong)
    assert torch.equal(again.net(torch.from_numpy(d.images[:9])), fit.net(torch.from_numpy(d.images[:9])))
    with pytest.raises(InputError, match="don't fit"):
        ClassifierFit.load(tmp_path / "fit", image_classifier(kind, d.shape, channels=8, hidden=7))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="kind"):
        image_classifier("lenet", (8, 8))
    with pytest.raises(InputError, match="halved"):
        image_classifier("resnet", (4, 4), halvings=3)
    net = image_classifier("mlp", (2, 2))
    x, y = torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match="labels"):
        fit_classifier(net, x, y[:2], held_out=(x, y))
    with pytest.raises(DataError, match="finite"):
        fit_classifier(net, x / 0, y, held_out=(x, y))
