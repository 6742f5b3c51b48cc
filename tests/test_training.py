"""The loop that all trainings share: what it records, and that an interrupted one ends as if it had not been."""

import numpy as np
import pytest
import torch
from torch import nn

from pdekit.errors import NumericalError
from pdekit.training import Training, train


def made():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(net):
    def value(generator, share):
        x = torch.randn(8, 3, generator=generator)
        return (net(x)[:, 0] - x.sum(1)).square().mean()

    return value


def run(net, path, stop=None, **options):
    """A training that is interrupted within the step `stop`, between two records."""
    count, own = [], loss(net)

    def interrupted(generator, share):
        count.append(share)
        if len(count) == stop:
            raise KeyboardInterrupt
        return own(generator, share)

    return train(net, interrupted, Training(**{"steps": 900, "checkpoint": path, **options}), seed=0, what="a line")


def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path):
    net, again = made(), made()
    whole = run(net, None)
    with pytest.raises(KeyboardInterrupt):
        run(again, tmp_path / "run", stop=508)
    found = run(again, tmp_path / "run")
    assert torch.equal(net.weight, again.weight)
    assert whole.steps.tolist() == found.steps.tolist() == list(range(5, 901, 5))
    assert (whole.losses == found.losses).all()


def test_records_are_means_of_all_steps():
    net, seen = made(), []
    own = loss(net)

    def watched(generator, share):
        seen.append(own(generator, share))
        return seen[-1]

    history = train(net, watched, Training(steps=1003, rate=1e-2), seed=0, what="a line")
    values, begin = [], 0
    for end in history.steps:
        values.append(float(torch.stack(seen[begin:end]).detach().mean()))
        begin = end
    assert begin == len(seen) == 1003
    assert history.losses.tolist() == values


def test_a_training_ended_by_time_records_its_last_steps():
    net, seen = made(), []
    own = loss(net)

    def watched(generator, share):
        seen.append(share)
        return own(generator, share)

    history = train(net, watched, Training(steps=10**6, seconds=0.3), seed=0, what="a line")
    assert history.steps[-1] == len(seen)
    assert np.isfinite(history.losses).all()


def test_divergence_is_told():
    net = made()
    with pytest.raises(NumericalError, match="diverged"):
        train(net, lambda g, share: net.weight.sum() * float("nan"), Training(steps=300), seed=0, what="a line")
