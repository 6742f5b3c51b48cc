"""The loop that trains networks: repeatable, resumable, and honest when it fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdekit import training
from pdekit.errors import DataError, InputError, NumericalError
from pdekit.nets import MLP
from pdekit.training import Training, train

OPTIONS = Training(steps=120, batch=64, rate=1e-2)


class Interrupted(Exception):
    pass


def sine(net, batch=64, fails_at=None, rare=False):
    """The loss of sin(x); now and then a batch with a gradient a thousand times as great."""
    calls = [0]

    def loss(generator, share):
        calls[0] += 1
        if calls[0] == fails_at:
            raise Interrupted
        x = 3 * torch.randn(batch, 1, generator=generator)
        great = 1000.0 if rare and float(x[0, 0]) > 4 else 1.0
        return great * (net(x) - torch.sin(x)).square().mean()

    return loss


def small(seed=0):
    return MLP(1, (16,), seed=seed)


def trained(options=OPTIONS, seed=0, net_seed=0, **about):
    net = small(net_seed)
    history = train(net, sine(net, **about), options, seed=seed, what="a sine", key="sine")
    return net, history


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_seed_decides_everything():
    torch.manual_seed(1)
    first = trained()[0]
    torch.manual_seed(2)
    assert same(first, trained()[0])
    assert not same(first, trained(seed=1)[0])


def test_the_loss_goes_down_and_is_recorded():
    _, history = trained(Training(steps=600, batch=256, rate=1e-2))
    assert history.losses[-20:].mean() < 0.3 * history.losses[:5].mean()
    assert history.steps[-1] == 600
    assert len(history.steps) == len(history.losses) == 200
    assert history.seconds > 0


@pytest.mark.parametrize("rare", [False, True])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, monkeypatch, rare):
    """Bit by bit, also where rare gradients are cut to a multiple of the usual size."""
    monkeypatch.setattr(training, "_EVERY", -1.0)
    whole, uninterrupted = trained(rare=rare)
    options = Training(steps=120, batch=64, rate=1e-2, checkpoint=tmp_path / "kept")
    for stop, net_seed in ((50, 0), (30, 7)):
        with pytest.raises(Interrupted):
            trained(options, fails_at=stop, net_seed=net_seed, rare=rare)
    net, history = trained(options, net_seed=9, rare=rare)
    assert same(net, whole)
    assert (history.steps == uninterrupted.steps).all()
    assert (history.losses == uninterrupted.losses).all()


def test_a_finished_training_is_not_repeated(tmp_path):
    options = Training(steps=40, batch=64, checkpoint=str(tmp_path / "kept"))
    whole, first = trained(options)
    again, history = trained(options, net_seed=5, fails_at=1)
    assert same(again, whole)
    assert (history.losses == first.losses).all()


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    path = tmp_path / "kept"
    trained(Training(steps=20, checkpoint=path))
    with pytest.raises(InputError, match="keeps the training of something else"):
        trained(Training(steps=30, checkpoint=path))
    with pytest.raises(InputError, match="keeps the training of something else"):
        train(small(), sine(small()), Training(steps=20, checkpoint=path), seed=0, what="a sine", key="cosine")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DataError):
        trained(Training(steps=20, checkpoint=path))


def test_a_checkpoint_needs_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        trained(Training(steps=2, checkpoint=tmp_path / "nowhere" / "kept"))


def test_a_training_that_diverges_says_so():
    net = small()

    def grows(generator, share):
        return -net(torch.ones(1, 1)).exp().sum()

    with pytest.raises(NumericalError, match=r"training of a hole diverged: its loss was .* after"):
        train(net, grows, Training(steps=2000, rate=10.0), seed=0, what="a hole")
    with pytest.raises(NumericalError, match="diverged: its loss was nan"):
        train(
            net,
            lambda generator, share: net(torch.full((1, 1), torch.nan)).sum(),
            Training(steps=10),
            seed=0,
            what="it",
        )


def test_time_can_be_limited():
    ticks = []
    _, history = trained(Training(steps=10_000_000, batch=16, seconds=0.3))
    assert 0.25 < history.seconds < 3
    net = small()
    train(net, sine(net), Training(steps=50), seed=0, what="it", progress=lambda what, share: ticks.append(share))
    assert ticks == sorted(ticks)
    assert ticks[-1] == 1.0


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"steps": 1.5}, {"steps": True}, {"batch": 0}, {"rate": 0.0}, {"rate": np.inf}, {"seconds": -1.0}],
)
def test_options_are_checked(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Training(**bad)


def test_a_training_that_ends_by_time_records_its_losses():
    net = small()
    history = train(net, sine(net), Training(steps=10**6, batch=64, seconds=0.5), seed=0, what="it")
    assert 5 <= len(history.losses) <= 201
    assert np.isfinite(history.losses).all()


def test_a_training_that_was_ended_by_time_goes_on(tmp_path):
    path = tmp_path / "run.safetensors"
    net = small()
    first = Training(steps=10**6, batch=64, seconds=0.3, checkpoint=path)
    short = train(net, sine(net), first, seed=0, what="it")
    longer = train(net, sine(net), replace(first, seconds=1.0), seed=0, what="it")
    assert short.steps[-1] < longer.steps[-1]
    assert longer.steps[: len(short.steps) - 1].tolist() == short.steps[:-1].tolist()
    again = train(net, sine(net), replace(first, seconds=1.0), seed=0, what="it")
    assert (again.steps == longer.steps).all()
