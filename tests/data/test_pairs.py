import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.data import Pairs, Trajectories


def test_pairs_are_consecutive_observations_of_each_path():
    data = Trajectories.from_arrays([[0.0, 1.0, 3.0], [0.0, 2.0]], [[1.0, 2.0, 4.0], [10.0, 11.0]])
    pairs = data.pairs()
    assert len(pairs) == 3
    assert pairs.dim == 1
    assert pairs.t.tolist() == [0.0, 1.0, 0.0]
    assert pairs.dt.tolist() == [1.0, 2.0, 2.0]
    assert pairs.x0[:, 0].tolist() == [1.0, 2.0, 10.0]
    assert pairs.x1[:, 0].tolist() == [2.0, 4.0, 11.0]
    assert pairs.path.tolist() == [0, 0, 1]
    assert pairs.path.dtype == torch.int64
    assert {tensor.dtype for tensor in (pairs.t, pairs.dt, pairs.x0, pairs.x1)} == {torch.float64}


def pairs_of(t):
    return Trajectories.from_arrays(t, np.arange(len(t), dtype=float)).pairs()


@pytest.mark.parametrize(("start", "step"), [(0.0, 1 / 252), (1.7e9, 0.01), (-6e4, 0.1), (2e5, 1e-6)])
def test_equal_steps_are_one_step_whatever_the_clock_reads(start, step):
    values, index = pairs_of(start + step * np.arange(5000)).distinct()
    assert values.shape == (1,)
    # each step carries the rounding of two times, which averages out over the record but for its two ends
    assert float(values[0]) == pytest.approx(step, rel=1e-12, abs=2 * np.spacing(abs(start) + 5000 * step) / 4999)
    assert index.unique().tolist() == [0]


def test_quarters_of_different_length_stay_distinct():
    days = np.cumsum([0, 90, 91, 92, 92, 90, 91, 92, 92, 91, 91])
    values, index = pairs_of(days / 365.25).distinct()
    assert (values * 365.25).tolist() == pytest.approx([90, 91, 92], rel=1e-13)
    assert index.tolist() == [0, 1, 2, 2, 0, 1, 2, 2, 1, 1]


def test_close_steps_do_not_chain_into_one():
    steps = 1.0 + 5e-10 * np.arange(100)
    zero = torch.zeros(100, dtype=torch.float64)
    pairs = Pairs(zero, torch.from_numpy(steps), zero[:, None], zero[:, None], zero.long())
    values, index = pairs.distinct()
    assert 30 < len(values) <= 50
    assert float((values[index] - pairs.dt).abs().max()) <= 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.25, 0.7, 3.0]), min_size=2, max_size=60), st.floats(-1e4, 1e4))
def test_distinct_reproduces_every_step(steps, start):
    t = start + np.concatenate([[0.0], np.cumsum(steps)])
    pairs = pairs_of(t)
    values, index = pairs.distinct()
    assert len(values) == len(set(steps))
    assert bool((values[1:] > values[:-1]).all())
    torch.testing.assert_close(values[index], pairs.dt, rtol=1e-9, atol=8 * float(np.spacing(1e4 + 200)))
