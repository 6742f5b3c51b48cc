"""Jacobians from few products: the same numbers as dense ones, and dense ones where zeros were none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import pdekit as pk
from pdekit.ode.counting import Counts
from pdekit.ode.field import Field
from pdekit.ode.sparsity import group_columns

F64 = torch.float64
DIM = 60


def diffusing(t, y):
    return y.roll(1, -1) + y.roll(-1, -1) - 2 * y - y**3


def meeting(t, y):  # the first and the last state see each other unless the fifth is zero
    ends = y[..., 4:5] * torch.cat([y[..., -1:], torch.zeros_like(y[..., 1:-1]), y[..., :1]], -1)
    return -y.sin() + ends


def flat(function, samples):
    return Field(function, Counts.none(samples), np.arange(samples))


def dense(function, y):
    return torch.stack([torch.autograd.functional.jacobian(lambda z: function(0.0, z), row) for row in y])


def test_a_second_jacobian_takes_few_products():
    field, (first, second) = flat(diffusing, 3), torch.randn(2, 3, DIM, dtype=F64)
    field.jacobian(np.zeros(3), first)
    spent = int(field.counts.jvp[0])
    found = field.jacobian(np.zeros(3), second)
    assert spent == DIM
    assert int(field.counts.jvp[0]) - spent <= 6  # five groups at most on a ring, and the check
    assert torch.equal(found, dense(diffusing, second))


def test_a_part_of_the_batch_knows_what_the_whole_has_learnt():
    field, y = flat(diffusing, 3), torch.randn(3, DIM, dtype=F64)
    field.jacobian(np.zeros(3), y)
    field.take(np.array([1])).jacobian(np.zeros(1), y[1:2])
    assert field.counts.jvp.tolist() == [DIM, DIM + int(field.counts.jvp[1]) - DIM, DIM]
    assert DIM < field.counts.jvp[1] < DIM + 8


def test_an_entry_that_was_zero_before_is_found():
    field, y = flat(meeting, 2), torch.randn(2, DIM, dtype=F64)
    silent = y.clone()
    silent[:, [0, 4, -1]] = 0.0
    field.jacobian(np.zeros(2), silent)
    y[0] = silent[0]  # only in the second sample has it come alive
    assert torch.equal(field.jacobian(np.zeros(2), y), dense(meeting, y))
    assert torch.equal(field.jacobian(np.zeros(2), 2 * y), dense(meeting, 2 * y))


def test_full_jacobians_stay_full():
    matrix = torch.randn(DIM, DIM, dtype=F64)
    field = flat(lambda t, y: y @ matrix, 1)
    for _ in range(2):
        assert torch.allclose(field.jacobian(np.zeros(1), torch.ones(1, DIM, dtype=F64)), matrix.T)
    assert field.counts.jvp.tolist() == [2 * DIM]


def test_what_is_not_finite_teaches_nothing():
    field, y = flat(diffusing, 1), torch.randn(1, DIM, dtype=F64)
    field.jacobian(np.zeros(1), y / 0)
    assert field.sparsity.products is None
    field.jacobian(np.zeros(1), y)
    assert field.sparsity.products is not None


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda s: (max(s), max(s)))))
def test_no_two_columns_of_a_group_share_a_row(pattern):
    groups = group_columns(pattern)
    assert sorted(set(groups)) == list(range(groups.max() + 1))
    for group in set(groups):
        assert pattern[:, groups == group].sum(1).max() <= 1


@pytest.mark.parametrize("method", [pk.ode.Kvaerno5(pk.ode.Newton()), pk.ode.RadauIIA5(pk.ode.Newton())])
def test_integration_and_gradient_with_few_products(method):
    y0 = torch.linspace(0, 1, DIM, dtype=F64, requires_grad=True)
    solution = pk.odeint(diffusing, y0, [0.0, 2.0], method=method, rtol=1e-9)
    (found,) = torch.autograd.grad(solution.y[-1].square().sum(), y0)
    truth = pk.odeint(diffusing, y0, [0.0, 2.0], rtol=1e-12)
    (expected,) = torch.autograd.grad(truth.y[-1].square().sum(), y0)
    assert (solution.y[-1] - truth.y[-1]).abs().max() < 1e-7
    assert (found - expected).abs().max() < 1e-6
    assert solution.counts.jvp.sum() < DIM * solution.counts.accepted.sum() / 8
