"""The toy laws: where they have their mass, and that seeds fix them."""

import numpy as np
import pytest

from pdekit.errors import InputError
from pdekit.flows import TOYS, toy


@pytest.mark.parametrize("name", list(TOYS))
def test_samples_are_reproducible_and_of_moderate_size(name):
    x = toy(name, 4000, seed=3)
    assert x.shape == (4000, 2)
    assert (x == toy(name, 4000, seed=3)).all()
    assert (x != toy(name, 4000, seed=4)).any()
    assert 0.8 < x.std(0).min() <= x.std(0).max() < 3.2
    assert np.abs(x).max() < 8
    assert len(toy(name, 0)) == 0


def test_the_checkerboard_is_on_black_fields_alone():
    x = toy("checkerboard", 5000)
    assert ((np.floor(x[:, 0] / 2) + np.floor(x[:, 1] / 2)) % 2 == 0).all()


def test_rings_and_gaussians_are_where_they_should_be():
    radius = np.linalg.norm(toy("rings", 20_000), axis=1)
    near = np.abs(radius[:, None] - 0.75 * np.arange(1, 5)).min(1)
    assert np.quantile(near, 0.99) < 3 * 0.08
    shares = np.bincount(np.abs(radius[:, None] - 0.75 * np.arange(1, 5)).argmin(1)) / 20_000
    assert np.abs(shares - 0.25).max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5
    x = toy("8gaussians", 20_000)
    centres = 8**0.5 * np.stack([np.cos(k := np.pi / 4 * np.arange(8)), np.sin(k)], -1)
    off = np.linalg.norm(x[:, None] - centres, axis=-1).min(1)
    assert (off**2).mean() == pytest.approx(2 * 0.125, rel=0.05)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="swissroll"):
        toy("torus", 5)
    with pytest.raises(InputError, match="whole number"):
        toy("moons", 2.5)
