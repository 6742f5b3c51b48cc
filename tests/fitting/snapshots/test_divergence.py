"""The nearest-neighbour estimate of the Kullback-Leibler divergence, against closed forms for normal laws."""

import math

import numpy as np
import pytest

from pdekit.errors import DataError, InputError
from pdekit.fitting.snapshots.divergence import knn_divergence


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_normal_laws_that_are_apart(dim):
    rng = np.random.default_rng(dim)
    x, y = rng.normal(size=(8000, dim)), 0.3 + 1.2 * rng.normal(size=(8000, dim))
    exact = dim * (math.log(1.2) + (1 + 0.09) / (2 * 1.44) - 0.5)
    assert abs(knn_divergence(x, y) - exact) < 0.06 + 0.05 * exact


def test_equal_laws_give_zero_within_its_error():
    rng = np.random.default_rng(0)
    found = [knn_divergence(rng.normal(size=(2000, 2)), rng.normal(size=(3000, 2))) for _ in range(10)]
    assert abs(np.mean(found)) < 0.02


def test_it_does_not_depend_on_units():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 1
    units = np.array([1e-6, 1e6])
    assert knn_divergence(x * units, y * units) == pytest.approx(knn_divergence(x, y), rel=1e-9)


def test_refusals():
    x = np.arange(10.0)
    with pytest.raises(DataError, match="columns"):
        knn_divergence(x, np.zeros((10, 2)))
    with pytest.raises(InputError, match="neighbors"):
        knn_divergence(x, x + 0.5, neighbors=10)
    with pytest.raises(DataError, match="equal"):
        knn_divergence(np.repeat(x, 10), x)
    with pytest.raises(DataError, match="finite"):
        knn_divergence([np.nan, 1.0], x)
