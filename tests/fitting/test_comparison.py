import math

import numpy as np
import pytest
import torch

import pdekit as pk
from pdekit.errors import DataError, InputError
from pdekit.fitting.comparison import compare, split

OU = pk.SymbolicSDE("x", "-k*x", "g", {"k": (0, None), "g": (0, None)}, name="relaxing")
MOTION = pk.SymbolicSDE("x", "0", "g", {"g": (0, None)}, name="free")
WRONG = pk.SymbolicSDE("x", "-k*log(x)", "g", {"k": (0, None), "g": (0, None)}, name="positive", domain=[(0, None)])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    decay, sd = math.exp(-0.5), math.sqrt(-math.expm1(-1.0) / 2)
    paths = []
    for _ in range(2):
        x = [0.0]
        for _ in range(300):
            x.append(decay * x[-1] + sd * rng.standard_normal())
        paths.append(np.array(x))
    return pk.Trajectories.from_arrays(np.arange(301) * 0.5, np.stack(paths, -1)[:, :, None])


def test_true_model_predicts_best_and_by_the_right_amount(data):
    found = compare([OU, MOTION], data)
    assert found.best.name == "relaxing"
    gap, error = found.behind(found.entries[1])
    # By hand: both densities are normal, with parameters from the same first part.
    rest = split(data, 0.2)[1]
    pairs = rest.pairs()
    k, g = (found.entries[0].fit.params[name].estimate for name in ("k", "g"))
    free = found.entries[1].fit.params["g"].estimate
    x0, x1, dt = pairs.x0[:, 0], pairs.x1[:, 0], pairs.dt
    normal = torch.distributions.Normal
    mean, spread = x0 * torch.exp(-k * dt), g * torch.sqrt(-torch.expm1(-2 * k * dt) / (2 * k))
    by_hand = normal(mean, spread).log_prob(x1) - normal(x0, free * dt.sqrt()).log_prob(x1)
    assert gap == pytest.approx(float(by_hand.mean()), rel=1e-6)
    assert error == pytest.approx(float(by_hand.std() / len(by_hand) ** 0.5), rel=1e-6)
    assert gap > 0


def test_what_fails_is_listed_with_its_reason(data):
    found = compare({"good": OU, "bad": WRONG}, data)
    assert found.best.name == "good"
    assert "outside the domain" in found.entries[1].problem
    assert "failed" in repr(found)
    assert "outside the domain" in " ".join(repr(found).split())
    frame = found.to_dataframe()
    assert frame.loc["good", "behind"] == 0.0
    assert math.isnan(frame.loc["bad", "loglik"])
    found.plot()


def test_parts_share_one_observation_and_lose_none(data):
    first, rest = split(data, 0.25)
    assert first.n_paths == rest.n_paths == 2
    for whole, a, b in zip(data.times, first.times, rest.times, strict=True):
        assert a[-1] == b[0]
        assert torch.equal(torch.cat([a, b[1:]]), whole)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_shares_that_leave_nothing_are_refused(data, share):
    with pytest.raises(InputError, match="held_out"):
        compare([OU, MOTION], data, held_out=share)


def test_one_model_is_no_comparison(data):
    with pytest.raises(InputError, match="two models"):
        compare([OU], data)


def test_short_ends_are_refused(data):
    with pytest.raises(DataError, match="needed on either side"):
        compare([OU, MOTION], data, held_out=0.01)


def test_equal_names_are_told_apart(data):
    assert [e.name for e in compare([OU, OU], data).entries] == ["relaxing", "relaxing (2)"]
