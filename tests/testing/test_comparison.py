"""Results against the truth, in units of rounding; and examples drawn by a seed."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from pdekit.symbolic.evaluation import Evaluation
from pdekit.testing import CheckFailure
from pdekit.testing.checking import for_all
from pdekit.testing.comparison import compare

EPS = torch.finfo(torch.float64).eps


def truth(value, magnitude=None, error=0.0):
    value = np.asarray(value, float)
    magnitude = np.abs(value) if magnitude is None else np.broadcast_to(np.asarray(magnitude, float), value.shape)
    return Evaluation(value, magnitude, np.broadcast_to(np.asarray(error, float), value.shape))


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_worst_entry_is_found():
    got = double([1.0, 2.0], [3.0 + 12 * EPS, 4.0 + 8 * EPS])
    found = compare(got, truth([[1, 2], [3, 4]]), torch.float64, (2, 2))
    assert (found.row, found.entry, found.expected, found.got) == (1, 0, 3.0, 3.0 + 12 * EPS)
    assert found.units == pytest.approx(4)
    assert found.unit == pytest.approx(3 * EPS)
    assert found.within(4.5)
    assert not found.within(3.5)


def test_the_unit_is_of_the_terms_and_of_the_truth():
    assert compare(double(1 + EPS), truth([[1]], 1000), torch.float64, (1,)).units == pytest.approx(1e-3)
    assert compare(double(1 + EPS), truth([[1]], 1, 9 * EPS), torch.float64, (1,)).units == pytest.approx(0.1)
    single = torch.tensor([1 + 2.0**-23])
    assert compare(single, truth([[1]]), torch.float32, (1,)).units == pytest.approx(1)


def test_numbers_that_are_none():
    for bad in (torch.nan, torch.inf, -torch.inf):
        found = compare(double(1.0, bad), truth([[1], [2]]), torch.float64, (2,))
        assert (found.units, found.row) == (float("inf"), 1)
        assert not found.within(1e300)
    assert compare(double(0.0), truth([[0]]), torch.float64, (1,)).units == 0


def test_shapes_of_all_kinds():
    expected = truth([[1, 2, 3]])
    parts = (double(1.0), double(2.0), double(3.0))
    assert compare(parts, expected, torch.float64, (1, 3)).units == 0
    assert compare(list(parts), expected, torch.float64, (1, 3)).units == 0
    assert compare(double([[1.0], [2.0]], [[3.0], [4.0]]), truth([[1, 2], [3, 4]]), torch.float64, (2, 2, 1)).units == 0
    assert compare(torch.zeros(0).double(), truth(np.zeros((0, 1))), torch.float64, (0,)).units == 0
    assert compare(torch.zeros(0, 3).double(), truth(np.zeros((0, 3))), torch.float64, (0, 3)).units == 0
    assert compare(double(1.0).requires_grad_(), truth([[1]]), torch.float64, (1,)).units == 0


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (double([1.0]), r"expected shape \(1,\), got \(1, 1\)"),
        (torch.tensor(1.0), r"expected shape \(1,\), got \(\)"),
        (torch.ones(1), "expected the state's dtype torch.float64, got torch.float32"),
        (torch.ones(1, dtype=torch.int64), r"expected a floating-point tensor of shape \(1,\), got torch.int64"),
        (1.0, r"expected a floating-point tensor of shape \(1,\), got float"),
        (None, "got NoneType"),
        ((), "got tuple"),
        (np.ones(1), "got ndarray"),
    ],
)
def test_what_is_no_result(got, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        compare(got, truth([[1]]), torch.float64, (1,))
    assert caught.value.check == "compare"
    assert caught.value.units == float("inf")


def test_how_a_comparison_reads():
    text = str(compare(double(1.5), truth([[1]]), torch.float64, (1,)))
    assert "expected   1\n" in text
    assert "got        1.5\n" in text
    assert "error      0.5, 2.25e+15 times eps sum|terms| = 2.22e-16" in text


def test_how_a_failure_reads():
    failure = CheckFailure("rowwise", "row 1 moved", units=3.0, reproduction="again()")
    assert str(failure) == "rowwise: row 1 moved\n  reproduce  again()"
    assert (failure.check, failure.units, failure.reproduction) == ("rowwise", 3.0, "again()")
    assert isinstance(failure, AssertionError)
    assert str(CheckFailure("rowwise", "row 1 moved")) == "rowwise: row 1 moved"


# Examples.


def drawn(seed, examples=20):
    found = []
    for_all(st.integers(), found.append, examples=examples, seed=seed)
    return found


def test_the_same_seed_draws_the_same_examples():
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert len(drawn(3)) == 20


def fail_above(limit, seen=None):
    def check(n):
        if seen is not None:
            seen.append(n)
        if n > limit:
            raise CheckFailure("size", f"{n} is above {limit}")

    return check


@pytest.mark.parametrize("seed", range(3))
def test_a_failure_is_shrunk_to_the_simplest(seed):
    with pytest.raises(CheckFailure, match=r"^size: 1001 is above 1000"):
        for_all(st.integers(), fail_above(1000), examples=200, seed=seed)


def test_without_shrinking_the_first_failure_comes():
    seen = []
    with pytest.raises(CheckFailure) as caught:
        for_all(st.integers(), fail_above(1000, seen), examples=200, seed=0, shrink=False)
    first = next(n for n in seen if n > 1000)
    assert str(caught.value).startswith(f"size: {first} is above")


def test_nothing_is_printed_nor_stored(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckFailure):
        for_all(st.integers(), fail_above(10), examples=50, seed=0)
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / ".hypothesis" / "examples").exists()
