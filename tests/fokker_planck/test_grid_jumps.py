"""Masses after a time, to the far tails, against closed forms in logarithms."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats as ss
from scipy.linalg import expm
from scipy.special import ive

from pdekit.fokker_planck.grid.assembly import Rates
from pdekit.fokker_planck.grid.evolution import Evolution

FAR = 1e-250  # smaller masses are of no use to anyone


def evolved(off_diagonal, mass, duration):
    matrix = sp.csr_array(off_diagonal)
    matrix = (matrix - sp.diags_array(np.asarray(matrix.sum(0)).ravel())).tocsr()
    return Evolution(Rates(matrix, positive=True), 1)(mass, duration)


@pytest.mark.parametrize("time", [1e-3, 1.0, 40.0, 900.0])
def test_a_walk_in_one_direction_follows_poissons_law(time):
    n = 2000
    start = np.eye(n, 1)
    found = evolved(sp.diags_array(np.ones(n - 1), offsets=-1), start, time)[:-1, 0]
    exact = ss.poisson.pmf(np.arange(n - 1), time)
    seen = exact > FAR
    # 1e-16 for each of about 2000 products, and what SciPy's pmf misses.
    assert np.abs(found[seen] / exact[seen] - 1).max() < 1e-11


@pytest.mark.parametrize("time", [0.01, 3.0, 200.0])
def test_a_walk_both_ways_follows_bessels_functions(time):
    n = 801
    there = sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])
    found = evolved(there, np.eye(n, 1, -(n // 2)), time)[:, 0]
    # exp(-2 t) I_k(2 t); the ends are too far away to matter further than 25 nodes from them.
    exact = ive(np.abs(np.arange(n) - n // 2), 2 * time)
    seen = exact > FAR
    seen[:25] = seen[-25:] = False
    assert np.abs(found[seen] / exact[seen] - 1).max() < 1e-10


def test_several_columns_with_losses_agree_with_the_dense_exponential():
    rng = np.random.default_rng(0)
    rates = sp.random_array((40, 40), density=0.2, rng=rng).toarray()
    np.fill_diagonal(rates, -rates.sum(0) - rng.random(40))
    mass = rng.random((40, 3))
    found = Evolution(Rates(sp.csr_array(rates), positive=True), 2)(mass, 2.5)
    assert found == pytest.approx(expm(2.5 * rates) @ mass, rel=1e-12)


def test_nothing_moves_without_rates():
    mass = np.array([[0.25], [0.75]])
    assert np.array_equal(Evolution(Rates(sp.csr_array((2, 2)), positive=True), 1)(mass, 1.0), mass)
