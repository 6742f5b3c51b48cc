import numpy as np
import pytest
import torch

from pdekit.data import Trajectories


@pytest.fixture
def dated():
    days = np.array(["1959-03-31", "1959-06-30", "1959-09-30", "1960-03-31"], dtype="datetime64[D]")
    return Trajectories.from_arrays(days, [2.82, 3.08, 3.82, 3.87], names="rate")


def test_description(dated):
    lines = dated.describe().splitlines()
    assert lines[0] == "4 observations of rate, 1 path, 1.002 years, 1959-03-31 to 1960-03-31"
    assert lines[1] == "steps of 0.2491 to 0.501 years (median 0.2519), 1 of them over 1.5 times the median"
    assert lines[2] == "rate: 2.82 to 3.87, mean 3.3975"
    assert repr(dated) == "Trajectories(4 observations of rate, 1 path, 1.002 years)"


def test_description_of_long_equal_steps():
    data = Trajectories.from_arrays(np.arange(0, 60000, 10.0), np.sin(np.arange(6000)), time_unit="year")
    assert data.describe().splitlines()[:2] == [
        "6,000 observations of x, 1 path, 59,990 years, 0 to 59990",
        "equal steps of 10 years",
    ]
    one = Trajectories.from_arrays([[0, 1], [0, 1]], [[1, 2], [2, 3]], time_unit="kyr")
    assert one.describe().splitlines()[:2] == [
        "4 observations of x, 2 paths, 2 kyr, 0 to 1",
        "equal steps of 1 kyr",
    ]


def test_notes_end_the_description():
    data = Trajectories.from_arrays([0, 1, 2, 3], [1.0, np.nan, 2.0, 1.0])
    assert data.describe().splitlines()[-1] == data.notes[-1]
    assert "index 1" in data.notes[-1]


def test_long_frame(dated):
    frame = dated.to_dataframe()
    assert list(frame.columns) == ["id", "time", "date", "rate"]
    assert frame["date"].dt.strftime("%Y-%m-%d").tolist() == ["1959-03-31", "1959-06-30", "1959-09-30", "1960-03-31"]
    again = Trajectories.from_dataframe(frame, time="date", columns="rate", id="id")
    assert torch.equal(again.times[0], dated.times[0])
    clash = Trajectories.from_arrays([0, 1, 2], np.array([[1, 2], [2, 3], [3, 5]]), names=["time", "id"])
    assert list(clash.to_dataframe().columns) == ["id_", "time_", "time", "id"]


def test_figures_have_a_panel_per_component(dated):
    figure = dated.plot()
    assert [axis.get_ylabel() for axis in figure.axes] == ["rate"]
    assert figure.axes[0].get_xlabel() == "date"
    walks = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1)).cumsum(0)
    figure = Trajectories.from_arrays(range(5), walks, time_unit="s").plot()
    assert [len(axis.lines) for axis in figure.axes] == [3, 3]
    assert figure.axes[1].get_xlabel() == "time (seconds)"
    figure.canvas.draw()
