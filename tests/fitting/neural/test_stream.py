"""Streams from disk against trajectories in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError
from pdekit.fitting.neural import stream as module
from pdekit.fitting.neural.stream import TransitionStream
from pdekit.fitting.neural.transitions import Rows


def _all(stream):
    return Rows.joined([stream.piece(k) for k in range(len(stream.counts))])


def _paths(seed=0, lengths=(700, 3, 450)):
    rng = np.random.default_rng(seed)
    times = [np.cumsum(rng.uniform(0.01, 0.1, n)) for n in lengths]
    return times, [rng.normal(size=(n, 2)).cumsum(0) for n in lengths]


def _equal(stream, data):
    rows, pairs = _all(stream), data.pairs()
    for got, expected in ((rows.t[:, 0], pairs.t), (rows.dt[:, 0], pairs.dt), (rows.x0, pairs.x0), (rows.x1, pairs.x1)):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert rows.index.tolist() == list(range(len(pairs)))


@pytest.mark.parametrize("piece", [7, 100, 65_536])
def test_one_pair_of_npy_files_breaks_where_the_time_goes_back(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(module, "_PIECE", piece)
    times, states = _paths()
    np.save(tmp_path / "t.npy", np.concatenate(times))
    np.save(tmp_path / "x.npy", np.concatenate(states))
    stream = TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "x.npy")
    _equal(stream, Trajectories.from_arrays(times, states))
    assert stream.names == ("x1", "x2")
    assert len(stream) == stream.piece(0).index[0] + 1150


def test_npy_files_of_several_paths(tmp_path):
    times, states = _paths()
    files = []
    for k, (t, x) in enumerate(zip(times, states, strict=True)):
        np.save(tmp_path / f"t{k}.npy", t + k)  # later paths begin later: only the file says that they are others
        np.save(tmp_path / f"x{k}.npy", x)
        files.append((tmp_path / f"t{k}.npy", tmp_path / f"x{k}.npy"))
    stream = TransitionStream.from_npy(*zip(*files, strict=True), names=["a", "b"])
    _equal(stream, Trajectories.from_arrays([t + k for k, t in enumerate(times)], states))


@pytest.mark.parametrize("labels", [["b", "a", "c"], [7, 3, 5], None])
@pytest.mark.parametrize("group", [50, 10_000])
def test_parquet_with_and_without_an_id(tmp_path, labels, group):
    times, states = _paths()
    columns = {"time": np.concatenate(times), "u": np.concatenate(states)[:, 0], "v": np.concatenate(states)[:, 1]}
    if labels is not None:
        columns["path"] = np.repeat(
            np.array(labels, dtype=object if isinstance(labels[0], str) else int), [700, 3, 450]
        )
    pq.write_table(pa.table(columns), tmp_path / "data.parquet", row_group_size=group)
    stream = TransitionStream.from_parquet(
        tmp_path, time="time", columns=["u", "v"], id=None if labels is None else "path"
    )
    _equal(stream, Trajectories.from_arrays(times, states))


def test_a_missing_value_interrupts_the_path(tmp_path):
    table = pa.table({"t": [0.0, 1.0, 2.0, 3.0, 4.0], "x": [1.0, 2.0, None, 4.0, 5.0]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows = _all(TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns="x"))
    assert rows.x0[:, 0].tolist() == [1.0, 4.0]


def test_what_is_wrong_is_said(tmp_path):
    pq.write_table(pa.table({"t": [0.0, 1.0, 1.0], "x": [1.0, 2.0, 3.0], "s": ["a", "b", "c"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="does not come after"):
        TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns="x")
    with pytest.raises(DataError, match="no column 'y'"):
        TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns="y")
    with pytest.raises(DataError, match="must hold numbers"):
        TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns="s")
    with pytest.raises(DataError, match="no file"):
        TransitionStream.from_parquet(tmp_path / "b.parquet", time="t", columns="x")
    (tmp_path / "c.npy").write_text("no array")
    with pytest.raises(DataError, match="can't be read"):
        TransitionStream.from_npy(tmp_path / "c.npy", tmp_path / "c.npy")
    np.save(tmp_path / "t.npy", np.arange(4.0))
    np.save(tmp_path / "x.npy", np.zeros((3, 1)))
    with pytest.raises(DataError, match="were expected"):
        TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "x.npy")
    with pytest.raises(InputError, match="names"):
        TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "t.npy", names=["a", "b"])


def test_data_that_were_changed_anywhere_are_others(tmp_path):
    times, states = _paths()
    table = {"t": times[0], "x": states[0][:, 0].copy()}
    found = []
    for change in (0.0, 1e-9):
        table["x"][350] += change
        pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=100)
        found.append(TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns="x").identity())
    assert found[0] != found[1]


def test_what_makes_no_stream_is_refused(tmp_path):
    times, states = _paths()
    np.savez(tmp_path / "a.npz", x=states[0])
    np.save(tmp_path / "t.npy", times[0])
    (tmp_path / "a.csv").write_text("t,x\n0,1\n")
    pq.write_table(pa.table({"t": times[0], "x": states[0][:, 0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="archive"):
        TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"can't be read as a \.npy file, as np\.save"):
        TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "a.csv")
    for columns in ([], ["x", "x"], ["t"]):
        with pytest.raises(InputError, match="columns"):
            TransitionStream.from_parquet(tmp_path / "a.parquet", time="t", columns=columns)
    infinite = states[0].copy()
    infinite[5, 0] = np.inf
    np.save(tmp_path / "x.npy", infinite)
    with pytest.raises(DataError, match="infinite"):
        TransitionStream.from_npy(tmp_path / "t.npy", tmp_path / "x.npy")
