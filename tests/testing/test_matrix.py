"""The matrix finds an implementation that is wrong, whatever is wrong with it, and nothing in one that is right."""

import pytest
import torch

from pdekit import operators
from pdekit.testing import specifications as spec
from pdekit.testing.matrix import Cell, Subject, run_matrix, subjects

# Where the truth is 0 and has no terms, an error is infinite in units and overflows on the way there.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in divide:RuntimeWarning")


def half(f):
    return lambda *a: operators.divergence(f)(*a) / 2


def raising(f):
    raise ValueError("not today")


def of_another_shape(f):
    return lambda *a: operators.jacobian_diagonal(f)(*a)


def nan(f):
    return lambda *a: operators.divergence(f)(*a) * torch.nan


def test_right_implementations_have_no_violations():
    tried = [
        Subject(spec.divergence, "exact", operators.divergence),
        Subject(spec.laplacian, "exact", operators.laplacian, ("columns",)),
    ]
    heard = []
    cells = run_matrix(tried, examples=4, compiled=0, progress=lambda *a: heard.append(a))
    assert {(c.operator, c.form, c.dtype) for c in cells} == {
        *(("divergence", form, d) for form in spec.FORMS for d in ("float64", "float32")),
        *(("laplacian", "columns", d) for d in ("float64", "float32")),
    }
    for cell in cells:
        assert cell.good, cell.failure
        assert (cell.trials, cell.violations, cell.failure, cell.mode) == (4, 0, "", "eager")
        assert 0 <= cell.units <= 100
        assert cell.seconds > 0
    assert heard[0] == ("divergence, columns", 0, 5)
    assert heard[-1] == ("", 5, 5)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (half, "expected "),
        (raising, "ValueError: not today\n  testing.Trial("),
        (of_another_shape, r"compare: expected shape (3,), got (3, "),
        (nan, "got        nan"),
    ],
)
def test_wrong_implementations_are_found(operator, message):
    (cell,) = run_matrix(
        [Subject(spec.divergence, "wrong", operator, ("columns",))],
        examples=6,
        compiled=0,
        dtypes=(torch.float64,),
    )
    assert not cell.good
    assert 0 < cell.violations <= cell.trials == 6
    assert message in cell.failure
    assert "testing.Trial(function=testing.vector(" in cell.failure


def test_one_wrong_implementation_does_not_touch_another():
    tried = [
        Subject(spec.divergence, "wrong", half, ("columns",)),
        Subject(spec.divergence, "right", operators.divergence, ("columns", "layered")),
    ]
    cells = run_matrix(tried, examples=4, compiled=0, dtypes=(torch.float64,))
    assert [(c.method, c.form, c.good) for c in cells] == [
        ("wrong", "columns", False),
        ("right", "columns", True),
        ("right", "layered", True),
    ]


def test_compiled_cells():
    def breaks(f):
        def apply(*arguments):
            torch._dynamo.graph_break()
            return operators.divergence(f)(*arguments)

        return apply

    tried = [
        Subject(spec.divergence, "right", operators.divergence, ("columns",)),
        Subject(spec.divergence, "breaks", breaks, ("columns",)),
        Subject(spec.divergence, "not compiled", breaks, ("columns",), compiles=False),
    ]
    cells = run_matrix(tried, examples=2, compiled=1, dtypes=(torch.float64,))
    assert {(c.method, c.mode): (c.good, c.trials) for c in cells} == {
        ("right", "eager"): (True, 2),
        ("right", "compiled"): (True, 1),
        ("breaks", "eager"): (True, 2),
        ("breaks", "compiled"): (False, 1),
        ("not compiled", "eager"): (True, 2),
    }


def test_the_same_seed_makes_the_same_trials():
    def units(seed):
        tried = [Subject(spec.laplacian, "exact", operators.laplacian, ("layered",))]
        return [c.units for c in run_matrix(tried, examples=8, compiled=0, seed=seed)]

    assert units(1) == units(1)


def test_a_cell_that_was_not_tried_is_not_good():
    assert not Cell("divergence", "exact", "columns", "eager", "float64").good


def test_the_subjects_cover_every_operator():
    found = subjects()
    assert {s.specification.name for s in found} == {s.name for s in spec.all_specifications()}
    assert len({(s.specification.name, s.method) for s in found}) == len(found)
    for subject in found:
        assert set(subject.forms) <= set(subject.specification.forms)
        assert subject.forms
    (exact,) = (s for s in found if (s.specification.name, s.method) == ("divergence", "Hollow"))
    assert exact.forms == ("hollow",)
