"""The squared noise's coefficients against a general-purpose optimiser on the same likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize

from pdekit.errors import InputError
from pdekit.fitting.sparse.noise import choose_noise


def squares(variance, seed=0):
    return variance * np.random.default_rng(seed).standard_normal(len(variance)) ** 2


X = np.random.default_rng(5).uniform(0.2, 2.0, 4000)
COLUMNS = np.column_stack([np.ones_like(X), X, 1e4 * X**2])


def test_the_maximum_is_found():
    R = squares(0.3 + 0.5 * X**2)

    def misfit(c):
        s = COLUMNS @ (c * [1, 1, 1e-4])
        return 0.5 * np.sum(np.log(s) + R / s) if s.min() > 0 else np.inf

    found = choose_noise(COLUMNS, R, np.zeros(3), "noise", seed=0)  # free terms: all are chosen
    best = minimize(misfit, [1.0, 0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    assert found.chosen.all()
    np.testing.assert_allclose(found.coefficients, best.x * [1, 1, 1e-4], rtol=1e-4, atol=1e-5)
    assert found.value == pytest.approx(-best.fun, abs=1e-6)


@pytest.mark.parametrize(
    ("variance", "chosen"),
    [
        (0.4 + 0 * X, [True, False, False]),
        (0.4 * X, [False, True, False]),
        (0.4 * X**2, [False, False, True]),
        (0.3 + 0.5 * X**2, [True, False, True]),
    ],
)
def test_the_terms_are_found(variance, chosen):
    found = choose_noise(COLUMNS, squares(variance), np.full(3, 8.0), "noise", seed=0)
    assert found.chosen.tolist() == chosen
    np.testing.assert_allclose(COLUMNS @ found.coefficients, variance, rtol=0.2)


def test_a_variance_that_would_turn_negative_is_not_chosen():
    x = np.linspace(-1.0, 1.0, 2000)
    columns = np.column_stack([np.ones_like(x), x, x**3])
    found = choose_noise(columns, squares(np.full(2000, 0.1), seed=1), np.zeros(3), "noise", seed=0)
    assert (columns @ found.coefficients).min() > 0
    with pytest.raises(InputError, match=r"squared noise of x.*positive.*Library.of\(\"1\"\)"):
        choose_noise(columns[:, 1:], squares(np.full(2000, 0.1)), np.zeros(2), "squared noise of x", seed=0)
