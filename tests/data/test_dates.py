import numpy as np
import pytest

from pdekit.data.dates import find_dates
from pdekit.data.table import Table
from pdekit.errors import DataError


def increasing(dates):
    return bool((np.diff(dates).astype(np.int64) > 0).all())


def find(*texts, date_format=None):
    table = Table("data.csv", {"when": np.array(texts, dtype=object)}, np.arange(2, 2 + len(texts)), "line")
    found = find_dates(table, "when", date_format, ".", increasing)
    return None if found is None else ([str(date)[:19] for date in found[0]], found[1])


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["1959-03-31", "1959-06-30"], ["1959-03-31", "1959-06-30"]),
        (["1959-03", "1959-06"], ["1959-03-01", "1959-06-01"]),
        (["1500-01-01", "1900-01-01"], ["1500-01-01", "1900-01-01"]),
        (["2020-01-01 12:30", "2020-01-01T12:30:05"], ["2020-01-01T12:30:00", "2020-01-01T12:30:05"]),
        (["2020-01-01T12:00:00Z", "2020-01-01T12:00:00-02:00"], ["2020-01-01T12:00:00", "2020-01-01T14:00:00"]),
        (["1959Q1", "1959Q4"], ["1959-01-01", "1959-10-01"]),
        (["1959-q2", "1960 Q1"], ["1959-04-01", "1960-01-01"]),
        (["Q1 1959", "Q3/1959"], ["1959-01-01", "1959-07-01"]),
        (["1/2/1962", "1/30/1962"], ["1962-01-02", "1962-01-30"]),
        (["31.12.1999", "01.01.2000"], ["1999-12-31", "2000-01-01"]),
        (["1/30/2020 9:05", "1/30/2020 14:00"], ["2020-01-30T09:05:00", "2020-01-30T14:00:00"]),
        (["1/30/2020 9:05 PM", "1/31/2020 2:00 AM"], ["2020-01-30T21:05:00", "2020-01-31T02:00:00"]),
        (["31 Mar 1959", "30 Jun 1959"], ["1959-03-31", "1959-06-30"]),
        (["March 31, 1959", "June 30, 1959"], ["1959-03-31", "1959-06-30"]),
        (["Mar 1959", "Jun 1959"], ["1959-03-01", "1959-06-01"]),
        (["May 3, 1959", "June 30, 1959"], ["1959-05-03", "1959-06-30"]),
        (["1959/03/31", "1959/06/30"], ["1959-03-31", "1959-06-30"]),
        (["19590331", "19590630"], ["1959-03-31", "1959-06-30"]),
        (
            [f"1959{m:02}" for m in range(1, 13)] + ["196001"],
            [f"1959-{m:02}-01" for m in range(1, 13)] + ["1960-01-01"],
        ),
    ],
)
def test_forms_of_dates(texts, dates):
    found, _ = find(*texts)
    assert [date if "T" in expected else date[:10] for date, expected in zip(found, dates, strict=True)] == dates


@pytest.mark.parametrize(
    "texts", [["1959", "1960"], ["0.5", "1e3"], ["10155.00000", "10165.00000"], ["200001", "200002"]]
)
def test_numbers_are_left_alone(texts):
    assert find(*texts) is None


def test_day_and_month_are_told_by_the_order_that_runs_forwards():
    found, notes = find("01/02/2020", "02/02/2020", "03/02/2020", "01/03/2020")
    assert [date[:10] for date in found] == ["2020-02-01", "2020-02-02", "2020-02-03", "2020-03-01"]
    assert "day first" in notes[0]
    found, notes = find("01/02/2020", "01/03/2020", "02/01/2020")
    assert found[2][:10] == "2020-02-01"
    assert "month first" in notes[0]


def test_day_and_month_that_cannot_be_told_are_refused_with_both_formats():
    with pytest.raises(DataError, match=r"both give increasing.*%m/%d/%Y.*%d/%m/%Y"):
        find("01/01/2020", "01/02/2020", "01/03/2020")
    with pytest.raises(DataError, match="neither gives times in order"):
        find("05/01/2020", "01/02/2020", "01/05/2020", "02/01/2020")
    found, _ = find("01/01/2020", "01/02/2020", date_format="%d/%m/%Y")
    assert found[1][:10] == "2020-02-01"


def test_no_question_arises_where_day_and_month_agree():
    found, notes = find("01/01/2020", "01/01/2021", "02/02/2022")
    assert found[2][:10] == "2022-02-02"
    assert notes == ()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["2020-01-01", "2020-02-30"], ["line 3", "2020-02-30"]),
        (["2020-01-01", "yesterday", "2020-01-03"], ["line 3", "'yesterday'"]),
        (["0.1", "0.22", "x"], ["line 4", "'x'", "neither a number nor a date"]),
        (["1/2/62", "1/3/62"], ["two digits"]),
        (["31/12/2020", "12/31/2020"], ["31/12/2020"]),
        (["2020-01-01T00:00:00Z", "2020-01-02T00:00:00"], ["line 3", "no UTC offset"]),
        (["2020-01-01T00:00:00", "2020-01-02T00:00:00+01:00"], ["line 3", "a UTC offset"]),
    ],
)
def test_what_is_no_date_is_named(texts, words):
    with pytest.raises(DataError) as caught:
        find(*texts)
    for word in ["data.csv", *words]:
        assert word in str(caught.value)


def test_a_format_is_followed_to_the_letter():
    with pytest.raises(DataError, match="line 3, column 'when': '1960' does not have the form '%Y-%m'"):
        find("1959-01", "1960", date_format="%Y-%m")
    with pytest.raises(DataError, match="is not a strptime format"):
        find("1959-01", "1960-01", date_format="%Q")
