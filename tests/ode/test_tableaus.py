"""Rooted trees, and the orders and continuous extensions of every tableau."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.errors import NumericalError
from pdekit.ode import radau, tableaus
from pdekit.ode.tableau import Tableau
from pdekit.ode.trees import order_of, trees

NAMES = ["euler", "rk4", "dopri5", "tsit5", "implicit_euler", "trbdf2", "kvaerno3", "kvaerno5"]
ORDERS = dict(zip(NAMES, [1, 4, 5, 5, 1, 2, 3, 5], strict=True))
F64 = torch.float64


def tableau(name):
    return getattr(tableaus, name)()


def test_the_numbers_of_rooted_trees():
    assert [len(trees(p)) for p in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]  # OEIS A000081
    assert all(tree.order == 6 for tree in trees(6))
    # The tall tree has density p!, the bush p.
    assert {max(t.density for t in trees(5)), min(t.density for t in trees(5))} == {120, 5}


@pytest.mark.parametrize("name", NAMES)
def test_each_tableau_has_its_order_and_not_one_more(name):
    found = tableau(name)
    assert found.order == ORDERS[name] == order_of(found.a, found.b)
    assert found.embedded_order == order_of(found.a, found.embedded) != found.order
    assert found.c[-1] == pytest.approx(1, abs=1e-14)


def test_radau_has_order_five_and_integrates_polynomials_by_its_stages():
    assert order_of(radau.A, radau.A[-1]) == 5
    for k in range(1, 4):
        assert pytest.approx(radau.NODES**k / k, abs=1e-14) == radau.A @ radau.NODES ** (k - 1)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(NAMES), place=st.integers(0, 200), size=st.sampled_from([1e-9, -1e-9, 1e-4]), data=st.data()
)
def test_a_perturbed_coefficient_is_seen(name, place, size, data):
    good = tableau(name)
    below = np.argwhere(np.tril(np.ones_like(good.a), -1) > 0)
    i, j = below[place % len(below)]
    # A stage of weight zero may be moved: of those methods only the weights of the result are certain to count.
    a = good.a.copy()
    a[-1, j] += size
    with pytest.raises(NumericalError, match="order"):
        Tableau(name, a, good.embedded, good.order, good.embedded_order)
    embedded = good.embedded.copy()
    embedded[i] += size
    with pytest.raises(NumericalError, match="order of the other"):
        Tableau(name, good.a, embedded, good.order, good.embedded_order)


def test_a_tableau_of_another_form_is_refused():
    with pytest.raises(NumericalError, match="lower triangular"):
        Tableau("upper", np.array([[0, 1.0], [1, 0]]), np.array([0.5, 0.5]), 1, 2)
    with pytest.raises(NumericalError, match="the order of the method is 1, not 2"):
        Tableau("proud", np.array([[0, 0], [1.0, 0]]), np.array([0.5, 0.5]), 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_continuous_extension_joins_the_ends_with_the_right_slopes(name):
    found = tableau(name)
    b, powers = found.extension, np.arange(1, found.extension.shape[1] + 1)
    first, last = np.eye(found.stages)[[0, -1]]
    assert b.sum(1) == pytest.approx(found.b, abs=1e-11)
    assert b[:, 0] == pytest.approx(first, abs=1e-11)
    assert b @ powers == pytest.approx(last, abs=1e-11)


def one_step(found, h):
    """Stages of y' = (y2, -sin y1) by Newton-free fixed point iteration in small steps, all in NumPy."""

    def f(y):
        return np.array([y[1], -np.sin(y[0])])

    y, stages = np.array([1.0, 0.5]), []
    for i in range(found.stages):
        known = y + h * sum((w * k for w, k in zip(found.a[i], stages, strict=False)), np.zeros(2))
        value = known
        for _ in range(60 if found.a[i, i] else 0):
            value = known + h * found.a[i, i] * f(value)
        stages.append(f(value))
    return y, np.array(stages)


@pytest.mark.parametrize("name", NAMES)
def test_the_continuous_extension_has_its_order_on_the_pendulum(name):
    from scipy.integrate import solve_ivp

    found, theta, errors, steps = tableau(name), 0.37, [], [0.2, 0.1, 0.05]
    for h in steps:
        y, k = one_step(found, h)
        value = y + h * (found.extension @ theta ** np.arange(1, found.extension.shape[1] + 1)) @ k
        exact = solve_ivp(lambda t, y: [y[1], -np.sin(y[0])], (0, theta * h), y, "DOP853", rtol=1e-13, atol=1e-15)
        errors.append(np.abs(value - exact.y[:, -1]).max())
    slope = np.log2(errors[-2] / errors[-1])
    # One step from exact data: the error goes with h^(order + 1); .3 for the next term at these steps.
    assert slope > found.order_of_extension + 1 - 0.3
