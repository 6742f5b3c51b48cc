"""The small languages of flags; bad ones are in test_bad_input.py."""

import pytest

from pdekit.cli.arguments import assignments, interval, intervals, name_list, number_list


def test_lists():
    assert name_list(None) == ()
    assert name_list(["a,b", " c ,"]) == ("a", "b", "c")
    assert number_list(["1,-2e-3", "0"], "--x0") == (1.0, -0.002, 0.0)


def test_assignments():
    assert assignments(["a=1, b = -2", "c=.5"], "--fix") == {"a": 1.0, "b": -2.0, "c": 0.5}
    assert intervals(["a=0:1,b=:", "c=-inf:3"], "--bounds") == {"a": (0, 1), "b": (None, None), "c": (None, 3)}


@pytest.mark.parametrize(
    ("text", "expected"), [("0:", (0, None)), (":1", (None, 1)), ("-1:1", (-1, 1)), (":", (None, None))]
)
def test_intervals(text, expected):
    assert interval(text, "--domain") == expected
