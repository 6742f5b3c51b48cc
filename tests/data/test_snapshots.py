"""Snapshots: what they accept, how they are read, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch

from pdekit.data.snapshots import Snapshots
from pdekit.errors import DataError


def _two(n=20, d=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator), torch.randn(n + 5, d, generator=generator) + 1]


def test_counts_names_and_duration():
    data = Snapshots([0.0, 1.5], _two(), time_unit="h")
    assert (data.counts, data.dim, data.names, data.time_unit) == ((20, 25), 2, ("x1", "x2"), "hour")
    assert data.duration == 1.5
    assert data.n_observations == 45
    assert repr(data) == "Snapshots(45 samples of x1, x2 at 2 times, 0 to 1.5 hours)"
    states, which = data.pooled()
    assert states.shape == (45, 2)
    assert torch.bincount(which).tolist() == [20, 25]


def test_one_state_may_be_given_as_vectors():
    data = Snapshots(np.array([0, 1]), [np.arange(5.0), np.arange(6.0)], names="level")
    assert data.names == ("level",)
    assert data.samples[1].shape == (6, 1)
    assert data.samples[0].dtype == torch.float64


def test_an_array_of_equal_snapshots_is_a_list_of_them():
    assert Snapshots([0, 1, 2], np.random.default_rng(0).normal(size=(3, 10, 2))).counts == (10, 10, 10)


def test_frame_round_trip_in_any_order():
    data = Snapshots([0.0, 1.5], _two(), names=["a", "b"])
    frame = data.to_dataframe()
    again = Snapshots.from_dataframe(frame.iloc[::-1], time="time")
    assert again.names == ("a", "b")
    assert torch.equal(again.times, data.times)
    for ours, theirs in zip(data.samples, again.samples, strict=True):
        assert torch.equal(ours.flip(0), theirs)


def test_csv_with_dates_missing_cells_and_logs(tmp_path):
    rows = ["day,size", *(f"2020-01-0{1 + k // 4},{1 + k % 4}" for k in range(12)), "2020-01-02,NA"]
    path = tmp_path / "cells.csv"
    path.write_text("\n".join(rows))
    data = Snapshots.from_csv(path, time="day", time_unit="day", log="size")
    assert data.counts == (4, 4, 4)
    assert data.times.tolist() == [0.0, 1.0, 2.0]
    assert data.names == ("log size",)
    assert data.origin == "2020-01-01"
    assert any("Dropped 1 of 13 rows" in note for note in data.notes)
    assert "2020-01-03" in data.describe()
    assert "date" in data.to_dataframe().columns


def test_parquet(tmp_path):
    frame = Snapshots([0.0, 1.0], _two()).to_dataframe()
    frame.to_parquet(tmp_path / "s.parquet")
    assert Snapshots.from_parquet(tmp_path / "s.parquet", time="time").counts == (20, 25)


@pytest.mark.parametrize("dim", [1, 2])
def test_plot_has_a_panel_for_each_time(dim):
    figure = Snapshots([0.0, 1.0], _two(d=dim)).plot()
    assert sum(axis.get_visible() for axis in figure.axes) == 2


@pytest.mark.parametrize(
    ("times", "samples", "message"),
    [
        ([0.0], [np.zeros((5, 1))], "At least two snapshots"),
        ([0.0, 1.0], [np.arange(5.0)], "2 times and 1 snapshots"),
        ([1.0, 1.0], [np.arange(5.0)] * 2, "Times must increase"),
        ([0.0, np.nan], [np.arange(5.0)] * 2, "not finite"),
        ([0.0, 1.0], [np.arange(5.0), np.array([1.0, np.nan, 2, 3])], "sample 1"),
        ([0.0, 1.0], [np.arange(5.0), np.arange(2.0)], "at least 3 are needed"),
        ([0.0, 1.0], [np.zeros((5, 1)), np.zeros((5, 2))], "components"),
        ([0.0, 1.0], [np.ones(5)] * 2, "holds no information"),
        ([[0.0, 1.0]], [np.arange(5.0)] * 2, "shape"),
        ([0.0, 1.0], np.arange(5.0), "an array for each time"),
        ([0.0, 1.0], 3, "list of arrays"),
        ([0.0, 1.0], ["a", "b"], "must be numbers"),
    ],
)
def test_refusals(times, samples, message):
    with pytest.raises(DataError, match=message):
        Snapshots(times, samples)


def test_a_path_is_not_a_series_of_snapshots():
    frame = pd.DataFrame({"t": np.arange(10.0), "x": np.arange(10.0)})
    with pytest.raises(DataError, match="Trajectories"):
        Snapshots.from_dataframe(frame, time="t")


def test_wrong_names_are_refused():
    with pytest.raises(DataError, match="names"):
        Snapshots([0.0, 1.0], _two(), names=["a"])
