"""`check_operator` lets right operators pass, catches wrong ones, and says how to see the fault again."""

from dataclasses import replace

import pytest
import torch
from torch.func import hessian, jacrev, vmap

from pdekit import operators, testing
from pdekit.errors import InputError
from pdekit.testing import CheckFailure, Trial, check_operator

FIELD = Trial(testing.vector("x1**2*x2", "sin(x1) + x2**2"), x=[[0.5, 2.0], [-0.25, 1.0]])
SCALAR = Trial(testing.scalar("x1**3*x2 + exp(x2)", 2), x=[[0.5, 2.0], [-0.25, 1.0]])
NOISE = [["x1", 1], ["x2", "x1*x2"]]
EQUATION = testing.equation(["-x1", "x1*x2"], NOISE, convention="stratonovich")
WITH_EQUATION = Trial(SCALAR.function, EQUATION, x=SCALAR.x, t=0.5)


def divergence(f):
    jacobian = vmap(jacrev(f))
    return lambda x: jacobian(x).diagonal(dim1=-2, dim2=-1).sum(-1)


def unsummed(f):
    return lambda x: vmap(jacrev(f))(x).diagonal(dim1=-2, dim2=-1)


def wrong_sign(f):
    return lambda x: -divergence(f)(x)


def half(f):
    return lambda x: 0.5 * divergence(f)(x)


def slightly_off(f):
    return lambda x: divergence(f)(x) * (1 + 1e-9)


def in_single(f):
    return lambda x: divergence(f)(x).float()


def with_an_axis(f):
    return lambda x: divergence(f)(x).unsqueeze(-1)


def raising(f):
    def apply(x):
        raise ZeroDivisionError("nothing to divide")

    return apply


def nan(f):
    return lambda x: divergence(f)(x) * torch.nan


def last_row_only(f):
    def apply(x):
        found = divergence(f)(x)
        return torch.cat([found[:-1], found[-1:] + 1])

    return apply


def whole_hessian(u):
    return lambda x: vmap(hessian(u))(x).sum((-2, -1))


def whole_hessian_of_any(u):
    def apply(*arguments):
        *t, x = arguments
        return vmap(hessian(lambda z: u(*t, z)))(x).sum((-2, -1))

    return apply


def traced_hessian(u):
    return lambda x: vmap(hessian(u))(x).diagonal(dim1=-2, dim2=-1).sum(-1)


def as_ito(operator):
    def wrong(u, sde):
        return operator(u, replace(sde, sde_type="ito"))

    return wrong


generator_as_ito = as_ito(operators.generator)


def test_right_operators_pass():
    assert check_operator(divergence, testing.divergence, trial=FIELD).units < 10
    assert check_operator(traced_hessian, testing.laplacian, trial=SCALAR).units < 10
    assert check_operator(operators.generator, testing.generator, trial=WITH_EQUATION).units < 10


@pytest.mark.parametrize(
    ("operator", "specification", "trial", "message"),
    [
        (unsummed, testing.divergence, FIELD, r"expected shape \(2,\), got \(2, 2\)"),
        (whole_hessian, testing.laplacian, SCALAR, "wrong by more than 100 units"),
        (wrong_sign, testing.divergence, FIELD, r"expected   6\n  got        -6\n"),
        (half, testing.divergence, FIELD, r"expected   6\n  got        3\n"),
        (slightly_off, testing.divergence, FIELD, r"got        6\.000000006"),
        (in_single, testing.divergence, FIELD, "expected the state's dtype torch.float64, got torch.float32"),
        (with_an_axis, testing.divergence, FIELD, r"expected shape \(2,\), got \(2, 1\)"),
        (raising, testing.divergence, FIELD, "raised ZeroDivisionError: nothing to divide"),
        (nan, testing.divergence, FIELD, r"got        nan\n.*inf times"),
        (last_row_only, testing.divergence, FIELD, r"at         x = \[-0.25, 1.0\], t = 0.0, float64"),
        (generator_as_ito, testing.generator, WITH_EQUATION, "wrong by more than 100 units"),
    ],
)
def test_faults_are_caught_and_can_be_seen_again(operator, specification, trial, message):
    with pytest.raises(CheckFailure, match=message) as caught:
        check_operator(operator, specification, trial=trial)
    failure, text = caught.value, str(caught.value)
    assert text.startswith(f"{specification.name}: ")
    assert f"function   {trial.function}" in text
    assert text.endswith(f"\n  reproduce  {failure.reproduction}")
    names = {"testing": testing, operator.__name__: operator}
    with pytest.raises(CheckFailure) as again:
        eval(failure.reproduction, names)  # noqa: S307 - what the kit printed itself
    assert str(again.value) == text


