"""Pieces, folds and batches."""

import pytest
import torch

from pdekit.fitting.neural.transitions import Batches, Folds, PairsSource, Rows, pieces


@pytest.fixture
def source(euler_pairs):
    x = torch.arange(1001, dtype=torch.float64)[:, None]
    return PairsSource(euler_pairs(torch.zeros_like, lambda v: torch.ones_like(v)[..., None], x), ("x",))


def test_pieces_hold_every_transition_once(source):
    index = torch.cat([rows.index for rows in pieces(source, 100)])
    assert index.tolist() == list(range(1001))
    parts = [torch.cat([rows.index for rows in pieces(source, 100, rank, 3)]) for rank in range(3)]
    assert torch.cat(parts).sort().values.tolist() == list(range(1001))


def test_an_epoch_of_batches_holds_every_transition_once(source):
    batches = Batches(source, 64, (0, 0))
    epoch = Rows.joined([batches.at(k) for k in range(16)])
    assert epoch.index.sort().values.tolist() == list(range(1001))
    assert epoch.index.tolist() != list(range(1001))
    torch.testing.assert_close(epoch.x0[:, 0], epoch.index.double())


def test_a_batch_depends_on_seed_and_step_alone(source):
    forward, jumping = Batches(source, 64, (3, 1)), Batches(source, 64, (3, 1))
    wanted = {k: forward.at(k).index.tolist() for k in range(40)}
    for k in (37, 2, 16, 15):
        assert jumping.at(k).index.tolist() == wanted[k]
    assert Batches(source, 64, (4, 1)).at(0).index.tolist() != wanted[0]
    assert wanted[0] != wanted[16]


def test_folds_are_blocks_that_members_share_out():
    folds = Folds(10_000, 0.2, 0)
    index = torch.arange(10_000)
    left = torch.stack([folds.held_out(k, index) for k in range(5)])
    # Five members and a fifth each: every transition is held out once.
    assert bool((left.sum(0) == 1).all())
    # 50 blocks of 200 transitions, ten of which are left out.
    assert int((left[0][1:] != left[0][:-1]).sum()) <= 20
    assert bool((Folds(10_000, 0.2, 1).held_out(0, index) != left[0]).any())
