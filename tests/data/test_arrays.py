import numpy as np
import pytest
import torch

from pdekit.data import Trajectories
from pdekit.errors import DataError

T = [0.0, 0.5, 1.5, 2.0]
X = [1.0, 2.0, 1.5, 1.7]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda v: torch.tensor(v, dtype=torch.float32)])
def test_one_path_from_lists_arrays_and_tensors(kind):
    data = Trajectories.from_arrays(kind(T), kind(X), time_unit="s")
    assert (data.dim, data.n_paths, data.names, data.time_unit) == (1, 1, ("x",), "second")
    assert data.times[0].tolist() == T
    assert data.values[0].dtype == torch.float64
    np.testing.assert_allclose(data.values[0][:, 0], X, rtol=1e-7)  # float32 input


def test_several_components():
    data = Trajectories.from_arrays(T, np.array([X, X[::-1]]).T, names=["u", "v"])
    assert (data.dim, data.names) == (2, ("u", "v"))
    assert data.values[0][0].tolist() == [1.0, 1.7]
    assert Trajectories.from_arrays(T, np.array([X, X[::-1]]).T).names == ("x1", "x2")


def test_paths_at_shared_times_come_time_first_as_from_a_simulation():
    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    data = Trajectories.from_arrays(T, x)
    assert (data.n_paths, data.dim, data.ids) == (3, 2, ("1", "2", "3"))
    assert torch.equal(data.values[1], x[:, 1].double())


def test_paths_with_their_own_times():
    data = Trajectories.from_arrays([T, T[:2]], [np.array(X), np.array([3.0, 4.0])], ids=["a", "b"])
    assert [len(t) for t in data.times] == [4, 2]
    assert data.ids == ("a", "b")
    assert data.duration == 2.5
    stacked = Trajectories.from_arrays(np.array([T, T]), np.array([X, X]))
    assert stacked.n_paths == 2


def test_dates_as_datetime64_or_datetime():
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-05"], dtype="datetime64[D]")
    for t in (days, days.astype(object), list(days), [str(day) for day in days]):
        data = Trajectories.from_arrays(t, [1.0, 2.0, 3.0], time_unit="day")
        assert data.times[0].tolist() == [0.0, 1.0, 4.0]
        assert data.origin == "2020-01-01"


def test_fixed_steps_need_no_times():
    data = Trajectories.from_arrays(None, X, fixed_dt="1/4", time_unit="year")
    assert data.times[0].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert Trajectories.from_arrays(None, [np.array(X), np.array(X[:3])], fixed_dt=1).n_paths == 2
    with pytest.raises(DataError, match="no column left for the time"):
        Trajectories.from_arrays(None, X)


@pytest.mark.parametrize(
    ("t", "x", "words"),
    [
        (T, X[:3], "n = 4 times"),
        (T, [[1.0, 2.0, 3.0, 4.0]] * 3, "n = 4 times"),
        (T, np.zeros((3, 4, 1)), r"For paths first, transpose"),
        ([T, T], [X], "times of 2 paths and values of 1"),
        ([T, T], [X, X[:2]], "Path 2: 4 times"),
        ([T, T], [np.zeros((4, 2)), np.zeros((4, 1))], r"Path 2.*\(n, 2\)"),
        (T, ["a", "b", "c", "d"], "real numbers"),
        (T, [[1.0], [1.0, 2.0], [1.0], [1.0]], "lists of equal length"),
        (np.zeros((2, 2, 2)), X, r"Times must be \(n,\)"),
        (T, [1.0, 2.0, np.inf, 3.0], "index 2, column 'x': the value is inf"),
        ([0.0, 1.0, 1.0, 2.0], X, "index 2.*repeats that of index 1"),
        ([0.0, np.nan, 1.0, 2.0], X, "index 1.*the time is missing"),
        ([0.0, np.inf, 1.0, 2.0], X, "index 1.*finite"),
        ([T, [0.0, 2.0, 1.0, 3.0]], [X, X], "index 2 of path '2'"),
    ],
)
def test_shapes_and_values_that_do_not_fit(t, x, words):
    with pytest.raises(DataError, match=words):
        Trajectories.from_arrays(t, x)


def test_names_and_ids_must_fit():
    with pytest.raises(DataError, match="names must name each of the 1 components"):
        Trajectories.from_arrays(T, X, names=["a", "b"])
    with pytest.raises(DataError, match="ids must name each of the 2 paths once"):
        Trajectories.from_arrays([T, T], [X, X], ids=["a", "a"])


def test_components_may_be_called_t_and_path():
    data = Trajectories.from_arrays([T, T], [np.array([X, X[::-1]]).T] * 2, names=["t", "path"])
    assert data.names == ("t", "path")


def test_npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, t=T, x=X, y=np.array([X, X]).T)
    assert Trajectories.from_npz(path).values[0][:, 0].tolist() == X
    assert Trajectories.from_npz(path, x="y", names=["a", "b"]).dim == 2
    assert Trajectories.from_npz(path, fixed_dt=0.5).times[0].tolist() == [0.0, 0.5, 1.0, 1.5]
    with pytest.raises(DataError, match=r"no array 'time'; it holds 't', 'x', 'y'"):
        Trajectories.from_npz(path, t="time")


def test_npz_that_is_none(tmp_path):
    np.savez(tmp_path / "objects.npz", t=np.array(T), x=np.array([{}, 1.0, 2.0, 3.0], dtype=object))
    np.save(tmp_path / "array.npy", np.array(X))
    (tmp_path / "text.npz").write_text("t,x\n")
    np.savez(tmp_path / "whole.npz", t=T, x=X)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:150])
    for name in ("objects.npz", "array.npy", "text.npz", "cut.npz"):
        with pytest.raises(DataError, match=f"{name} is not an NPZ file of plain arrays"):
            Trajectories.from_npz(tmp_path / name)
