"""Functions and equations as torch operations say what their formulas say, and print so that they can be read back."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdekit import testing
from pdekit.errors import InputError, ModelError
from pdekit.symbolic.evaluation import evaluate
from pdekit.testing import strategies
from pdekit.testing.comparison import compare
from pdekit.testing.functions import TIME, state_symbols
from pdekit.testing.specifications import all_specifications
from pdekit.testing.trials import trials


def read_back(text):
    return eval(str(text), {"testing": testing})  # noqa: S307 - what the kit printed itself


def assert_equal(expressions, others, dim):
    # SymPy writes 1/(2*(x + 1)) as 1/(2*x + 2) when it reads it: equal in value, not in form.
    symbols = (*state_symbols(dim), TIME)
    points = np.array([[0.375, -1.25, 0.75, 0.5], [-0.5, 0.25, 1.5, 0.125]])[:, [*range(dim), 3]]
    a, b = (evaluate(list(e), symbols, points, digits=40).value for e in (expressions, others))
    np.testing.assert_allclose(a, b, rtol=1e-15, atol=0)


def formulas(trial):
    found = []
    if trial.function is not None:
        found += trial.function.outputs
    if trial.equation is not None:
        found += [*trial.equation.equation.drift, *trial.equation.equation.diffusion]
    if trial.coefficients is not None:
        found += [*trial.coefficients.drift, *trial.coefficients.matrix, trial.coefficients.potential]
    return found


def assert_computes(function, x, t):
    symbols = (*state_symbols(function.dim), TIME)
    truth = evaluate(function.outputs, symbols, np.column_stack([x, np.full(len(x), t)]))
    arguments = (torch.tensor(t, dtype=torch.float64), torch.tensor(x))
    got = function.module().double()(*arguments[0 if function.timed else 1 :])
    found = compare(got, truth, torch.float64, (len(x),) if function.scalar else (len(x), len(function.outputs)))
    assert found.within(100), f"{function!r}\n{found}"


@pytest.mark.parametrize("form", ["columns", "layered", "hollow"])
@pytest.mark.parametrize("time", [False, True])
@settings(max_examples=15)
@given(data=st.data())
def test_torch_computes_what_the_formulas_say(form, time, data):
    dim = data.draw(strategies.dims())
    scalar = form != "hollow" and data.draw(st.booleans())
    function = data.draw(strategies.functions(dim, scalar=scalar, form=form, time=time))
    assert time or not function.timed
    assert_computes(function, data.draw(strategies.points(dim)), data.draw(strategies.times()))


@pytest.mark.parametrize("form", ["columns", "layered", "hollow"])
@settings(max_examples=15)
@given(data=st.data())
def test_functions_print_so_that_they_can_be_read_back(form, data):
    dim = data.draw(strategies.dims())
    scalar = form != "hollow" and data.draw(st.booleans())
    function = data.draw(strategies.functions(dim, scalar=scalar, form=form, time=True, depth=2))
    again = read_back(repr(function))
    assert type(again) is type(function)
    assert (again.scalar, again.timed) == (function.scalar, function.timed)
    assert_equal(again.outputs, function.outputs, dim)


@settings(max_examples=30)
@given(st.data())
def test_equations_print_so_that_they_can_be_read_back(data):
    drawn = data.draw(strategies.equations(data.draw(strategies.dims())))
    again = read_back(repr(drawn))
    assert (again.noise_type, again.separable) == (drawn.noise_type, drawn.separable)
    assert again.equation.convention == drawn.equation.convention
    assert again.equation.diffusion.shape == drawn.equation.diffusion.shape
    assert_equal(again.equation.drift, drawn.equation.drift, drawn.dim)
    assert_equal(again.equation.diffusion, drawn.equation.diffusion, drawn.dim)


@pytest.mark.parametrize("specification", all_specifications(), ids=lambda s: s.name)
@settings(max_examples=5)
@given(data=st.data())
def test_trials_print_so_that_they_can_be_read_back(specification, data):
    for form in specification.forms:
        trial = data.draw(trials(specification, form))
        again = read_back(repr(trial))
        assert_equal(formulas(again), formulas(trial), trial.dim)
        np.testing.assert_array_equal(again.x, trial.x)
        assert again.t == trial.t


def test_coefficients_print_so_that_they_can_be_read_back():
    for options in ({"factor": [["x1", 2], ["t", "x2"]]}, {"tensor": [["x1", 2], ["t", "x2"]], "potential": "x1*t"}):
        found = testing.coefficients(["x2", "sin(x1)"], **options)
        assert read_back(repr(found)) == found
        assert repr(read_back(repr(found))) == repr(found)


def test_names_of_specifications_can_be_read_back():
    for specification in all_specifications():
        assert read_back(f"testing.{specification.name}").name == specification.name


def test_values_by_hand():
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    assert testing.vector("x1*x2", "x1 - 1").module()(x).tolist() == [[6, 1]]
    assert testing.scalar("t*x2", 2).module()(torch.tensor(5.0), x).tolist() == [15]
    layered = testing.layered([[1, -1], ["1/2", 2]], [3, 0], ["z1*z2", "z2"])  # z = (2, 7)
    assert layered.module()(x).tolist() == [[14, 7]]
    assert testing.layered([[1, -1]], [3], ["z1**2"], scalar=True).module()(x).tolist() == [4]
    hollow = testing.hollow([["x2", 1], ["x1*x1", 2]], ["x1*h1 + h2", "x2 - h1*h2"])
    assert hollow.module()(x).tolist() == [[7, -5]]
    assert hollow.module().condition(x).tolist() == [[[3, 1], [4, 2]]]


def test_equations_as_sdes():
    x, t = torch.tensor([[2.0, 3.0]], dtype=torch.float64), torch.tensor(5.0, dtype=torch.float64)
    diagonal = testing.equation(["x2", "t"], [["x1", 0], [0, 2]], noise_type="diagonal", separable=True).sde
    assert (diagonal.noise_type, diagonal.separable, diagonal.sde_type) == ("diagonal", True, "ito")
    assert diagonal.drift(t, x).tolist() == [[3, 5]]
    assert diagonal.diffusion(t, x).tolist() == [[2, 2]]
    general = testing.equation(["x2", "t"], [["x1", 0, 1], [0, 2, "t"]], convention="stratonovich").sde
    assert (general.noise_dim, general.sde_type) == (3, "stratonovich")
    assert general.diffusion(t, x).tolist() == [[[2, 0, 1], [0, 2, 5]]]


def test_the_layer_of_a_layered_function_is_linear():
    module = testing.layered([[1, -1], ["1/2", 2], [0, 1]], [3, 0, "1/4"], ["z1", "z2"]).module()
    assert isinstance(module.layer, torch.nn.Linear)
    assert (module.layer.in_features, module.layer.out_features) == (2, 3)


def test_modules_take_any_dtype():
    for function in (testing.vector("sin(x1)"), testing.layered([[1]], [2], ["z1"]), testing.hollow([[1]], ["x1*h1"])):
        assert function.module().float()(torch.ones(2, 1)).dtype == torch.float32


def test_what_does_not_fit():
    with pytest.raises(InputError, match="Row 0 of the features must not contain x1"):
        testing.hollow([["x1"], ["x1"]], ["h1", "h1"])
    with pytest.raises(InputError, match=r"The points have 2 states, but testing\.vector"):
        testing.Trial(testing.vector("x1"), x=[[1.0, 2.0]])
    with pytest.raises(InputError, match=r"The points have 1 states, but testing\.equation"):
        testing.Trial(equation=testing.equation(["x1", "x2"], [["1"], ["1"]]), x=[[1.0]])
    with pytest.raises(InputError, match="unknown name 'x2'"):
        testing.scalar("x2", 1)
    with pytest.raises(ModelError, match="as many drifts and rows"):
        testing.equation(["x1", "x2"], [["1", "1"]])
    with pytest.raises(InputError, match="needs a trial with a function"):
        testing.divergence.evaluate(testing.Trial(x=[[1.0]]))
    with pytest.raises(InputError, match="needs a trial with an equation"):
        testing.generator.evaluate(testing.Trial(testing.scalar("x1", 1), x=[[1.0]]))
    with pytest.raises(InputError, match="needs a trial with coefficients"):
        testing.second_order_operator.evaluate(testing.Trial(testing.scalar("x1", 1), x=[[1.0]]))


def test_text_of_a_function():
    assert str(testing.scalar("x1*x2", 2)) == "x1*x2"
    assert str(testing.vector("x1", "t")) == "[x1, t]"
    assert testing.scalar("x1*x2", 2).expression == sympy.prod(state_symbols(2))


def test_the_kit_names_what_it_has():
    assert testing.strategies is strategies
    with pytest.raises(AttributeError, match="no attribute 'chek_operator'"):
        testing.chek_operator  # noqa: B018
    assert all(hasattr(testing, name) for name in testing.__all__)
