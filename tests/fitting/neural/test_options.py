"""What a neural fit can be told, and what it refuses."""

import pytest

from pdekit.errors import InputError
from pdekit.fitting.neural.options import NeuralSDE


def test_only_what_was_changed_is_shown():
    assert repr(NeuralSDE()) == "NeuralSDE()"
    assert repr(NeuralSDE(hidden=[8], noise="cholesky")) == "NeuralSDE(hidden=(8,), noise='cholesky')"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("network", "transformer"),
        ("noise", "full"),
        ("hidden", ()),
        ("hidden", (8, 0)),
        ("activation", "cubic"),
        ("ensemble", 0),
        ("ensemble", True),
        ("patience", 1.5),
        ("held_out", 0.0),
        ("held_out", 0.7),
        ("weight_decay", -1.0),
        ("time", 1),
        ("warm_start", "yes"),
        ("training", {"steps": 10}),
        ("device", "abacus"),
        ("device", 3),
    ],
)
def test_options_that_make_no_sense_are_refused(option, value):
    with pytest.raises(InputError, match=option):
        NeuralSDE(**{option: value})
