"""Flags, tables and facts refuse what they can't show."""

import pytest

from pdekit.errors import InputError
from pdekit.report import Facts, Figure, Flag, Table
from pdekit.report.content import by_severity, count_flags


def test_flag_refuses_an_unknown_severity():
    with pytest.raises(InputError, match="ok, note, warning, serious; got 'fatal'"):
        Flag("fatal", "title")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("value", "shown"), [(None, ""), (3.14159, "3.142"), (1e-12, "1e-12"), (float("nan"), "nan")])
def test_flag_number(value, shown):
    assert Flag("note", "title", value=value).number == shown


def test_flags_are_ordered_by_severity_and_otherwise_left_alone():
    flags = [Flag("ok", "a"), Flag("serious", "b"), Flag("note", "c"), Flag("serious", "d"), Flag("warning", "e")]
    assert [flag.title for flag in by_severity(flags)] == ["b", "d", "e", "c", "a"]
    assert [words for _, _, words in count_flags(flags)] == ["2 serious", "1 warning", "1 note", "1 ok"]


def test_table_refuses_ragged_rows_and_numbers():
    with pytest.raises(InputError, match="row 1 has 1 cells for 2 columns"):
        Table("T", ("a", "b"), (("1", "2"), ("3",)))
    with pytest.raises(InputError, match=r"rows\[0\]\[1\]` must be text, got float 0.5"):
        Table("T", ("a", "b"), (("1", 0.5),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="at least one column"):
        Table("T", (), ())


def test_lists_and_dicts_become_tuples():
    assert Table("T", ["a"], [["1"]]).rows == (("1",),)  # pyright: ignore[reportArgumentType]
    assert Facts({"seed": "0"}).items == (("seed", "0"),)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"items\[0\] value` must be text"):
        Facts((("seed", 0),))  # pyright: ignore[reportArgumentType]


def test_figure_refuses_what_is_not_svg():
    with pytest.raises(InputError, match="Figure 'T': expected an <svg>"):
        Figure("T", "<p>no picture</p>")