def test_the_equation_is_part_of_the_message():
    with pytest.raises(CheckFailure) as caught:
        check_operator(generator_as_ito, testing.generator, trial=WITH_EQUATION)
    text = "equation   dX = [-x1, x1*x2] dt + [[x1, 1], [x2, x1*x2]] dW, stratonovich"
    assert text in str(caught.value)
    assert ", t = 0.5, float64\n" in str(caught.value)


def test_coefficients_are_part_of_the_message():
    coefficients = testing.coefficients(["x1", "t"], tensor=[[1, "x2"], [0, 1]], potential="x1")
    trial = Trial(SCALAR.function, coefficients=coefficients, x=SCALAR.x, t=0.5)
    assert check_operator(operators.second_order_operator, testing.second_order_operator, trial=trial).units < 100

    def no_potential(u, *, drift, tensor, potential):
        return operators.second_order_operator(u, drift=drift, tensor=tensor)

    with pytest.raises(CheckFailure, match=r"with       testing\.coefficients") as caught:
        check_operator(no_potential, testing.second_order_operator, trial=trial)
    with pytest.raises(CheckFailure, match=r"with       testing\.coefficients"):
        eval(caught.value.reproduction, {"testing": testing, "no_potential": no_potential})  # noqa: S307


def test_stratonovich_ignored_everywhere():
    for name in ("fokker_planck_operator", "probability_current", "log_fokker_planck_operator", "probability_flow"):
        operator, specification = getattr(operators, name), getattr(testing, name)
        assert check_operator(operator, specification, trial=WITH_EQUATION).units < 100
        with pytest.raises(CheckFailure, match="stratonovich"):
            check_operator(as_ito(operator), specification, trial=WITH_EQUATION)
    alone = Trial(equation=EQUATION, x=SCALAR.x)
    assert check_operator(operators.ito_drift, testing.ito_drift, trial=alone).units < 100
    with pytest.raises(CheckFailure, match="wrong by more than 100 units"):
        check_operator(lambda sde: sde.drift, testing.ito_drift, trial=alone)


@pytest.mark.parametrize("form", ["columns", "layered", "hollow"])
def test_right_operators_pass_on_drawn_trials(form):
    assert check_operator(operators.divergence, testing.divergence, examples=6, forms=(form,)).units < 100


def test_the_compiled_mode():
    assert check_operator(operators.divergence, testing.divergence, trial=FIELD, compiled=True).units < 100
    with pytest.raises(CheckFailure, match="compiled=True") as caught:
        check_operator(half, testing.divergence, trial=FIELD, compiled=True)
    assert "got        3" in str(caught.value)

    def breaks(f):
        def apply(x):
            torch._dynamo.graph_break()
            return operators.divergence(f)(x)

        return apply

    assert check_operator(breaks, testing.divergence, trial=FIELD).units < 100
    with pytest.raises(CheckFailure, match="raised Unsupported"):
        check_operator(breaks, testing.divergence, trial=FIELD, compiled=True)


