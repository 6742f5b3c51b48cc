import numpy as np
import pytest

from pdekit.data.table import Table
from pdekit.data.times import SECONDS, calendar, canonical_unit, iso_text, parse_step, plural, read_clock
from pdekit.errors import DataError, InputError


def clock(cells, name="t", **options):
    column = cells if isinstance(cells, np.ndarray) else np.array(cells, dtype=object)
    table = Table("data.csv", {name: column}, np.arange(2, 2 + len(column)), "line")
    return read_clock(table, name, orderly=lambda dates: True, **options)


def test_units_have_one_name():
    assert [canonical_unit(text) for text in ("yrs", "Days", "s", " hour ")] == ["year", "day", "second", "hour"]
    assert canonical_unit("kyr") == "kyr"
    assert plural("year") == "years"
    assert plural("kyr") == "kyr"
    for bad in ("", "x" * 50, "a\nb", None):
        with pytest.raises(InputError, match="time_unit must be a word"):
            canonical_unit(bad)


@pytest.mark.parametrize(("step", "value"), [("1/252", 1 / 252), ("0.25", 0.25), (3, 3.0), ("1e-3", 1e-3), (0.5, 0.5)])
def test_steps(step, value):
    assert parse_step(step) == value


@pytest.mark.parametrize(
    "step", ["1/0", "0", "-1", "nan", "inf", "1/2/3", "one", "", "1e999", "__import__('os')", True]
)
def test_steps_that_are_none(step):
    if step is True:
        with pytest.raises(InputError):
            parse_step(step)
        return
    with pytest.raises(InputError, match="must be a positive number or a quotient"):
        parse_step(step)


def test_dates_are_counted_from_the_first_in_years_of_365_25_days():
    got = clock(["1959-03-31", "1959-06-30"])
    assert got.values.tolist() == [0.0, 91 / 365.25]
    assert (got.unit, got.origin) == ("year", "1959-03-31")


@pytest.mark.parametrize(("unit", "value"), [("day", 91.0), ("week", 13.0), ("hour", 2184.0), ("min", 131040.0)])
def test_other_units(unit, value):
    assert clock(["1959-03-31", "1959-06-30"], unit=unit).values[1] == value


def test_a_month_is_a_twelfth_of_a_year():
    assert SECONDS["month"] * 12 == SECONDS["year"] == 31_557_600


def test_dates_need_a_unit_of_known_length():
    with pytest.raises(InputError, match="Dates can be counted in years"):
        clock(["1959-03-31", "1959-06-30"], unit="kyr")


def test_numbers_are_taken_as_they_are():
    got = clock(["1959", "1960.5"], unit="yr")
    assert got.values.tolist() == [1959.0, 1960.5]
    assert (got.unit, got.origin) == ("year", None)
    assert clock(["1", "2"]).unit == "time unit"
    assert clock(["1", "2"], name="Year").unit == "year"
    assert clock(["1,5", "2,5"], decimal=",").values.tolist() == [1.5, 2.5]


def test_numbers_with_a_format_are_dates():
    assert clock(["1959", "1960"], date_format="%Y").values[1] == 365 / 365.25
    assert clock(np.array([1959.0, 1960.0]), date_format="%Y").origin == "1959-01-01"
    assert clock(np.array([19590331.0, 19590630.0])).origin == "1959-03-31"


def test_durations():
    got = clock(np.array([0, 36], dtype="timedelta64[h]").astype("timedelta64[us]"), unit="day")
    assert got.values.tolist() == [0.0, 1.5]
    assert got.origin is None


@pytest.mark.parametrize(
    "column", [["1", ""], np.array([1.0, np.nan]), np.array(["2020-01-01", "NaT"], dtype="datetime64[us]")]
)
def test_missing_times_are_refused(column):
    with pytest.raises(DataError, match="line 3, column 't': the time is missing"):
        clock(column)


def test_the_calendar_inverts_the_clock():
    texts = ["1900-01-01", "1959-03-31T12:34:56", "2021-04-08"]
    got = clock(texts)
    assert [iso_text(date) for date in calendar(got.values, got.unit, got.origin)] == texts
