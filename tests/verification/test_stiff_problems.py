"""The stiff test set: its fields keep their contracts, and its references agree with everything known about them."""

import pytest
import torch

from pdekit.errors import InputError
from pdekit.testing import check_hollow, check_rowwise
from verification.stiff import Published, StiffProblem, problem, stiff_set
from verification.stiff.mass_action import MassAction
from verification.stiff.references import fingerprint, integrate, record, reference

EPS = torch.finfo(torch.float64).eps
NAMES = [p.name for p in stiff_set()]
HOLLOW = [p.name for p in stiff_set() if hasattr(p.field, "condition")]


def test_there_are_at_least_fifteen_problems_of_different_names():
    assert len(set(NAMES)) == len(NAMES) >= 15
    assert len(HOLLOW) == 9


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_independent_for_every_shape_of_batch(name):
    check_rowwise(problem(name).field, problem(name).dim, time=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_each_row_has_a_time_of_its_own(name):
    p = problem(name)
    t = torch.tensor([0.1, 0.9], dtype=torch.float64) * p.end
    together = p.field(t[:, None], p.y0.expand(2, -1))
    for row, time in zip(together, t, strict=True):
        for one in (time, float(time)):  # a Python float must not pass through float32
            alone = p.field(one, p.y0)
            # the same operations: only the order of sums in a matrix product may differ
            torch.testing.assert_close(row, alone, rtol=100 * EPS, atol=100 * EPS * float(alone.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_is_that_of_the_state(name):
    p = problem(name)
    value = p.field(torch.tensor(0.5, dtype=torch.float64), p.y0.float())
    assert value.dtype == torch.float32


@pytest.mark.parametrize("name", HOLLOW)
def test_grids_and_random_fields_are_hollow(name):
    check_hollow(problem(name).field, problem(name).dim, time=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_each_reference_belongs_to_its_problem_and_is_accurate(name):
    p, kept = problem(name), record(name)
    y = reference(name)
    assert y.shape == p.y0.shape
    assert y.dtype == torch.float64
    assert bool(y.isfinite().all())
    assert kept["fingerprint"] == pytest.approx(fingerprint(p), rel=1e-12)
    # The ring modulator's bound is how near SciPy comes in minutes; its reference is published and far better.
    assert kept["error"] < (1e-4 if name == "ring_modulator" else 1e-8)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("van_der_pol", 1e-12),
        ("oregonator", 1e-12),
        ("hires", 1e-12),
        ("pollution", 1e-12),
        ("robertson", 1e-8),  # A and B end at 2e-8 and 8e-14
        ("e5", 1e-3),  # the published y2 and y3 differ by that, though y2 = y3 + y4 and y4 has vanished
        ("medical_akzo", 1e-8),  # the published run had a tolerance of 1e-10
        ("ring_modulator", 1e-4),  # LSODA at 1e-9 is what takes minutes only
    ],
)
def test_what_is_published_agrees_with_scipy(name, limit):
    assert record(name)["published"] < limit


def test_the_mean_of_the_published_pair_of_e5_is_right():
    p = problem("e5")
    assert p.published is not None
    # y1 and y4 have gone at 1e11: y2 = y3 and y3' = -M C y3^2 from there on.
    later = 1 / (1 / reference("e5")[2] + 1.13e9 * (p.published.time - p.end))
    assert float(later) == pytest.approx(sum(p.published.values) / 2, rel=1e-6)


def test_published_values_are_those_of_the_references():
    for p in stiff_set():
        if p.published is not None and p.published.time == p.end:
            y = reference(p.name)[list(p.published.components)]
            expected = torch.tensor(p.published.values, dtype=torch.float64)
            torch.testing.assert_close(y, expected, rtol=1e-7, atol=0.0)


@pytest.mark.parametrize("name", [p.name for p in stiff_set() if p.solution is not None])
def test_closed_forms_solve_their_equations(name):
    p = problem(name)
    assert torch.equal(p.solution(p.end), reference(name))
    h = 1e-6 * (p.end - p.start)
    t = 0.5 * (p.start + p.end)
    slope = (p.solution(t + h) - p.solution(t - h)) / (2 * h)
    # central differences: rounding eps / h, and f loses eps times its largest coefficient
    torch.testing.assert_close(p.field(t, p.solution(t)), slope, rtol=0.0, atol=1e-8)


def test_prothero_robinson_is_the_cosine():
    assert float(reference("prothero_robinson")) == pytest.approx(torch.tensor(10.0).double().cos().item(), abs=EPS)


def test_a_reference_can_be_computed_again():
    p = problem("medical_akzo")  # it has a break
    y, nfev = integrate(p, p.end, "BDF", 1e-4)
    assert nfev > 0
    assert float(p.error(y, reference(p.name))) < 0.05  # BDF's global error is some hundred times its tolerance


def test_robertson_from_its_reactions():
    x = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    a, b, c = x
    first, third = -0.04 * a + 1e4 * b * c, 3e7 * b**2
    expected = torch.stack([first, -first - third, third])
    torch.testing.assert_close(problem("robertson").field(0.0, x), expected, rtol=10 * EPS, atol=0.0)


@pytest.mark.parametrize("equation", ["A", "A -> B -> C", "A + A + B -> C", "A -> D"])
def test_an_equation_that_makes_no_sense_is_refused(equation):
    with pytest.raises(InputError, match="at most two reactants"):
        MassAction("ABC", [(equation, 1.0)])


@pytest.mark.parametrize(
    "changes",
    [
        {"y0": torch.ones(2)},
        {"y0": torch.ones(1, 2, dtype=torch.float64)},
        {"end": 0.0},
        {"breaks": (2.0,)},
        {"atol_factor": 0.0},
        {"published": Published(1.0, (0, 1), (1.0,))},
    ],
)
def test_a_problem_that_does_not_fit_together_is_refused(changes):
    fitting = {"name": "p", "field": torch.nn.Identity(), "y0": torch.ones(2).double(), "start": 0.0, "end": 1.0}
    StiffProblem(**fitting)
    with pytest.raises(InputError, match="p: "):
        StiffProblem(**{**fitting, **changes})


def test_unknown_names_are_refused():
    for call in (problem, reference):
        with pytest.raises(InputError, match="van_der_pol"):
            call("vanderpol")
