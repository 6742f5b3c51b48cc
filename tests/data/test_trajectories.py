"""Reading from end to end: what goes in comes out, and what is wrong is refused with its place and the remedy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit.data import Trajectories
from pdekit.errors import DataError, InputError, PdekitError

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
SMALL = st.floats(-1e12, 1e12, allow_nan=False, allow_subnormal=False)


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "data.csv"
        path.write_text(text)
        return Trajectories.from_csv(path, **options)

    return read


def refused(read, text, **options):
    """The one line that a bad input brings."""
    with pytest.raises(PdekitError) as caught:
        read(text, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rows(*pairs, header="t,x"):
    return "\n".join([header, *(f"{t},{x}" for t, x in pairs)]) + "\n"


class TestWhatComesOut:
    def test_the_example_series(self):
        data = Trajectories.from_csv(EXAMPLES / "us_tbill.csv", time="date", columns=["rate"])
        assert (data.n_observations, data.n_paths, data.dim, data.names) == (203, 1, 1, ("rate",))
        assert (data.origin, data.time_unit) == ("1959-03-31", "year")
        assert data.duration == pytest.approx(18446 / 365.25)
        values, _ = data.pairs().distinct()
        assert (values * 365.25).tolist() == pytest.approx([90, 91, 92])
        assert data.values[0][0].item() == 2.82
        assert data.values[0][-1].item() == 0.12

    def test_the_first_column_is_time_and_the_others_are_observed(self, read):
        data = read("t,x,y\n0,1,2\n1,2,3\n2,1,4\n")
        assert data.names == ("x", "y")
        assert any("Took 't' as time and 'x', 'y' as observations." in note for note in data.notes)

    def test_a_fixed_step_leaves_the_first_column_the_time(self, read):
        data = read(rows(("2020-01-03", 1), ("2020-01-06", 2), ("2020-01-07", 3)), fixed_dt=1, time_unit="day")
        assert data.names == ("x",)
        assert data.times[0].tolist() == [0.0, 1.0, 2.0]

    def test_columns_come_in_the_order_asked_for(self, read):
        data = read("x,t,y\n1,0,2\n2,1,3\n1,2,4\n", time="t", columns=["y", "x"])
        assert data.values[0][0].tolist() == [2.0, 1.0]

    def test_logarithms(self, read):
        data = read(rows((0, 1), (1, 10), (2, 100)), columns=["x"], log=["x"])
        assert data.names == ("log x",)
        assert data.values[0][:, 0].tolist() == pytest.approx(np.log([1, 10, 100]).tolist(), rel=1e-15)

    def test_logarithm_of_what_is_not_positive(self, read):
        assert "data.csv, line 3, column 'x': the value is 0" in refused(
            read, rows((0, 1), (1, 0), (2, 3)), columns="x", log="x"
        )

    @settings(max_examples=40, deadline=None)
    @given(
        t=st.lists(SMALL, min_size=3, max_size=30, unique=True).map(sorted),
        seed=st.integers(0, 2**32 - 1),
        dim=st.integers(1, 3),
        delimiter=st.sampled_from([",", ";", "\t"]),
    )
    def test_a_frame_through_csv_and_parquet_is_unchanged(self, tmp_path_factory, t, seed, dim, delimiter):
        folder = tmp_path_factory.mktemp("round")
        x = np.random.default_rng(seed).normal(size=(len(t), dim)) * 10.0 ** np.array([0, -200, 200])[:dim]
        frame = pd.DataFrame(x, columns=[f"x{k}" for k in range(dim)]).assign(t=t)
        frame.to_csv(folder / "data.csv", index=False, sep=delimiter)
        frame.to_parquet(folder / "data.parquet")
        options = {"time": "t", "columns": [f"x{k}" for k in range(dim)]}
        for data in (
            Trajectories.from_csv(folder / "data.csv", **options),
            Trajectories.from_parquet(folder / "data.parquet", **options),
            Trajectories.from_dataframe(frame, **options),
            Trajectories.from_dataframe(frame.set_index("t")),
            Trajectories.from_arrays(t, x),
        ):
            assert torch.equal(data.times[0], torch.tensor(t, dtype=torch.float64))
            assert torch.equal(data.values[0], torch.from_numpy(x))

    @settings(max_examples=30, deadline=None)
    @given(
        lengths=st.lists(st.integers(2, 6), min_size=2, max_size=4),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_long_format_with_rows_of_paths_interleaved(self, tmp_path_factory, lengths, seed):
        rng = np.random.default_rng(seed)
        paths = {f"p{k}": np.cumsum(rng.uniform(0.1, 1, n)) for k, n in enumerate(lengths)}
        frame = pd.concat(
            [pd.DataFrame({"cell": name, "t": t, "x": rng.normal(size=len(t))}) for name, t in paths.items()]
        ).sort_values("t", kind="stable")
        path = tmp_path_factory.mktemp("long") / "data.csv"
        frame.to_csv(path, index=False)
        data = Trajectories.from_csv(path, time="t", columns="x", id="cell")
        assert set(data.ids) == set(paths)
        assert list(data.ids) == list(dict.fromkeys(frame["cell"]))
        for name, t, x in zip(data.ids, data.times, data.values, strict=True):
            assert t.tolist() == paths[name].tolist()
            assert x[:, 0].tolist() == frame.loc[frame["cell"] == name, "x"].tolist()

    def test_frames_by_index(self):
        dates = pd.date_range("2020-01-01", periods=4, freq="D", tz="Europe/Berlin")
        data = Trajectories.from_dataframe(pd.Series([1.0, 2.0, 1.0, 3.0], index=dates, name="flow"), time_unit="day")
        assert data.names == ("flow",)
        assert data.times[0].tolist() == [0.0, 1.0, 2.0, 3.0]
        assert data.origin == "2019-12-31T23:00:00"
        quarters = pd.period_range("1959Q1", periods=3, freq="Q")
        data = Trajectories.from_dataframe(pd.DataFrame({"x": [1.0, 2.0, 4.0]}, index=quarters), time_unit="day")
        assert data.times[0].tolist() == [0.0, 90.0, 181.0]

    def test_numeric_path_ids_are_written_as_integers(self):
        frame = pd.DataFrame({"id": [1, 1, 2, 2], "t": [0, 1, 0, 1], "x": [1.0, 2.0, 3.0, 4.0]})
        assert Trajectories.from_dataframe(frame, time="t", columns="x", id="id").ids == ("1", "2")


class TestMissingValues:
    TEXT = "# head\nt,x,y\n0,1,1\n1,,2\n2,3,3\n3,NA,4\n4,.,5\n5,2,\n6,4,7\n"

    def test_rows_are_dropped_and_the_step_is_longer(self, read):
        data = read(self.TEXT, time="t", columns="x")
        assert data.pairs().dt.tolist() == [2.0, 3.0, 1.0]
        note = next(note for note in data.notes if "Dropped" in note)
        assert "3 of 7 rows where x is missing (lines 4, 6-7)" in note

    def test_any_missing_column_drops_the_row(self, read):
        data = read(self.TEXT, time="t", columns=["x", "y"])
        assert data.times[0].tolist() == [0.0, 2.0, 6.0]

    def test_a_gap_may_split_the_path(self, read):
        data = read(self.TEXT, time="t", columns="x", max_gap=2.5)
        assert data.ids == ("series.1", "series.2")
        assert data.pairs().dt.tolist() == [2.0, 1.0]
        assert any("2 paths at steps longer than 2.5" in note for note in data.notes)

    def test_a_split_leaves_out_single_rows(self, read):
        data = read(rows((0, 1), (1, 2), (5, 3), (9, 1), (10, 2)), max_gap=1)
        assert [len(t) for t in data.times] == [2, 2]
        assert any("1 path (series.2) of a single observation" in note for note in data.notes)

    def test_a_fixed_step_counts_the_rows_that_remain(self, read):
        data = read(self.TEXT, time="t", columns="x", fixed_dt="1/252", time_unit="year")
        assert data.times[0].tolist() == pytest.approx([0, 1 / 252, 2 / 252, 3 / 252], rel=1e-15)
        assert any("Consecutive observations are taken to be 0.00396825 years apart" in note for note in data.notes)
        assert any("'t' (0 to 6) gave the order only" in note for note in data.notes)
        assert data.origin is None

    def test_a_row_that_is_empty_altogether_needs_no_time(self, read):
        assert read("t,x\n0,1\n,\n2,3\n3,1\n").n_observations == 3

    def test_a_missing_time_beside_a_value_is_refused(self, read):
        assert "line 3, column 't': the time is missing" in refused(read, "t,x\n0,1\n,2\n2,3\n3,1\n")

    def test_a_column_without_numbers(self, read):
        message = refused(read, "t,x\n0,\n1,\n2,\n3,\n")
        assert "0 rows of observations (4 more have a missing value)" in message

    def test_a_value_that_looks_like_a_mark_is_pointed_out(self, read):
        text = rows((0, 1), (1, -999), (2, 3), (3, 4))
        assert any("-999 in 1 row; if it marks missing values" in note for note in read(text).notes)
        assert read(text, na_values="-999").n_observations == 3


class TestOrder:
    def test_unsorted_rows_are_refused_and_can_be_sorted(self, read):
        text = rows((0, 1), (2, 2), (1, 3), (3, 4))
        message = refused(read, text)
        assert "data.csv, line 4, column 't': time 1 comes after 2 on line 3" in message
        assert "sort=True (--sort)" in message
        data = read(text, sort=True)
        assert data.times[0].tolist() == [0.0, 1.0, 2.0, 3.0]
        assert data.values[0][:, 0].tolist() == [1.0, 3.0, 2.0, 4.0]
        assert any("2 rows changed place" in note for note in data.notes)

    @pytest.mark.parametrize("options", [{}, {"sort": True}])
    def test_repeated_times_are_refused(self, read, options):
        message = refused(read, rows((0, 1), (1, 2), (1, 3), (3, 4)), **options)
        assert "line 4, column 't': time 1 repeats that of line 3 (repeated times: 1)" in message
        assert "id=..." in message

    def test_repeated_times_within_a_path(self, read):
        text = "id,t,x\na,0,1\na,1,2\nb,0,1\nb,0,2\n"
        message = refused(read, text, time="t", columns="x", id="id")
        assert "line 5 of path 'b'" in message
        assert "id=" not in message

    def test_times_that_run_backwards_name_both_remedies(self, read):
        text = rows((3, 1), (2, 2), (0, 3))
        message = refused(read, text)
        assert "line 3, column 't': times run backwards, from 3 on line 2 to 2" in message
        assert "reverse_time=True (--reverse-time)" in message
        assert "sort=True (--sort)" in message
        assert read(text, sort=True).times[0].tolist() == [0.0, 2.0, 3.0]
        assert read(text, reverse_time=True).times[0].tolist() == [-3.0, -2.0, 0.0]
        assert read(text, reverse_time=True).values[0][:, 0].tolist() == [1.0, 2.0, 3.0]

    def test_newest_date_first(self, read):
        text = rows(("2020-01-03", 1), ("2020-01-02", 2), ("2020-01-01", 3))
        message = refused(read, text)
        assert "time 2020-01-02 comes after 2020-01-03 on line 2; the newest row comes first" in message
        assert read(text, sort=True).origin == "2020-01-01"
        assert "holds dates, which count forwards" in refused(read, text, reverse_time=True)

    def test_an_age_before_present_must_be_declared(self, read):
        text = rows((10, 1), (20, 2), (40, 3), header="Age_BP,Ca")
        message = refused(read, text)
        assert "'Age_BP' reads like an age before present" in message
        assert "(--reverse-time)" in message
        assert read(text, reverse_time=False).times[0].tolist() == [10.0, 20.0, 40.0]
        data = read(text, reverse_time=True)
        assert data.times[0].tolist() == [-40.0, -20.0, -10.0]
        assert data.values[0][:, 0].tolist() == [3.0, 2.0, 1.0]
        assert data.pairs().dt.tolist() == [20.0, 10.0]
        assert any("counts backwards" in note for note in data.notes)
        muddled = refused(read, rows((0, 1), (20, 2), (15, 3), (40, 4)), reverse_time=True)
        assert "time 20 comes after 15 on line 4; times must run one way" in muddled

    @pytest.mark.parametrize("name", ["kaBP", "AgeBP", "age (yr BP)", "yr_b2k", "years before present", "cal BP"])
    def test_names_of_ages(self, read, name):
        assert "before present" in refused(read, rows((1, 1), (2, 2), (3, 1), header=f"{name},x"))

    def test_the_age_of_an_animal_runs_forwards(self, read):
        data = read(rows((1, 1), (2, 2), (3, 1), header="age,weight"))
        assert data.times[0].tolist() == [1.0, 2.0, 3.0]
        assert any("--reverse-time" in note for note in data.notes)
        assert not any("--reverse-time" in note for note in read(rows((1, 1), (2, 2), (3, 1), header="page,x")).notes)

    def test_rows_whose_order_runs_backwards_without_a_time_column(self, read):
        data = read("x\n3\n2\n5\n", columns="x", fixed_dt=1, reverse_time=True)
        assert data.values[0][:, 0].tolist() == [5.0, 2.0, 3.0]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "options", "words"),
        [
            ("", {}, ["data.csv", "empty"]),
            ("t,x\n", {}, ["0 rows", "at least 3"]),
            (rows((0, 1)), {}, ["1 row of observations", "at least 3"]),
            (rows((0, 1), (1, 2)), {}, ["2 rows", "at least 3"]),
            (rows((0, 1), (1, "high"), (2, 3)), {}, ["line 3", "'x'", "'high' is not a number"]),
            (rows((0, 1), (1, "inf"), (2, 3)), {}, ["line 3", "'x'", "inf"]),
            (rows((0, 1), ("soon", 2), (2, 3)), {}, ["line 3", "'t'", "'soon'"]),
            (rows((0, 4), (1, 4), (2, 4)), {}, ["x is 4 in all 3 observations", "constant"]),
            ("t,x\n0,1\n1,2\n2,3\n", {"columns": "rate"}, ["no column 'rate'", "'t', 'x'"]),
            ("t,Rate\n0,1\n1,2\n2,3\n", {"columns": "rate"}, ["Did you mean 'Rate'"]),
            ("t,x\n0,1\n1,2\n2,3\n", {"time": "date"}, ["no column 'date'"]),
            ("t,x\n0,1\n1,2\n2,3\n", {"id": "cell"}, ["no column 'cell'"]),
            ("x\n1\n2\n3\n", {}, ["only the column 'x'"]),
            ("x\n1\n2\n3\n", {"columns": "x"}, ["no column left for the time", "--fixed-dt"]),
            ("id,t,x\na,0,1\n,1,2\na,2,1\n", {"id": "id"}, ["line 3", "id is missing"]),
            ("id,t,x\na,0,1\nb,1,2\nc,2,1\n", {"id": "id"}, ["at least two steps"]),
            ("t;x\n0;1,5\n1;2,5\n2;3,5\n", {}, ["line 2", "'1,5'", 'decimal=","']),
            (rows(("01/01/2020", 1), ("01/02/2020", 2), ("01/03/2020", 3)), {}, ["date_format", "--date-format"]),
        ],
    )
    def test_one_line_that_names_the_place_and_the_remedy(self, read, text, options, words):
        message = refused(read, text, **options)
        for word in words:
            assert word in message

    def test_options_are_checked_before_the_file_is_read(self):
        with pytest.raises(InputError, match="fixed_dt must be"):
            Trajectories.from_csv("nowhere.csv", fixed_dt="__import__('os')")

    def test_single_rows_of_a_long_table_are_left_out(self, read):
        data = read("id,t,x\na,0,1\nb,0,2\na,1,2\na,2,1\n", id="id")
        assert data.ids == ("a",)
        assert any("Left out 1 path (b) of a single observation" in note for note in data.notes)

    def test_paths_that_vanish_with_their_missing_values_are_named(self, read):
        data = read("id,t,x\na,0,1\nb,0,\nb,1,\na,1,2\na,2,1\n", id="id")
        assert "Nothing was left of 1 path (b)." in data.notes

    @pytest.mark.parametrize(
        ("times", "values", "words"),
        [
            ([[0.0, 1.0, 2.0]], [[[1.0], [2.0]]], "shape"),
            ([[0.0, 1.0, 1.0]], [[[1.0], [2.0], [3.0]]], "index 2: time 1 does not come after 1"),
            ([[0.0, 1.0, 2.0]], [[[1.0], [float("nan")], [3.0]]], "index 1: the value is not finite"),
            ([[0.0, 1.0, float("inf")]], [[[1.0], [2.0], [3.0]]], "index 2: the time is not finite"),
            ([[0.0, 1.0]], [[[1.0], [2.0]]], "at least two steps"),
            ([], [], "expected"),
        ],
    )
    def test_the_class_itself_keeps_its_promises(self, times, values, words):
        ids = [str(k) for k in range(max(len(times), 1))]
        with pytest.raises(DataError, match=words):
            Trajectories([torch.tensor(t) for t in times], [torch.tensor(x) for x in values], ids, ["x"], "year")
