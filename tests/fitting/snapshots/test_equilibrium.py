"""The test of equal laws: its level under equality, its power otherwise."""

import numpy as np

from pdekit.data.snapshots import Snapshots
from pdekit.fitting.snapshots.equilibrium import equal_laws


def _two_humps(rng, n, share=0.5):
    return np.where(rng.random(n) < share, -1, 1) + 0.3 * rng.normal(size=n)


def test_level():
    rng = np.random.default_rng(0)
    p = np.array([equal_laws(Snapshots(np.arange(6), [_two_humps(rng, 200) for _ in range(6)])) for _ in range(200)])
    # Binomial(200, .01) and (200, .1) stay below these with a probability of .999; doubling makes it conservative.
    assert (p < 0.01).sum() <= 8
    assert (p < 0.1).sum() <= 34
    assert p.min() > 1e-4


def test_a_slow_change_is_seen():
    rng = np.random.default_rng(1)
    data = Snapshots(np.arange(10), [_two_humps(rng, 300, 0.35 + 0.03 * k) for k in range(10)])
    assert equal_laws(data) < 1e-4


def test_a_change_of_shape_alone_is_seen():
    rng = np.random.default_rng(2)
    flat, round_ = rng.uniform(-(3**0.5), 3**0.5, (2000, 2)), rng.normal(size=(2000, 2))
    assert equal_laws(Snapshots([0, 1], [flat, round_])) < 1e-6