def test_single_precision():
    assert check_operator(divergence, testing.divergence, trial=FIELD, dtype=torch.float32).units < 100
    with pytest.raises(CheckFailure, match=r"float32") as caught:
        check_operator(half, testing.divergence, trial=FIELD, dtype=torch.float32)
    assert caught.value.reproduction.endswith(", dtype=torch.float32)")
    # 1e-9 is below what single precision tells.
    check_operator(slightly_off, testing.divergence, trial=FIELD, dtype=torch.float32)

    def in_double(f):
        return lambda x: divergence(f)(x).double()

    with pytest.raises(CheckFailure, match=r"expected the state's dtype torch\.float32, got torch\.float64"):
        check_operator(in_double, testing.divergence, trial=FIELD, dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_below_the_range_of_the_dtype(dtype):
    for text in ("exp(-64*x1**6)", "exp(-36*x1**4)", "exp(-50*x1**2)"):
        trial = Trial(testing.scalar(text, 1), x=[[1.5]])
        check_operator(operators.laplacian, testing.laplacian, trial=trial, dtype=dtype)


def test_the_limit():
    exact = 6.0 * torch.finfo(torch.float64).eps

    def off(f):
        return lambda x: divergence(f)(x) + torch.tensor([50 * exact, 0], dtype=torch.float64)

    found = check_operator(off, testing.divergence, trial=FIELD)
    assert 1 < found.units <= 100
    with pytest.raises(CheckFailure, match="wrong by more than 1 units") as caught:
        check_operator(off, testing.divergence, trial=FIELD, limit=1)
    assert caught.value.units == pytest.approx(found.units)


def test_operators_with_several_values():
    assert check_operator(lambda f: operators.dimwise_jet(f, order=2), testing.dimwise_jet(2), trial=FIELD).units < 100
    with pytest.raises(CheckFailure, match=r"expected shape \(2, 2, 3\), got \(2, 2, 2\)"):
        check_operator(lambda f: operators.dimwise_jet(f, order=1), testing.dimwise_jet(2), trial=FIELD)


# Drawn trials. Where the truth is 0 and has no terms, the error is infinite in units and overflows on the way there.
drawn = pytest.mark.filterwarnings("ignore:overflow encountered in divide:RuntimeWarning")


@drawn
@pytest.mark.parametrize("fault", [wrong_sign, half, slightly_off])
def test_a_fault_is_reduced_to_something_short(fault):
    def operator(f):
        return lambda *a: {wrong_sign: -1.0, half: 0.5, slightly_off: 1 + 1e-9}[fault] * operators.divergence(f)(*a)

    with pytest.raises(CheckFailure, match="wrong by more than 100 units") as caught:
        check_operator(operator, testing.divergence, examples=50)
    assert "function   [x1]\n" in str(caught.value)
    assert "t = 0.0" in str(caught.value)
    with pytest.raises(CheckFailure) as again:
        eval(caught.value.reproduction, {"testing": testing, "operator": operator})  # noqa: S307
    assert str(again.value) == str(caught.value)


@drawn
def test_the_same_seed_finds_the_same_fault():
    messages = []
    for _ in range(2):
        with pytest.raises(CheckFailure) as caught:
            check_operator(whole_hessian_of_any, testing.laplacian, examples=30, seed=5, forms=("columns",))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@drawn
def test_the_summed_hessian_is_caught_on_drawn_trials():
    with pytest.raises(CheckFailure, match="wrong by more than") as caught:
        check_operator(whole_hessian_of_any, testing.laplacian, examples=60, forms=("columns",))
    line = next(row for row in str(caught.value).splitlines() if "function" in row)
    assert len(line) < 40, line


@pytest.mark.parametrize("form", ["colums", "hollow"])
def test_forms_that_there_are_not(form):
    with pytest.raises(InputError, match="must be among columns, layered, network"):
        check_operator(operators.laplacian, testing.laplacian, forms=(form,))


def test_lines_that_reproduce_keep_every_digit():
    function = testing.scalar("0.1234567890123456*x1**2", dim=1)
    assert "0.1234567890123456*" in repr(function)


def test_an_operator_that_overwrites_the_state():
    def overwriting(f):
        def apply(*arguments):
            value = operators.divergence(f)(*arguments)
            arguments[-1].zero_()
            return value

        return apply

    with pytest.raises(CheckFailure, match="the state was overwritten"):
        check_operator(overwriting, testing.divergence, examples=5)


@pytest.mark.parametrize(
    "trial",
    [
        Trial(testing.scalar("exp(x1/3)*sin(x2/3)", dim=2), x=[[1.1, -2.3]]),
        Trial(testing.scalar("(x1/10 + x2/5 - 3/10)**4", dim=2), x=[[1.0, 1.0]]),
    ],
)
def test_terms_that_cancel_raise_no_alarm(trial):
    check_operator(operators.laplacian, testing.laplacian, trial=trial)


def test_a_stationary_density_raises_no_alarm():
    trial = Trial(testing.scalar("-x1**2", dim=1), testing.equation(["-x1"], [["1"]]), x=[[1.7]])
    check_operator(operators.log_fokker_planck_operator, testing.log_fokker_planck_operator, trial=trial)
