import numpy as np
import pytest

from pdekit.data.table import Table, read_numbers, unused
from pdekit.errors import DataError


def table(**columns):
    arrays = {name: np.array(cells, dtype=object) for name, cells in columns.items()}
    count = len(next(iter(arrays.values())))
    return Table("data.csv", arrays, np.arange(2, 2 + count), "line")


def test_numbers_and_the_usual_marks_of_missing_values():
    values = read_numbers(table(x=["1", "-2.5e3", "", "NA", "n/a", "NaN", ".", "null", "3"]), "x")
    assert values[[0, 1, 8]].tolist() == [1.0, -2500.0, 3.0]
    assert np.isnan(values[2:8]).all()


def test_further_marks_of_missing_values_match_as_text_and_as_numbers():
    values = read_numbers(table(x=["1", "-999.0", "bad", "-9999"]), "x", na_values=["-999", "bad"])
    assert np.isnan(values).tolist() == [False, True, True, False]


def test_decimal_comma():
    assert read_numbers(table(x=["1,5", "2"]), "x", decimal=",").tolist() == [1.5, 2.0]
    with pytest.raises(DataError, match=r"line 2, column 'x': '1,5' is not a number.*decimal=\",\""):
        read_numbers(table(x=["1,5", "2"]), "x")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("1_000", "'1_000' is not a number"),
        ("high", "'high' is not a number"),
        ("inf", "the value is inf"),
        ("-Infinity", "the value is -Infinity"),
    ],
)
def test_a_bad_cell_is_named_by_line_column_and_text(cell, words):
    with pytest.raises(DataError, match=f"data.csv, line 4, column 'x': {words}"):
        read_numbers(table(x=["1", "2", cell]), "x")


def test_long_text_is_cut_in_the_message():
    with pytest.raises(DataError) as caught:
        read_numbers(table(x=["y" * 500]), "x")
    assert len(str(caught.value)) < 250


def test_dates_are_no_observations():
    dates = Table("data.csv", {"x": np.array(["2020-01-01"], dtype="datetime64[us]")}, np.arange(1), "row")
    with pytest.raises(DataError, match="'x' holds dates"):
        read_numbers(dates, "x")


def test_an_absent_column_brings_the_names_there_are_and_the_close_ones():
    with pytest.raises(DataError, match=r"no column 'rat'; its columns are 'Date', 'Rate'\. Did you mean 'Rate'\?"):
        table(Date=["1"], Rate=["2"]).column("rat")
    with pytest.raises(DataError, match="and 10 more"):
        table(**{f"a{k}": ["1"] for k in range(30)}).column("zzz")


def test_rows_are_listed_by_runs():
    many = table(x=["0"] * 40)
    assert many.row_list([0, 1, 2, 7]) == "lines 2-4, 9"
    assert many.row_list([5]) == "line 7"
    assert many.row_list(range(0, 40, 2)).endswith(", ...")


def test_unused_names():
    assert unused("time", ["time", "time_"]) == "time__"
