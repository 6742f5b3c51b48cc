"""Subsets against plain least squares on every one of them."""

import itertools

import numpy as np
import pytest

from pdekit.fitting.sparse import subsets
from pdekit.fitting.sparse.subsets import Quadratic, best_subset, order_of_entry


def regression(count, seed, n=300):
    """A design with columns of very different sizes and strong correlations, and its least squares as a Quadratic."""
    rng = np.random.default_rng(seed)
    design = rng.standard_normal((n, count)) @ (np.eye(count) + 0.3 * rng.standard_normal((count, count)))
    design *= 10.0 ** rng.uniform(-4, 4, count)
    truth = np.where(rng.random(count) < 0.4, rng.standard_normal(count), 0.0) / np.abs(design).max(0)
    y = design @ truth + 0.2 * rng.standard_normal(n)
    return design, y, Quadratic(design.T @ y, design.T @ design, np.full(count, 3.0))


def plain(design, y, chosen):
    if not chosen.any():
        return 0.0
    left = y - design[:, chosen] @ np.linalg.lstsq(design[:, chosen], y, rcond=None)[0]
    return 0.5 * float(y @ y - left @ left) - 3.0 * chosen.sum()


def every_subset(count):
    return (np.array(bits, dtype=bool) for bits in itertools.product([False, True], repeat=count))


@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_least_squares(seed):
    design, y, quadratic = regression(6, seed)
    for chosen in every_subset(6):
        assert quadratic.value(chosen) == pytest.approx(plain(design, y, chosen), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_adding_and_dropping_are_differences_of_gains(seed):
    _, _, quadratic = regression(6, seed)
    for chosen in every_subset(6):
        lost, (added, won) = quadratic.dropping(chosen), quadratic.adding(chosen)
        for k in range(6):
            other = chosen.copy()
            other[k] ^= True
            change = quadratic.gain(other) - quadratic.gain(chosen)
            assert change == pytest.approx(-lost[k] if chosen[k] else won[k], abs=1e-6)
            if not chosen[k]:
                assert added[k] == pytest.approx(quadratic.coefficients(other)[k], rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_both_searches_find_the_best_of_all_subsets(seed, monkeypatch):
    design, y, quadratic = regression(8, seed)
    best = max(every_subset(8), key=lambda chosen: plain(design, y, chosen))
    np.testing.assert_array_equal(best_subset(quadratic), best)
    monkeypatch.setattr(subsets, "_EXHAUSTIVE", 0)
    np.testing.assert_array_equal(best_subset(quadratic), best)


@pytest.mark.parametrize("exhaustive", [0, 12])
def test_only_admissible_subsets_are_chosen(exhaustive, monkeypatch):
    monkeypatch.setattr(subsets, "_EXHAUSTIVE", exhaustive)
    design, y, quadratic = regression(6, 1)
    allowed = lambda chosen: bool(chosen[2]) and not chosen[0]  # noqa: E731
    best = max(filter(allowed, every_subset(6)), key=lambda chosen: plain(design, y, chosen))
    start = np.arange(6) == 2
    np.testing.assert_array_equal(best_subset(quadratic, admissible=allowed, starts=[start]), best)
    assert best_subset(quadratic, admissible=lambda chosen: False) is None


def test_the_chosen_enter_first():
    _, _, quadratic = regression(6, 2)
    chosen = best_subset(quadratic)
    assert chosen is not None
    order = order_of_entry(quadratic, chosen)
    assert sorted(order) == list(range(6))
    assert set(order[: chosen.sum()]) == set(np.flatnonzero(chosen))
