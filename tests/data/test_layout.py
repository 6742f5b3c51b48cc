import pytest

from pdekit.data.layout import Layout
from pdekit.errors import InputError


def test_names_may_be_one_text_or_several():
    assert Layout(columns="x", log="x").columns == ("x",)
    assert Layout(columns=["x", "y"], log=["y"]).log == ("y",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": []}, "columns is empty"),
        ({"columns": ["x"], "time": "x"}, "'x' is named twice"),
        ({"columns": ["x", "x"]}, "'x' is named twice"),
        ({"columns": ["x"], "time": "t", "id": "t"}, "'t' is named twice"),
        ({"columns": ["x"], "log": ["y"]}, "log names 'y'"),
        ({"fixed_dt": "0"}, "fixed_dt must be a positive number"),
        ({"max_gap": -1}, "max_gap must be a positive number"),
        ({"max_gap": 1, "fixed_dt": 1}, "max_gap has no meaning with fixed_dt"),
        ({"decimal": ";"}, "decimal must be"),
        ({"time_unit": ""}, "time_unit must be a word"),
    ],
)
def test_options_that_contradict_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Layout(**options)
