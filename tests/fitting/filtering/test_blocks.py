"""Blocks: every pair is evaluated once, after a warm-up of the readings before it and no others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.data import Pairs
from pdekit.fitting.filtering.blocks import cut


def some_pairs(sizes: list[int]) -> Pairs:
    path = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(path)
    x = torch.arange(n + 1.0, dtype=torch.float64)[:, None]
    return Pairs(x[:-1, 0], torch.ones(n, dtype=torch.float64), x[:-1], x[1:], path)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=4), st.integers(1, 80))
def test_blocks_cover_every_pair_once_and_in_order(sizes, warm_up):
    pairs = some_pairs(sizes)
    blocks = cut(pairs, warm_up)
    n = len(pairs)
    assert torch.equal(blocks.pair[blocks.column, blocks.row], torch.arange(n))
    assert bool(blocks.active[blocks.column, blocks.row].all())
    assert bool((blocks.column >= blocks.warm_up).all())
    assert len(torch.unique(blocks.column * blocks.rows + blocks.row)) == n
    for r in range(blocks.rows):
        active = blocks.pair[:, r][blocks.active[:, r]]
        own = (blocks.row == r).nonzero().flatten()
        last = int(own[-1])
        begun = active[: last - int(active[0]) + 1]
        # One pair after another from the start on, all of one path; the start is the warm-up before its own pairs.
        assert torch.equal(begun, torch.arange(int(active[0]), last + 1))
        assert int(active[0]) == int(blocks.start[r])
        assert len(torch.unique(pairs.path[active])) == 1
        before = int(own[0]) - int(blocks.start[r])
        first_of_path = int((pairs.path == pairs.path[own[0]]).nonzero()[0])
        assert before == min(blocks.warm_up, int(own[0]) - first_of_path)
        previous = int(blocks.previous[r])
        assert (previous < 0) == (int(own[0]) == first_of_path)
        if previous >= 0:
            assert int((blocks.row == previous).nonzero()[-1]) == int(own[0]) - 1
            assert int((blocks.row == previous).sum()) + blocks.warm_up == blocks.columns


def test_long_records_become_few_columns():
    blocks = cut(some_pairs([100_000]), 40)
    assert blocks.columns < 400
    assert blocks.rows > 250


@pytest.mark.parametrize("warm_up", [50, 5000])
def test_paths_shorter_than_the_warm_up_are_not_cut(warm_up):
    blocks = cut(some_pairs([30, 20, 10]), warm_up)
    assert (blocks.rows, blocks.columns, blocks.warm_up) == (3, 30, 0)
